"""The record of one run: the source of the numbers on the board (imports no torch).

One file is one run: (upstream, task, track, seed); test conditions are rows in it
(`bench.records.condition_table`). Numbers are unrounded; keys are in the order of the fields below.
Scores are a pure function of the manifest and of the predictions stored beside the record, so that
each can be computed again. A record ends with the digest of its own text, and holds those of the
predictions and the head, so that damage of any of them is found.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.config import Weights
from bench.errors import InvalidDataError, one_line
from bench.identity import PROTOCOL
from bench.paths import write_text
from bench.records.condition_table import (
    ConditionTable,
    Digests,
    condition_table,
    digests_path,
    read_digests,
)
from bench.records.origin import Inputs, Provenance
from bench.schema import Frozen, parse_model, read_bytes

SCHEMA = 3
MAX_RECORD_BYTES, MAX_VALUE = 4_000_000, 1e6  # of a file; of a score, which can exceed 1
UNVERIFIED = "unverified"  # labels of a run on a part of an official corpus


class ConditionScore(Frozen):
    """One metric on one test set.

    Attributes:
        condition: name of the test set; `clean` is the task's own.
        metric: name in `bench.metrics.metric.metric`.
        value: the rate, a fraction (error rates can exceed 1).
        numerator, denominator: the counts behind it; None where a metric has none (EER).
        n: utterances scored (trials for EER).
        low, high: 95 % interval over test speakers, of this one trained head (the board adds the
            variance between head seeds); None where the metric has none, or the test set
            is too small.
        chance: score of the best guess that ignores the sound, on this test set.
    """

    condition: str
    metric: str
    value: float = Field(ge=0, le=MAX_VALUE)
    numerator: float | None = None
    denominator: float | None = None
    n: int = Field(ge=0)
    low: float | None = Field(ge=-MAX_VALUE, le=MAX_VALUE)
    high: float | None = Field(ge=-MAX_VALUE, le=MAX_VALUE)
    chance: float = Field(ge=0, le=MAX_VALUE)


class ConditionResult(Frozen):
    """The scores of a trained head under one condition.

    Attributes:
        condition: name in `bench/conditions/conditions.yaml`, perhaps with `@test-only`.
        sha256: identity of the distortion and its noise, or of the other test set.
        predictions_sha256: of the predictions stored beside the record.
        commit, dirty: of the project at the time of scoring.
        scores: one a metric.
    """

    condition: str
    sha256: str
    predictions_sha256: str
    commit: str | None
    dirty: bool | None
    scores: tuple[ConditionScore, ...]


class GridPoint(Frozen):
    """The dev score of one learning rate.

    Attributes:
        lr, step: the rate, and the updates done when dev was scored.
        value: the score; None when the training diverged.
        by_seed: scores of the heads of the recipe's own seeds, of which `value` is the mean.
    """

    lr: float
    step: int
    value: float | None
    by_seed: tuple[float | None, ...] = Field(default=(), exclude_if=lambda scores: not scores)


class SelectionResult(Frozen):
    """The choice of the head, made on dev.

    Attributes:
        grid: learning rates that were trained in full.
        explored: every learning rate, where that decided which one is trained in full: after a
            part of the updates, or with heads of the recipe's own seeds (left out otherwise).
    """

    split: Literal["dev"] = "dev"
    metric: str
    value: float
    step: int
    lr: float
    grid: tuple[GridPoint, ...]
    explored: tuple[GridPoint, ...] = Field(default=(), exclude_if=lambda points: not points)


class HeadResult(Frozen):
    """The trained part.

    Attributes:
        params: parameters of the head.
        layer_weights: softmax weights of the L hidden states.
        sha256: of the file of weighted sum and head; None in older records.
    """

    params: int
    layer_weights: tuple[float, ...]
    sha256: str | None = Field(default=None, exclude_if=lambda digest: digest is None)


class UpstreamCost(Frozen):
    """The costs of the upstream, measured from the module that ran.

    Attributes:
        params: parameters of the module, and stored buffers that are weights.
        macs_per_second: multiply-accumulates a second of audio (rule `plain`, 10 s input).
        rtf: seconds of computing a second of audio, one CPU thread, batch 1 (None: not timed).
        uncounted: names of operations that ran and that the MACs leave out.
    """

    params: int
    macs_per_second: float
    rtf: float | None = None
    uncounted: tuple[str, ...] = ()


class RunFields(Frozen):
    """What a record says of its run, apart from conditions.

    Attributes:
        weights: provenance of the upstream's weights; shown beside the numbers.
        labels_shuffled: True for the control whose training labels were permuted.
        ceiling: False: of an option that was removed and is in older records.
        limit, steps: utterances a split and updates of a smoke test, which is no result.
        predictions_sha256: of the predictions file of every condition in `scores`.
        conditions: scores under conditions, beside those on the task's test sets.
    """

    schema_version: Literal[3] = 3
    protocol: str = PROTOCOL
    status: Literal["ok", "error"] = "ok"
    source: Literal["measured"] = "measured"
    track: str
    task: str
    task_version: int
    upstream: str
    family: str
    weights: Weights
    tap: str
    seed: int
    labels: str
    labels_shuffled: bool = False
    ceiling: Literal[False] = False
    limit: int | None = None
    steps: int | None = Field(default=None, exclude_if=lambda steps: steps is None)
    scores: tuple[ConditionScore, ...] = Field(min_length=1)
    selection: SelectionResult
    head: HeadResult
    cost: UpstreamCost
    inputs: Inputs
    predictions_sha256: dict[str, str]
    provenance: Provenance
    error: str | None = None

    def clean_chance(self) -> dict[str, float]:
        """Return chance on the clean test set, by metric."""
        return {item.metric: item.chance for item in self.scores if item.condition == "clean"}


class RecordFile(RunFields):
    """A record as on disk; `record_sha256` is of the text before it, None in older records."""

    conditions: ConditionTable = ConditionTable()
    record_sha256: str | None = None


class Record(RunFields):
    """One run.

    Attributes:
        conditions: what was scored beyond the task's own test sets, by name.
    """

    conditions: tuple[ConditionResult, ...] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Record:
        for name, count in Counter(item.condition for item in self.conditions).items():
            if count > 1:
                raise ValueError(f"the condition {name!r} stands there {count} times")
        return self

    @property
    def restriction(self) -> str:
        """What makes the run a smoke test and no result; empty for a whole run."""
        parts = [f"{self.limit:,} utterances a split"] if self.limit is not None else []
        parts += [f"{self.steps:,} updates"] if self.steps is not None else []
        return f"limited to {' and '.join(parts)}" if parts else ""

    def score(self, condition: str = "clean", metric: str | None = None) -> ConditionScore:
        """Return one score; of the task's main metric when none is named.

        Raises:
            KeyError: the record has no such score.
        """
        for item in self.scores:
            if item.condition == condition and metric in (None, item.metric):
                return item
        raise KeyError(f"{self.upstream} {self.task}: no score {condition} {metric}")

    def comparable(self) -> dict[str, Any]:
        """Return the record without fields that differ between equal runs (time and place)."""
        data = self.model_dump(mode="json", exclude={"provenance"})
        data["cost"].pop("rtf")
        data["inputs"].pop("fingerprint", None)  # compared with a tolerance
        for item in data["conditions"]:
            del item["commit"], item["dirty"]
        return data


def _seal(text: bytes) -> bytes:
    """Return the end of a record's file: the digest of the text before it."""
    return f',\n  "record_sha256": "{hashlib.sha256(text).hexdigest()}"\n}}\n'.encode()


def dumps(record: Record, digests: Digests | None = None) -> str:
    """Return the record as JSON text: fields in order, one a line, and one condition a line.

    Args:
        record: the record.
        digests: sha256 by condition that lie beside the record; None writes all of them.
    """
    data = record.model_dump(mode="json")
    conditions = data.pop("conditions")
    lines = [f'  "{key}": {json.dumps(value, allow_nan=False)}' for key, value in data.items()]
    if conditions:
        table = condition_table(conditions, record.clean_chance(), digests or {})
        lines.append(f'  "conditions": {table.text()}')
    text = "{\n" + ",\n".join(lines)
    return text + _seal(text.encode()).decode()


def write_record(record: Record, path: Path, digests: Digests | None = None) -> None:
    """Write one record atomically; `digests` as in `dumps`.

    Raises:
        MissingError: no space or no permission.
    """
    write_text(path, dumps(record, digests))


def read_record(path: Path) -> Record:
    """Read and check one record.

    Raises:
        MissingError: no such file, or it cannot be read.
        InvalidDataError: too large, not JSON, not a record, or damaged.
    """
    raw = read_bytes(path, MAX_RECORD_BYTES)
    file = parse_model(raw, RecordFile, path, what="record")
    if file.record_sha256 is not None:
        text, _, _ = raw.rpartition(b',\n  "record_sha256"')
        if raw != text + _seal(text):
            raise InvalidDataError(f"{path}: damaged: its text is not that of its record_sha256")
    fields = {name: getattr(file, name) for name in RunFields.model_fields}
    digests: Mapping[str, str] = {}
    if any(row[1] is None for row in file.conditions.rows):
        digests = read_digests(digests_path(path), file.task)
    try:
        entries = file.conditions.entries(file.clean_chance(), digests)
        conditions = tuple(ConditionResult(**entry) for entry in entries)
        return Record(**fields, conditions=conditions)
    except KeyError as error:
        raise InvalidDataError(
            f"{path}: condition {error}: sha256 expected in its row, or for task {file.task!r} in "
            f"{digests_path(path)}"
        ) from error
    except (ValueError, TypeError, ArithmeticError) as error:  # pydantic's errors too
        raise InvalidDataError(one_line(f"{path}: not a record: conditions: {error}")) from error
