"""The origin of a record: digests of its inputs; place, time and software of its run."""

from __future__ import annotations

from pydantic import Field

from bench.config import Precision
from bench.schema import Frozen


class Inputs(Frozen):
    """Digests (sha256) of all inputs of the run.

    Attributes:
        fingerprint: of the upstream's states (`bench.load.fingerprint`); empty in older records.
        left_out: bad rows of a user's corpus that its card leaves out.
    """

    upstream_sha256: str
    checkpoint_sha256: str | None
    upstream_card_sha256: str
    task_card_sha256: str
    manifests: dict[str, str]
    fingerprint: tuple[float, ...] = Field(default=(), exclude_if=lambda numbers: not numbers)
    left_out: int = Field(default=0, ge=0, exclude_if=lambda count: count == 0)


class Provenance(Frozen):
    """Place, time and software of the run. Never part of a comparison of two records.

    Attributes:
        spec: key of the run.
        commit: of the code that ran, or `installed, version X`; None for a copy without either.
        dirty: whether files differed from the commit; None where the code is no checkout.
        compiled: the upstream ran with `torch.compile`.
    """

    spec: str
    commit: str | None
    dirty: bool | None
    device: str
    precision: Precision
    compiled: bool = Field(default=False, exclude_if=lambda compiled: not compiled)
    packages: dict[str, str]
    started: str
    seconds: float
    seconds_by_stage: dict[str, float]

    def engine(self) -> dict[str, str]:
        """Return the settings of the engine as `bench.identity.engine_settings` names them."""
        return {
            "precision": self.precision,
            "device": "cpu" if self.device.startswith("CPU") else "cuda",
            "compile": "on" if self.compiled else "off",
            "torch": self.packages.get("torch", "unknown"),
        }
