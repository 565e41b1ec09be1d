"""Read what a finished run left behind: its record, its trained head and its predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.config import TaskCard
from bench.engine import Engine, one_thread
from bench.errors import InvalidDataError, MissingError
from bench.features.passes import num_states
from bench.features.weighted_sum import Moments
from bench.load.fingerprint import agree, identified
from bench.load.loader import Loaded, load_upstream
from bench.metrics.item_file import Key
from bench.metrics.items import Items, TrialItems
from bench.paths import file_sha256
from bench.probe.heads import Probe
from bench.records.record import ConditionScore, Record, read_record
from bench.registry import task_card
from bench.run.evaluate import Judged, read_predictions, scored
from bench.run.plan import head_factory
from bench.run.spec import Resolved, RunSpec, Table, read_tables, resolve_run
from bench.session import Session


def spec_of(record: Record) -> RunSpec:
    """Return the specification of a record's run, without a learning rate set by its user."""
    return RunSpec(
        record.upstream,
        record.task,
        record.track,
        record.seed,
        shuffle_labels=record.labels_shuffled,
        limit=record.limit,
        steps=record.steps,
    )


def recorded_predictions(path: Path, condition: str, sha256: str) -> dict[str, Any]:
    """Read the predictions of a run on one test set, by utterance id.

    Args:
        path: of the record; predictions lie in the run's folder beside it.
        condition: name of the test set.
        sha256: of the file, as in the record.

    Raises:
        InvalidDataError: another file than the record's.
        MissingError: no such file.
    """
    file = path.with_suffix("") / "predictions" / f"{condition}.jsonl"
    predictions, actual = read_predictions(file)
    if actual != sha256:
        raise InvalidDataError(f"{file}: altered: sha256 {actual[:12]}, expected {sha256[:12]}")
    return predictions


@dataclass(frozen=True)
class TrainedRun:
    """A finished run, ready to predict again.

    Attributes:
        path: of the record.
        record: its content.
        engine: how the upstream runs, in the precision of the record.
        resolved: tables and upstream.
        probe: trained weighted sum and head.
    """

    path: Path
    record: Record
    engine: Engine
    resolved: Resolved
    probe: Probe


def load_run(
    path: Path, record: Record, session: Session, upstreams: dict[str, Loaded] | None = None
) -> TrainedRun:
    """Load the upstream and the trained head of a run.

    Args:
        path: the record.
        record: its content.
        session: where things are and how the upstream runs, except for the precision, which is the
            record's, so that new scores can be compared with those of the record.
        upstreams: loaded ones by name and precision; the run's is added where it is missing.

    Raises:
        InvalidDataError: another upstream, test set or head than the record's.
        MissingError: the head is missing; no such device, or one that lacks the record's precision.
    """
    engine = replace(session.engine, precision=record.provenance.precision).check()
    upstreams = {} if upstreams is None else upstreams
    name = session.upstream or record.upstream
    key = f"{name}{engine.suffix}"  # weights are laid out for one precision
    if key not in upstreams:
        asked = load_upstream(name, replace(session, strict=True))
        upstreams[key] = identified(asked, session.home)
    loaded = upstreams[key]
    if loaded.digest != record.inputs.upstream_sha256:
        raise InvalidDataError(
            f"{path}: made with another {record.upstream}: sha256 {loaded.digest[:12]} in this "
            f"checkout, {record.inputs.upstream_sha256[:12]} in the record; evaluate it again"
        )
    if not agree(loaded.fingerprint, record.inputs.fingerprint):
        raise InvalidDataError(
            f"{path}: {record.upstream} has the same files and other hidden states than its record "
            f"was made with; evaluate it again"
        )
    card = task_card(record.task, record.track)
    resolved = resolve_run(spec_of(record), card, loaded, session.home)
    for split in ("train", "clean"):
        if resolved.tables[split].sha256 != record.inputs.manifests.get(split):
            raise InvalidDataError(f"{path}: made on another manifest of {split!r}")
    probe = load_head(resolved, path, record)
    return TrainedRun(path, record, engine, resolved, probe)


def head_file(path: Path) -> Path:
    """Return the file of the trained head of the record `path`."""
    return path.with_suffix("") / "head.safetensors"


def check_head(path: Path, record: Record) -> None:
    """Refuse a file of the trained head that is not the record's; it may be missing.

    Raises:
        InvalidDataError: another file.
    """
    file, expected = head_file(path), record.head.sha256
    if expected is not None and file.exists():
        actual = file_sha256(file)
        if actual != expected:
            raise InvalidDataError(
                f"{file}: altered: sha256 {actual[:12]}, expected {expected[:12]}"
            )


def make_probe(resolved: Resolved) -> Probe:
    """Return the weighted sum and the head of a run, without their trained values."""
    upstream, moments = resolved.loaded.upstream, None
    count = num_states(upstream, resolved.card.features)
    if resolved.card.recipe.standardize:
        shape = (count, upstream.hidden_size)
        moments = Moments(torch.zeros(shape), torch.ones(shape))
    return Probe(count, upstream.hidden_size, head_factory(resolved), moments)


def load_head(resolved: Resolved, record_path: Path, record: Record) -> Probe:
    """Load the trained weighted sum and head of a run.

    Raises:
        MissingError: no such file.
        InvalidDataError: not a file of tensors, or another head than the record's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = head_file(record_path)
    check_head(record_path, record)
    if not path.exists():
        raise MissingError(f"no trained head {path}: bring the whole run's folder, or evaluate it")
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InvalidDataError(f"{path}: not a file of tensors ({error})") from error
    probe = make_probe(resolved)
    try:
        probe.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InvalidDataError(f"{path}: another head than the run's ({reason})") from error
    probe.eval()
    return probe


@dataclass(frozen=True)
class Evidence:
    """The predictions of a run on one test set, with the targets.

    Attributes:
        predictions: by utterance id.
        table: utterances and trials.
    """

    card: TaskCard
    condition: str
    predictions: Mapping[str, Any]
    table: Table

    @one_thread()
    def results(self) -> tuple[list[ConditionScore], dict[Key, Items | TrialItems]]:
        """Return every metric with counts and interval, and the counts item by item.

        Raises:
            InvalidDataError: malformed predictions, or of other utterances than the manifest's.
        """
        judged = Judged(self.predictions, self.table.utterances, self.table.trials)
        items = {name: judged.items(name) for name in self.card.metrics}
        scores = [
            scored(name, self.condition, part, judged.utterances) for name, part in items.items()
        ]
        return scores, {(self.condition, name): part for name, part in items.items()}


def evidence(path: Path, home: Path) -> Iterator[Evidence]:
    """Yield the test sets of a record, with the predictions in the run's folder beside it.

    Raises:
        InvalidDataError: predictions, head or manifests are not those of the record.
        MissingError: a file of predictions or a corpus is missing.
    """
    record = read_record(path)
    check_head(path, record)
    card = task_card(record.task, record.track)
    tables = read_tables(card, home, spec_of(record))
    for split, table in tables.items():
        if table.sha256 != record.inputs.manifests.get(split):
            raise InvalidDataError(f"{path}: made on another manifest of {split!r}")
    for condition, expected in record.predictions_sha256.items():
        if condition not in tables:
            raise InvalidDataError(f"{path}: the task card has no condition {condition!r}")
        yield Evidence(
            card, condition, recorded_predictions(path, condition, expected), tables[condition]
        )


def rescore(path: Path, home: Path) -> tuple[Record, tuple[ConditionScore, ...]]:
    """Compute every score of a record again from its predictions and the manifests.

    Args:
        path: the record; its predictions lie in the run's folder beside it.
        home: folder of corpora.

    Returns:
        the record, and the scores as computed now.

    Raises:
        UserError: as `evidence`.
    """
    scores = tuple(score for item in evidence(path, home) for score in item.results()[0])
    return read_record(path), scores
