"""Gather the results of one upstream on one track into a bundle."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.errors import MissingError, UsageError
from bench.load.catalog import CARDS, parse_upstream_name, upstream_card, user_card
from bench.load.loader import load_upstream
from bench.measure.cost import cost_report
from bench.paths import disk_errors, runs_folder, write_text
from bench.records.archive import SUFFIX, pack
from bench.records.bundle import BundleCard, write_sums
from bench.records.record import read_record
from bench.registry import track_card
from bench.schema import write_card
from bench.session import Session
from bench.submit.verify import Report, check


@dataclass(frozen=True)
class Submission:
    """The outcome of `submit`.

    Attributes:
        path: the folder or archive; None where problems prevented it.
        report: of the checks that `slim-superb verify` runs.
    """

    path: Path | None
    report: Report


def submit(
    about: BundleCard,
    *,
    runs: Path,
    out: Path,
    home: Path,
    cost: Path | None,
    noise_dir: Path | None = None,
    session: Session | None = None,
) -> Submission:
    """Gather card, records, predictions, heads and costs; write them only without problems.

    Args:
        about: `bundle.yaml`.
        runs: folder of records, as `slim-superb eval` writes it.
        out: archive (`.tar.gz`) or folder to write.
        home: folder of corpora.
        cost: file of `slim-superb cost NAME --json`; None measures now.
        noise_dir: folder of noise corpora, for conditions that need them.
        session: gives the upstream's card where it is not in this checkout.

    Raises:
        UsageError: no such upstream or track, a track that is never on the board, records under
            another spelling of the name, or `out` is an existing folder.
        MissingError: no records, no predictions of a record, or no cost report.
    """
    if not track_card(about.track).on_board:
        raise UsageError(f"track {about.track!r} is never on the board: evaluate on another")
    name = parse_upstream_name(about.upstream).card
    session = session or Session()
    of_user = {user_card(path).name: path for path in session.cards}
    if name not in of_user:
        upstream_card(name)
    source = runs_folder(runs, about.track, about.upstream)
    if not any(source.glob("*.json")):
        spelling = load_upstream(about.upstream, session).name.text()
        if any(runs_folder(runs, about.track, spelling).glob("*.json")):
            raise UsageError(f"records call {about.upstream!r} {spelling!r}: submit that name")
        raise MissingError(
            f"no records in {source}: run 'slim-superb eval {about.upstream} TASK --track "
            f"{about.track}' first"
        )
    with tempfile.TemporaryDirectory(prefix="slim-superb-") as temporary:
        folder = Path(temporary)
        write_card(about, folder / "bundle.yaml")
        shutil.copyfile(of_user.get(name, CARDS / f"{name}.yaml"), folder / "card.yaml")
        _copy_runs(source, folder / "records")
        _write_cost(about.upstream, folder / "cost.json", cost, session)
        _, report = check(folder, home, noise_dir, session)
        if report.problems:
            return Submission(None, report)
        write_sums(folder)
        _deliver(folder, out)
    return Submission(out, report)


def _copy_runs(source: Path, target: Path) -> None:
    """Copy records with predictions and heads; leave out smoke tests.

    Raises:
        MissingError: a record without predictions, or smoke tests alone.
    """
    by_path = {path: read_record(path) for path in sorted(source.glob("*.json"))}
    results = {p: one for p, one in by_path.items() if not one.restriction}
    if not results:
        raise MissingError(
            f"{source}: {len(by_path)} records, all of smoke tests (--limit, --steps), "
            "which are no results: run 'slim-superb eval' without these options"
        )
    for path, record in results.items():
        folder = path.with_suffix("")
        target.mkdir(exist_ok=True)
        shutil.copyfile(path, target / path.name)
        names = [*record.predictions_sha256, *(item.condition for item in record.conditions)]
        files = [folder / "predictions" / f"{name}.jsonl" for name in names]
        missing = [file for file in files if not file.exists()]
        if missing:
            raise MissingError(f"no predictions {missing[0]}: evaluate again with --force")
        head = folder / "head.safetensors"
        for file in [*files, *([head] if head.exists() else [])]:
            copy = target / path.stem / file.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _write_cost(upstream: str, path: Path, cost: Path | None, session: Session) -> None:
    """Copy a cost report, or measure one.

    Raises:
        MissingError: no such cost report.
    """
    if cost is not None:
        if not cost.exists():
            raise MissingError(
                f"no cost report {cost}: 'slim-superb cost {upstream} --json' makes one"
            )
        shutil.copyfile(cost, path)
        return
    report = cost_report(load_upstream(upstream, session).upstream, upstream)
    write_text(path, report.model_dump_json(indent=2) + "\n")


def _deliver(folder: Path, out: Path) -> None:
    """Write an archive, or a new folder.

    Raises:
        UsageError: the folder exists.
    """
    if out.name.endswith(SUFFIX):
        pack(folder, out)
        return
    if out.exists():
        raise UsageError(f"{out} exists: name another folder, or a {SUFFIX} file")
    with disk_errors(out):
        shutil.copytree(folder, out)
