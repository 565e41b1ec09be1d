"""`slim-superb verify`: check a bundle for the board."""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.features.engine_options import add_device, device_of
from bench.paths import board_folder, home
from bench.progress import show
from bench.records.divisions import Level

GROUP = "publish"
HELP = "Check a bundle: compute again everything that can be."
EXAMPLE = "slim-superb verify ge2e.tar.gz"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("bundle", type=Path, help="folder or .tar.gz archive")
    parser.add_argument(
        "--rerun",
        metavar="TASK[:N]",
        action="append",
        default=[],
        help="run a task, or N random test utterances, again; may be repeated",
    )
    parser.add_argument(
        "--rerun-seed",
        metavar="N",
        type=int,
        help="seed of an earlier report: the same utterances",
    )
    parser.add_argument(
        "--noise-dir", type=Path, help="folder of noise corpora, for conditions that need them"
    )
    parser.add_argument("--board", type=Path, help="folder of results to compare with")
    parser.add_argument(
        "--accept",
        action="store_true",
        help="put records, item counts and costs into the board's folder",
    )
    add_device(parser)


def run(options: argparse.Namespace) -> int:
    """Check and report; accept if asked to. Return 4 when the bundle is refused."""
    from bench.errors import UsageError
    from bench.records.bundle import opened
    from bench.submit.accept import accept, differences
    from bench.submit.rerun import draw_seed, rerun
    from bench.submit.verify import check

    board = options.board or board_folder()
    if options.accept and options.board is None and board.is_absolute():
        raise UsageError("--accept: no ./leaderboard; name the board's folder with --board")
    with opened(options.bundle) as folder:
        bundle, report = check(folder, home(), options.noise_dir)
        seed = draw_seed() if options.rerun_seed is None else options.rerun_seed
        if options.rerun:
            show(f"rerun seed {seed} (--rerun-seed {seed} draws the same utterances)")
        for what in options.rerun:
            if bundle is not None and not report.problems:
                again = rerun(folder, what, home(), seed, device_of(options))
                report.problems += again.problems
                show(*again.agreements)
        for line in report.problems:
            show(f"refused: {line}")
        for line in report.remarks:
            show(f"remark: {line}")
        if report.problems or bundle is None:
            return 4
        # The row is shown as rerun only if every task of the bundle was.
        rerun_tasks = {what.partition(":")[0] for what in options.rerun}
        tasks = {record.task for record in bundle.records.values()}
        level: Level = "rerun" if tasks <= rerun_tasks else "rescored"
        show(f"{bundle.about.upstream} on track {bundle.about.track}: {len(bundle.records)} "
              f"records verified ({level})")  # fmt: skip
        show(*differences(bundle.records, bundle.about, board))
        if options.accept:
            for path in accept(bundle, board, level):
                show(f"wrote {path}")
    return 0
