"""The record of a fine-tuned model, scored with its own head (imports no torch).

Such a model was trained on the task as a whole, so its scores never share a column with those of
frozen upstreams. `slim-superb compress` writes the record beside the weights; the board reads
`<results>/<track>/<upstream>/own-head/<task>.json`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from bench.config import Family
from bench.records.origin import Provenance
from bench.records.record import ConditionScore
from bench.schema import Frozen, read_model

OWN_HEAD = "own-head"
MAX_BYTES = 100_000


class OwnHeadRecord(Frozen):
    """The scores of a fine-tuned model on the task that it was trained for.

    Attributes:
        upstream: name of the model.
        teacher: the upstream that the training started from.
        seed: of the training.
        length: of the training, such as `12 h of audio presented`.
        subset: name of the part of the training table; empty for all of it.
        encoder_params, head_params: numbers of parameters.
        weights_sha256: of the file that holds encoder and head.
        labels: source of the targets, as in a record of a run.
        manifests: digest of each table of the task.
        predictions_sha256: of the file of predictions of each test set, and of dev.
        scores: every metric of the task on dev and on each test set.
    """

    schema_version: Literal[1] = 1
    upstream: str
    title: str
    family: Family
    teacher: str
    recipe: str
    track: str
    task: str
    task_version: int
    seed: int
    length: str
    subset: str = ""
    encoder_params: int = Field(gt=0)
    head_params: int = Field(gt=0)
    weights_sha256: str
    labels: str
    manifests: dict[str, str]
    predictions_sha256: dict[str, str]
    scores: tuple[ConditionScore, ...] = Field(min_length=1)
    provenance: Provenance


def read_own_head(path: Path) -> OwnHeadRecord:
    """Read one record.

    Raises:
        InvalidDataError: the file cannot be read, is too large, or is no such record.
    """
    return read_model(path, OwnHeadRecord, max_bytes=MAX_BYTES, what="record of a fine-tuned model")
