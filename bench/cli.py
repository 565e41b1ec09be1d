"""The command line: parses, calls, prints. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UserError
from bench.paths import home

# OpenMP's threads spin while they wait: where something else runs too, two of them are ten times
# slower than one. Read when torch is first imported, which no command has done yet.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

INTERRUPTED = 130
TASKS_HELP = "asr, ks, ic, sid, asv or slu ('list tasks')"


def _print(text: str) -> None:
    print(text)


def _eval(options: argparse.Namespace) -> int:
    from bench.progress import say
    from bench.record import dumps
    from bench.report import table
    from bench.run import run
    from bench.spec import RunSpec

    spec = RunSpec(
        upstream=options.upstream,
        task=options.task,
        track=options.track,
        seed=options.seed,
        lr=options.lr,
        shuffle_labels=options.shuffle_labels,
        limit=options.limit,
    )
    outcome = run(
        spec,
        home=home(),
        out=options.out,
        weights=options.weights,
        deb_dir=options.deb_dir,
        strict=options.strict,
        force=options.force,
    )
    if outcome.was_done:
        say("this very run is done; here it is (--force runs it anew)")
    _print(dumps(outcome.record).rstrip() if options.json else table(outcome.record, outcome.path))
    return 0


def _list(options: argparse.Namespace) -> int:
    from tabulate import tabulate

    from bench import registry

    if options.what == "upstreams":
        cards = [registry.upstream_card(name) for name in registry.upstream_names()]
        rows = [[c.name, c.family, c.teacher or "-", c.provenance, c.title] for c in cards]
        head = ["upstream", "family", "teacher", "weights", "title"]
    elif options.what == "tasks":
        tasks = [
            registry.task_card(name, track)
            for track in registry.track_names()
            for name in registry.task_names(track)
        ]
        rows = [[t.name, t.track, ", ".join(t.metrics), t.labels, t.title] for t in tasks]
        head = ["task", "track", "metrics", "labels", "title"]
    else:
        tracks = [registry.track_card(name) for name in registry.track_names()]
        rows = [[t.name, "yes" if t.on_board else "never", t.about] for t in tracks]
        head = ["track", "on the board", "about"]
    _print(tabulate(rows, headers=head, maxcolwidths=[None] * (len(head) - 1) + [70]))
    return 0


def _cost(options: argparse.Namespace) -> int:
    from bench.cost import cost_report, cost_table
    from bench.load import load_upstream
    from bench.progress import say

    loaded = load_upstream(options.upstream, weights=options.weights)
    if loaded.warning:
        say(
            "the weights could not be reached; costs do not depend on them: measured on random ones"
        )
    report = cost_report(loaded.upstream, loaded.name.text(), timing=not options.no_timing)
    _print(report.model_dump_json(indent=2) if options.json else cost_table(report, options.rule))
    return 0


def _check(options: argparse.Namespace) -> int:
    from bench.check import check, check_table
    from bench.load import load_upstream
    from bench.progress import say

    loaded = load_upstream(options.upstream, weights=options.weights, strict=options.strict)
    if loaded.warning:
        say(loaded.warning)
    results = check(loaded.upstream, loaded.card)
    _print(check_table(results))
    return 0 if all(result.ok for result in results) else 4


def _data(options: argparse.Namespace) -> int:
    from bench.registry import corpora_of_track, corpus_module

    problems = 0
    for name in corpora_of_track(options.track):
        corpus = corpus_module(name)
        if options.action == "prepare":
            corpus.prepare(home(), deb_dir=options.deb_dir)
        status = corpus.status(home())
        _print(
            f"{status.name}: {'prepared' if status.prepared else 'not prepared'}, "
            f"{status.num_utterances} utterances, {status.hours:.2f} h, "
            f"{status.size_bytes / 1e6:.0f} MB in {corpus.folder(home())}"
        )
        for problem in status.problems:
            _print(f"  {problem}")
        problems += len(status.problems)
    return 4 if problems else 0


def _score(options: argparse.Namespace) -> int:
    from bench.report import table
    from bench.run import rescore

    record, scores = rescore(options.record, home())
    _print(table(record, options.record))
    if scores != record.scores:
        differing = [s for s, old in zip(scores, record.scores, strict=False) if s != old]
        names = ", ".join(f"{s.condition} {s.metric} is {s.value:.6f}" for s in differing)
        _print(f"\nDIFFERS from what the predictions give: {names or 'another set of scores'}")
        return 4
    _print(f"\nall {len(scores)} scores computed again from the predictions: identical")
    return 0


def _board(options: argparse.Namespace) -> int:
    from leaderboard.build import build_board

    summary = build_board(options.results, options.out)
    _print(str(summary))
    return 0


def _validate(options: argparse.Namespace) -> int:
    from bench.validation import validate_track

    tasks = options.tasks.split(",") if options.tasks else ()
    _print(
        validate_track(options.track, home=home(), out=options.out, docs=options.docs, tasks=tasks)
    )
    return 0


def _add(
    commands: Any, name: str, function: Callable[[argparse.Namespace], int], text: str, example: str
) -> argparse.ArgumentParser:
    """A sub-command with one line of help and an example."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(function=function)
    return parser


def _add_eval(commands: Any) -> None:
    parser = _add(
        commands, "eval", _eval, "Evaluate a frozen upstream on a task.",
        "slim-superb eval lighthubert_small asr --track quick",
    )  # fmt: skip
    parser.add_argument("upstream", help="NAME[@VARIANT][+untrained[:SEED]] ('list upstreams')")
    parser.add_argument("task", help=TASKS_HELP)
    parser.add_argument("--track", default="quick", help="quick (default) or open")
    parser.add_argument("--seed", type=int, default=0, help="of the head (default 0)")
    parser.add_argument("--lr", type=float, help="one learning rate instead of the card's grid")
    parser.add_argument("--weights", type=Path, help="checkpoint file, instead of downloading it")
    parser.add_argument("--strict", action="store_true", help="missing weights are an error")
    parser.add_argument("--force", action="store_true", help="run anew even when done")
    parser.add_argument("--shuffle-labels", action="store_true", help="the shuffled control")
    parser.add_argument("--limit", type=int, help="utterances a split: a smoke test, no result")
    parser.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of records (runs)")
    parser.add_argument("--json", action="store_true", help="print the record")


def _add_upstream_commands(commands: Any) -> None:
    cost = _add(
        commands, "cost", _cost, "Measure what an upstream costs: parameters, MACs, time, memory.",
        "slim-superb cost lighthubert_small@min --rule superb_slt2022",
    )  # fmt: skip
    cost.add_argument("--rule", choices=["plain", "superb_slt2022"], help="show one rule only")
    cost.add_argument("--no-timing", action="store_true", help="leave out time and memory")
    cost.add_argument("--json", action="store_true", help="print JSON")
    check = _add(
        commands, "check", _check, "Verify that an upstream keeps the contract.",
        "slim-superb check lighthubert_small",
    )  # fmt: skip
    check.add_argument("--strict", action="store_true", help="missing weights are an error")
    for parser in (cost, check):
        parser.add_argument("upstream", help="NAME[@VARIANT][+untrained[:SEED]]")
        parser.add_argument("--weights", type=Path, help="checkpoint file")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="slim-superb",
        description="What a compressed speech encoder still knows, costs and survives.",
        epilog="exit codes: 0 done, 2 usage, 3 missing data or weights, 4 invalid data or a failed "
        "check, 130 interrupted\nfolders: SLIM_SUPERB_HOME (corpora, weights, features)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_eval(commands)
    listing = _add(
        commands, "list", _list, "List what there is.", "slim-superb list upstreams"
    )  # fmt: skip
    listing.add_argument("what", choices=["upstreams", "tasks", "tracks"])
    _add_upstream_commands(commands)
    data = _add(
        commands, "data", _data, "Prepare a track's corpora, or say how they are.",
        "slim-superb data prepare --track quick",
    )  # fmt: skip
    data.add_argument("action", choices=["prepare", "status"])
    data.add_argument("--track", default="quick", help="quick (default) or open")
    data.add_argument("--deb-dir", type=Path, help="folder of Debian packages, without apt")
    score = _add(
        commands, "score", _score, "Compute a record's scores again from its predictions.",
        "slim-superb score runs/quick/fbank/ks-s0.json",
    )  # fmt: skip
    score.add_argument("record", type=Path)
    board = _add(
        commands, "board", _board, "Build the board (HTML and Markdown) from records.",
        "slim-superb board --out site",
    )  # fmt: skip
    board.add_argument("--results", type=Path, default=Path("leaderboard/results"))
    board.add_argument("--out", type=Path, default=Path("site"))
    validate = _add(
        commands, "validate-track", _validate,
        "Show that a track measures something: baselines, controls, a ceiling.",
        "slim-superb validate-track quick",
    )  # fmt: skip
    validate.add_argument("track")
    validate.add_argument("--out", type=Path, default=Path("runs"), help="folder of records")
    validate.add_argument("--tasks", help="only these, as in asr,ks (writes no table)")
    validate.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the table")
    return parser


def _assert_own_package() -> None:
    """Refuse to run on somebody else's top-level package `bench` (frappe-bench installs one)."""
    import bench

    found = Path(bench.__file__ or "").resolve().parent
    if found != Path(__file__).resolve().parent:
        raise UserError(f"'bench' is imported from {found}, which is not Slim-SUPERB's")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a user's error is one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        _assert_own_package()
        code: int = options.function(options)
    except UserError as error:
        print(f"slim-superb: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nslim-superb: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    return code


if __name__ == "__main__":
    sys.exit(main())
