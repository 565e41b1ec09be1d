"""The origin of a record: digests of its inputs; place, time and software of its run."""

from __future__ import annotations

from bench.config import Precision
from bench.schema import Frozen


class Inputs(Frozen):
    """Digests (sha256) of all inputs of the run."""

    upstream_sha256: str
    checkpoint_sha256: str | None
    upstream_card_sha256: str
    task_card_sha256: str
    manifests: dict[str, str]


class Provenance(Frozen):
    """Place, time and software of the run. Never part of a comparison of two records.

    Attributes:
        spec: key of the run.
        commit: of the code that ran, or `installed, version X`; None for a copy without either.
        dirty: whether files differed from the commit; None where the code is no checkout.
    """

    spec: str
    commit: str | None
    dirty: bool | None
    device: str
    precision: Precision
    packages: dict[str, str]
    started: str
    seconds: float
    seconds_by_stage: dict[str, float]
