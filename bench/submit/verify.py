"""Check a bundle: compute again everything that can be.

A check yields problems, one line each; a bundle with a problem is refused. Remarks do not refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.conditions.scores import differs, rescore_conditions
from bench.config import UpstreamCard
from bench.errors import MissingError, UserError, one_line
from bench.load.catalog import parse_upstream_name, upstream_card, user_card
from bench.load.loader import load_upstream
from bench.metrics.item_file import ItemFile, Key
from bench.metrics.items import Items, TrialItems
from bench.records.bundle import BundleCard
from bench.records.cost_report import CostReport, read_cost_report
from bench.records.record import ConditionScore, Record, read_record
from bench.registry import task_card, task_names, track_card
from bench.run.artifacts import evidence
from bench.run.spec import read_split
from bench.schema import read_card
from bench.session import Session
from bench.submit.cost_check import cost_problems
from bench.submit.head_check import head_problems
from bench.submit.record_check import record_problems, set_problems
from bench.submit.text_check import text_problems


@dataclass
class Bundle:
    """A bundle in memory.

    Attributes:
        folder: of the unpacked bundle.
        about: `bundle.yaml`.
        records: by file.
        items: by file; computed from the predictions by `check`.
        cost: `cost.json`; None when there is none.
    """

    folder: Path
    about: BundleCard
    records: dict[Path, Record] = field(default_factory=dict)
    items: dict[Path, ItemFile] = field(default_factory=dict)
    cost: CostReport | None = None


@dataclass
class Report:
    """The outcome of all checks of a bundle.

    Attributes:
        problems: a line each; none for a bundle that can be accepted.
        remarks: what a reviewer should know.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check(
    folder: Path,
    home: Path,
    noise_dir: Path | None = None,
    session: Session | None = None,
) -> tuple[Bundle | None, Report]:
    """Run every check on an unpacked bundle.

    Args:
        folder: of the bundle.
        home: folder of corpora.
        noise_dir: folder of noise corpora, for conditions that need them.
        session: gives cards that are not in this checkout yet, and consent to run their code.

    Returns:
        the bundle, None where it cannot be read; and the outcome.
    """
    session = session or Session()
    report = Report()
    bundle: Bundle | None = None
    try:
        bundle = _read(folder)
        report.problems += _all_text_problems(bundle)
        if not report.problems:
            report.problems += _about_problems(bundle)
        if not report.problems:
            report.problems += _card_problems(bundle, session)
            report.problems += _orphan_problems(bundle)
            report.problems += record_problems(bundle.about, bundle.records, report.remarks)
            card = _card_of(parse_upstream_name(bundle.about.upstream).card, session)
            report.problems += set_problems(bundle.about, bundle.records, card)
        if not report.problems:
            report.problems += _corpus_problems(bundle, home)
        if not report.problems:
            report.problems += _score_problems(bundle, home, noise_dir)
            loaded = load_upstream(bundle.about.upstream, session)
            report.problems += head_problems(bundle.records, loaded, home, report.remarks)
            report.problems += cost_problems(
                bundle.about.upstream, loaded, bundle.records, bundle.cost, report.remarks
            )
        report.remarks += _remarks(bundle)
    except UserError as error:
        report.problems.append(str(error))
        bundle = None
    # Lines quote the bundle, which comes from strangers: show each as one short line.
    for lines in (report.problems, report.remarks):
        lines[:] = [one_line(line.replace(f"{folder}/", "")) for line in lines]
    return bundle, report


def _read(folder: Path) -> Bundle:
    bundle = Bundle(folder, read_card(folder / "bundle.yaml", BundleCard))
    for path in sorted((folder / "records").glob("*.json")):
        bundle.records[path] = read_record(path)
    cost = folder / "cost.json"
    if cost.exists():
        bundle.cost = read_cost_report(cost)
    return bundle


def _all_text_problems(bundle: Bundle) -> Iterator[str]:
    """Check every text of the bundle. Run first: later messages quote the texts."""
    yield from text_problems(bundle.about.model_dump(), "bundle.yaml")
    card = read_card(bundle.folder / "card.yaml", UpstreamCard)
    yield from text_problems(card.model_dump(), "card.yaml")
    for path, record in bundle.records.items():
        yield from text_problems(record.model_dump(mode="json"), path.name)
    if bundle.cost is not None:
        yield from text_problems(bundle.cost.model_dump(mode="json"), "cost.json")


def _about_problems(bundle: Bundle) -> Iterator[str]:
    """Check `bundle.yaml`, and that there are records."""
    about = bundle.about
    if about.schema_version != 1:
        yield f"bundle.yaml: schema_version {about.schema_version}, 1 expected"
    if not track_card(about.track).on_board:
        yield f"bundle.yaml: track {about.track} is never on the board"
    parse_upstream_name(about.upstream)
    if not bundle.records:
        yield "records: none, at least one expected"


def _card_of(name: str, session: Session) -> UpstreamCard:
    """Return the card that the session names, or else that of this checkout.

    Raises:
        UsageError: no such card.
    """
    of_user = {card.name: card for card in map(user_card, session.cards)}
    return of_user.get(name) or upstream_card(name)


def _card_problems(bundle: Bundle, session: Session) -> Iterator[str]:
    """Check that the card is the one of this checkout, or the one that the session names."""
    card = read_card(bundle.folder / "card.yaml", UpstreamCard)
    name = parse_upstream_name(bundle.about.upstream).card
    if card.paper is not None and not re.fullmatch(r"https://[\w./%#?=&+~-]+", card.paper):
        yield f"card.yaml: key 'paper': an https:// address expected, found {card.paper[:60]!r}"
    if card.name != name:
        yield f"card.yaml: name {card.name[:60]!r}, bundle.yaml says {name!r}"
    elif card != _card_of(name, session):
        yield f"card.yaml: differs from upstreams/cards/{name}.yaml of this checkout"


def _orphan_problems(bundle: Bundle) -> Iterator[str]:
    """Check that every file of a run belongs to a record."""
    by_stem = {path.stem: record for path, record in bundle.records.items()}
    for folder in sorted(path for path in (bundle.folder / "records").glob("*") if path.is_dir()):
        record = by_stem.get(folder.name)
        if record is None:
            yield f"records/{folder.name}: no record records/{folder.name}.json"
            continue
        scored = {*record.predictions_sha256, *(item.condition for item in record.conditions)}
        stems = {path.stem for path in (folder / "predictions").glob("*.jsonl")}
        for name in sorted(stems - scored):
            yield f"records/{folder.name}: predictions of {name!r}, a condition without scores"


def _corpus_problems(bundle: Bundle, home: Path) -> Iterator[str]:
    """Check that the corpora of the track are prepared: without them nothing can be scored."""
    track = bundle.about.track
    for task in sorted({record.task for record in bundle.records.values()}):
        try:
            read_split(task_card(task, track), "clean", home)
        except MissingError:
            yield (
                f"the corpora of track {track} are not here, so no score can be computed again: "
                f"run 'slim-superb data prepare --track {track}', or verify where that was done"
            )
            return


def _score_problems(bundle: Bundle, home: Path, noise_dir: Path | None) -> Iterator[str]:
    """Compute every score from the predictions, and the item counts of the bundle with them."""
    for path, record in bundle.records.items():
        scores: list[ConditionScore] = []
        items: dict[Key, Items | TrialItems] = {}
        try:
            for item in evidence(path, home):
                item_scores, item_counts = item.results()
                scores += item_scores
                items |= item_counts
            session = Session(home=home, noise_dir=noise_dir)
            differing, distorted = rescore_conditions(record, path, session)
        except UserError as error:
            yield f"{path.name}: {error}"
            continue
        bundle.items[path] = ItemFile(items, distorted)
        recorded = {(s.condition, s.metric): s for s in record.scores}
        for score in scores:
            key = (score.condition, score.metric)
            problem = differs(recorded[key], score) if key in recorded else "no score of it"
            if problem:
                yield f"{path.name}: {score.metric} on {score.condition}: {problem}"
        for name in differing:
            yield f"{path.name}: scores under {name} are not what the predictions give"


def _remarks(bundle: Bundle) -> Iterator[str]:
    """Yield what a reviewer should know."""
    done = {record.task for record in bundle.records.values() if not record.labels_shuffled}
    track = bundle.about.track
    done |= set(track_card(track).optional)
    missing = [name for name in task_names(track) if name not in done]
    if missing:
        yield f"no records of {', '.join(missing)}: a partial row"
    if bundle.cost is None:
        yield "no cost.json: time, memory and stored bytes stay empty"
    for path, record in bundle.records.items():
        if record.weights == "user":
            yield f"{path.name}: weights from a file of the sender; their origin is unknown"
        if record.provenance.dirty is not False:
            yield f"{path.name}: made from a changed checkout, or outside one"
