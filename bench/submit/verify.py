"""Is a bundle what it says? Everything that can be computed again is.

A check yields problems, one line each; a bundle with a problem is refused. Remarks do not refuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.conditions.rescore import evidence
from bench.conditions.scores import differs, rescore_conditions
from bench.config import Checkpoint, UpstreamCard, read_card
from bench.errors import InvalidDataError, MissingError, UserError, one_line
from bench.measure.cost import CostReport
from bench.metrics.draws import DrawnScore
from bench.names import parse_upstream_name
from bench.records.bundle import BundleCard, read_bundle_card
from bench.records.record import PROTOCOL, ConditionScore, Record, read_record
from bench.registry import task_card, task_names, track_card, upstream_card
from bench.run.spec import card_digest, ceiling_card, read_split
from bench.session import Session
from bench.submit.cost_check import TOLERANCE, bucket_problems, off, sign_problems
from bench.submit.selection_check import rate_problems, selection_problems

COST_SECONDS = 10.0  # of input, for the MACs of records and cost reports
MAX_TEXT = 2_000
_UNSAFE = re.compile(r"[<>\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]|javascript:", re.I)


@dataclass
class Bundle:
    """A bundle that was read.

    Attributes:
        folder: where it lies, unpacked.
        about: `bundle.yaml`.
        records: by file.
        draws: by file; made on the way, from the predictions.
        cost: None when it brings none.
    """

    folder: Path
    about: BundleCard
    records: dict[Path, Record] = field(default_factory=dict)
    draws: dict[Path, tuple[DrawnScore, ...]] = field(default_factory=dict)
    cost: CostReport | None = None


@dataclass
class Report:
    """What was found.

    Attributes:
        problems: a line each; none for a bundle that can be accepted.
        remarks: what a reviewer should know.
    """

    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check(folder: Path, home: Path, noise_dir: Path | None = None) -> tuple[Bundle | None, Report]:
    """Run every check on an unpacked bundle.

    Args:
        folder: of the bundle.
        home: folder of corpora.
        noise_dir: folder of noise corpora, for the conditions that are made of them.

    Returns:
        the bundle, None where it could not even be read; and what was found.
    """
    report = Report()
    bundle: Bundle | None = None
    try:
        bundle = _read(folder)
        report.problems += _texts(bundle)
        if not report.problems:
            report.problems += _about_problems(bundle)
        if not report.problems:
            report.problems += _card_problems(bundle)
            report.problems += _record_problems(bundle, report.remarks)
            report.problems += _set_problems(bundle)
        if not report.problems:
            report.problems += _corpus_problems(bundle, home)
        if not report.problems:
            report.problems += _score_problems(bundle, home, noise_dir)
            report.problems += _size_problems(bundle, report.remarks)
        report.remarks += _remarks(bundle)
    except UserError as error:
        report.problems.append(str(error))
        bundle = None
    # The one way out: whatever a line quotes of the bundle, it is shown as one short line.
    report.problems = [one_line(line.replace(f"{folder}/", "")) for line in report.problems]
    report.remarks = [one_line(line.replace(f"{folder}/", "")) for line in report.remarks]
    return bundle, report


def _read(folder: Path) -> Bundle:
    bundle = Bundle(folder, read_bundle_card(folder))
    for path in sorted((folder / "records").glob("*.json")):
        bundle.records[path] = read_record(path)
    cost = folder / "cost.json"
    if cost.exists():
        from pydantic import ValidationError

        if cost.stat().st_size > 100_000:
            raise InvalidDataError(f"{cost}: larger than 100000 bytes")
        try:
            bundle.cost = CostReport.model_validate_json(cost.read_bytes(), strict=True)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in problem["loc"]) or "file"
            reason = one_line(f"{where}: {problem['msg']}")
            raise InvalidDataError(f"{cost}: not a cost report: {reason}") from error
    return bundle


def unsafe(text: str) -> str:
    """Why a text may not go on a public page as it is; empty when it may."""
    if len(text) > MAX_TEXT:
        return f"{len(text)} characters, at most {MAX_TEXT} expected"
    found = _UNSAFE.search(text)
    return f"{found[0]!r} is not allowed in a text" if found else ""


def _text_problems(data: object, where: str) -> Iterator[str]:
    """Every text in a nested structure that is unsafe."""
    if isinstance(data, str):
        reason = unsafe(data)
        if reason:
            yield f"{where}: {reason}"
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from _text_problems(str(key), where)
            yield from _text_problems(value, f"{where}.{str(key)[:40]}")
    elif isinstance(data, list | tuple):
        for item in data:
            yield from _text_problems(item, where)


def _texts(bundle: Bundle) -> Iterator[str]:
    """Every unsafe text of the bundle: nothing else is looked at, or repeated, before they go."""
    yield from _text_problems(bundle.about.model_dump(), "bundle.yaml")
    card = read_card(bundle.folder / "card.yaml", UpstreamCard)
    yield from _text_problems(card.model_dump(), "card.yaml")
    for path, record in bundle.records.items():
        yield from _text_problems(record.model_dump(mode="json"), path.name)
    if bundle.cost is not None:
        yield from _text_problems(bundle.cost.model_dump(mode="json"), "cost.json")


def _about_problems(bundle: Bundle) -> Iterator[str]:
    """Track, name and texts of `bundle.yaml`."""
    about = bundle.about
    if about.schema_version != 1:
        yield f"bundle.yaml: schema_version {about.schema_version}, 1 expected"
    if not track_card(about.track).on_board:
        yield f"bundle.yaml: track {about.track} is never on the board"
    parse_upstream_name(about.upstream)
    if not bundle.records:
        yield "records: none, at least one expected"


def _card_problems(bundle: Bundle) -> Iterator[str]:
    """The card is the one of this checkout."""
    path = bundle.folder / "card.yaml"
    card = read_card(path, UpstreamCard)
    name = parse_upstream_name(bundle.about.upstream).card
    if card.paper is not None and not re.fullmatch(r"https://[\w./%#?=&+~-]+", card.paper):
        yield f"card.yaml: key 'paper': a https:// address expected, found {card.paper[:60]!r}"
    if card.name != name:
        yield f"card.yaml: name {card.name[:60]!r}, bundle.yaml says {name!r}"
    elif card != upstream_card(name):
        yield f"card.yaml: differs from upstreams/cards/{name}.yaml of this checkout"


def _record_problems(bundle: Bundle, remarks: list[str]) -> Iterator[str]:
    """Each record by itself; what only the open division may do is a remark there."""
    about = bundle.about
    for path, record in bundle.records.items():
        for problem in _of_record(bundle, path, record):
            yield f"{path.name}: {problem}"
        if record.track != about.track or record.task not in task_names(about.track):
            continue
        for problem in _closed_problems(record):
            if about.division == "open":
                remarks.append(f"{path.name}: {problem}")
            else:
                yield f"{path.name}: {problem} (closed division)"


def _of_record(bundle: Bundle, path: Path, record: Record) -> Iterator[str]:
    about = bundle.about
    for what, found, expected in (
        ("upstream", record.upstream, about.upstream),
        ("track", record.track, about.track),
        ("protocol", record.protocol, PROTOCOL),
        ("status", record.status, "ok"),
        ("source", record.source, "measured"),
    ):
        if found != expected:
            yield f"{what} {found[:60]!r}, {expected!r} expected"
    if record.limit is not None:
        yield f"limited to {record.limit} utterances a split: no result"
    stem = f"{record.task}-s{record.seed}"
    stem += "-shuffled" if record.labels_shuffled else ""
    stem += "-ceiling" if record.ceiling else ""
    if path.stem != stem:
        yield f"holds {stem}, by its content: records/{stem}.json expected"
    if record.task not in task_names(about.track):
        yield f"no task {record.task[:60]!r} on track {about.track}"
        return
    yield from _against_card(record)


def _against_card(record: Record) -> Iterator[str]:
    """A record against the task card of this checkout: versions, conditions, metrics, selection."""
    card = task_card(record.task, record.track)
    if record.task_version != card.version:
        yield f"task version {record.task_version}, {card.version} expected"
    if record.labels != card.labels:
        yield f"labels {record.labels[:60]!r}, {card.labels!r} expected"
    pairs = [(score.condition, score.metric) for score in record.scores]
    wanted = {(c, m) for c in record.predictions_sha256 for m in card.metrics}
    if len(pairs) != len(set(pairs)):
        yield "a score twice"
    missing = sorted(set(card.conditions) - record.predictions_sha256.keys())
    if missing:
        yield f"no predictions of condition {', '.join(missing)}"
    if set(pairs) != wanted:
        odd = sorted(set(pairs) ^ wanted)[0]
        yield f"scores and predictions do not fit: {odd[1][:40]} on {odd[0][:40]}"
    yield from selection_problems(record)


def _closed_problems(record: Record) -> Iterator[str]:
    """The closed division has the head and the learning rates of the task card."""
    card = task_card(record.task, record.track)
    used = ceiling_card(card) if record.ceiling else card
    if record.inputs.task_card_sha256 != card_digest(used):
        yield "made by another task card than this checkout's: its head and recipe are not known"
    yield from rate_problems(record, used.recipe)


def _set_problems(bundle: Bundle) -> Iterator[str]:
    """The records together."""
    runs: dict[tuple[str, int, bool, bool], Path] = {}
    first = next(iter(bundle.records.values()))
    for path, record in bundle.records.items():
        run = (record.task, record.seed, record.labels_shuffled, record.ceiling)
        if run in runs:
            yield f"{path.name} and {runs[run].name}: one task and seed twice"
        runs[run] = path
        for name in ("family", "weights", "tap"):
            if getattr(record, name) != getattr(first, name):
                yield f"{path.name}: {name} differs from the other records'"
        if record.inputs.upstream_sha256 != first.inputs.upstream_sha256:
            yield f"{path.name}: made by another upstream than the other records"
        if record.cost.macs_per_second != first.cost.macs_per_second:
            yield f"{path.name}: MACs a second differ from the other records'"
    card = upstream_card(parse_upstream_name(bundle.about.upstream).card)
    untrained = parse_upstream_name(bundle.about.upstream).untrained_seed is not None
    expected = "untrained" if untrained else card.provenance
    expected = "none" if card.checkpoint is None else expected
    if first.weights not in (expected, "user"):
        yield f"weights {first.weights!r}, {expected!r} expected of {bundle.about.upstream}"
    if first.weights == "published" and card.checkpoint is not None:
        yield from _published_problems(card.checkpoint, str(first.inputs.checkpoint_sha256))
    if first.family != card.family:
        yield f"family {first.family[:40]!r}, the card says {card.family!r}"


def _published_problems(source: Checkpoint, file: str) -> Iterator[str]:
    """Weights that are said to be the authors' are those of a file that the card vouches for."""
    if not source.vouched:
        yield (
            f"weights 'published', but the card pins no digest, so nobody can tell whose the file "
            f"{file[:16]} is: add its sha256 to the card with a page that shows it, or send the "
            f"records with --weights FILE, as 'user'"
        )
    elif file not in source.vouched:
        pinned = ", ".join(sorted(digest[:16] for digest in source.vouched))
        yield f"weights 'published', but of the file {file[:16]}; the card's is {pinned}"


def _corpus_problems(bundle: Bundle, home: Path) -> Iterator[str]:
    """One line where the corpora of the track are not here: nothing could be scored again."""
    track = bundle.about.track
    for task in sorted({record.task for record in bundle.records.values()}):
        try:
            read_split(task_card(task, track), "clean", home)
        except MissingError:
            yield (
                f"the corpora of track {track} are not here, so no score can be computed again: "
                f"verify where 'slim-superb data prepare --track {track}' was run"
            )
            return


def _score_problems(bundle: Bundle, home: Path, noise_dir: Path | None) -> Iterator[str]:
    """Every score from the predictions again; draws are made on the way."""
    for path, record in bundle.records.items():
        scores: list[ConditionScore] = []
        draws: list[DrawnScore] = []
        try:
            for item in evidence(path, home):
                found, kept = item.results()
                scores += found
                draws += kept
            beyond, kept = rescore_conditions(record, path, Session(home=home, noise_dir=noise_dir))
        except UserError as error:
            yield f"{path.name}: {error}"
            continue
        bundle.draws[path] = (*draws, *kept)
        recorded = {(s.condition, s.metric): s for s in record.scores}
        for score in scores:
            key = (score.condition, score.metric)
            problem = differs(recorded[key], score) if key in recorded else "no score of it"
            if problem:
                yield f"{path.name}: {score.metric} on {score.condition}: {problem}"
        for name in beyond:
            yield f"{path.name}: scores under {name} are not what the predictions give"


def _size_problems(bundle: Bundle, remarks: list[str]) -> Iterator[str]:
    """Parameters and MACs, measured again from the module; only shapes matter, not weights."""
    from bench.load.loader import load_upstream
    from bench.measure.cost import measure, standard_macs, stored_bytes

    loaded = load_upstream(bundle.about.upstream)
    cost = measure(loaded.upstream)
    claims = [(path.name, r.cost.params, r.cost.macs_per_second)
              for path, r in bundle.records.items()]  # fmt: skip
    if bundle.cost is not None:
        claims.append(("cost.json", bundle.cost.params, bundle.cost.macs_per_second))
    for where, params, macs in claims:
        if params != cost.params:
            yield f"{where}: {params:,} parameters, {cost.params:,} measured"
        yield from off(where, "MACs a second", macs, cost.macs_per_second)
    if bundle.cost is not None and bundle.cost.seconds != COST_SECONDS:
        yield f"cost.json: MACs of {bundle.cost.seconds:g} s of input, {COST_SECONDS:g} expected"
    if bundle.cost is not None:
        found = stored_bytes(loaded.upstream)
        yield from off("cost.json", "stored bytes", bundle.cost.stored_bytes, found)
        if bundle.cost.buckets:
            yield from bucket_problems(bundle.cost.buckets, standard_macs(loaded.upstream))
    yield from sign_problems(bundle.records, bundle.cost)
    if loaded.name.text() == bundle.about.upstream:
        digests = {record.inputs.upstream_sha256 for record in bundle.records.values()}
        if digests != {loaded.digest}:
            yield f"records: made by other weights than {bundle.about.upstream} has here"
    else:
        remarks.append("the weights are not to be had here: their digest was not compared")
    reported = loaded.card.reported.get("params")
    if reported and abs(reported - cost.params) > TOLERANCE * cost.params:
        remarks.append(f"card: {reported:,.0f} parameters reported, {cost.params:,} measured")


def _remarks(bundle: Bundle) -> Iterator[str]:
    """What a reviewer should know."""
    done = {record.task for record in bundle.records.values() if not record.labels_shuffled}
    missing = [name for name in task_names(bundle.about.track) if name not in done]
    if missing:
        yield f"no records of {', '.join(missing)}: a partial row"
    if bundle.cost is None:
        yield "no cost.json: time, memory and stored bytes stay empty"
    elif bundle.cost.upstream != bundle.about.upstream:
        yield f"cost.json is of {bundle.cost.upstream!r}"
    for path, record in bundle.records.items():
        if record.weights == "user":
            yield f"{path.name}: weights of a file given by the user; whose they are is not known"
        if record.provenance.dirty is not False:
            yield f"{path.name}: made from a checkout with changes, or from none"
        if not (path.with_suffix("") / "head.safetensors").exists():
            yield f"{path.name}: no trained head: test utterances cannot be passed again"
