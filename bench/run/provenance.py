"""The provenance of a record: commit, device, packages, and the time of each stage."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import torch

from bench import DISTRIBUTION
from bench.engine import Engine
from bench.identity import engine_settings
from bench.progress import detail
from bench.records.checkout import checkout_state
from bench.records.origin import Provenance
from bench.registry import ROOT

PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "scikit-learn", "jiwer", "soundfile")


@dataclass
class Clock:
    """Wall-clock seconds by stage."""

    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            took = time.perf_counter() - begin
            self.seconds[name] = self.seconds.get(name, 0.0) + took
            detail(f"{name}: {took:.1f} s")


def provenance(spec_digest: str, engine: Engine, clock: Clock) -> Provenance:
    """Return the provenance of a run."""
    commit, dirty = project_state()
    return Provenance(
        spec=spec_digest,
        commit=commit,
        dirty=dirty,
        device=_device(engine),
        precision=engine.precision,
        compiled=engine.compile,
        packages={name: version(name) for name in PACKAGES}
        | {"torch": engine_settings(engine)["torch"]},
        started=clock.started,
        seconds=sum(clock.seconds.values()),
        seconds_by_stage=dict(clock.seconds),
    )


def project_state() -> tuple[str | None, bool | None]:
    """Return the commit of the code that runs, and whether files differ from it.

    Without a checkout the first is `installed, version X` and the second is None. Both are None for
    a copy of the code that is neither a checkout nor an installed distribution.
    """
    commit, dirty = checkout_state(ROOT)
    if commit is None and (number := _installed_version()) is not None:
        return f"installed, version {number}", None
    return commit, dirty


def _installed_version() -> str | None:
    """Return the version of the distribution whose files run; None where there is none."""
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return None
    is_ours = Path(str(installed.locate_file("bench"))).resolve().parent == ROOT
    return installed.version if is_ours else None


def _device(engine: Engine) -> str:
    """Return the name of the device."""
    if engine.on_gpu:
        return torch.cuda.get_device_name(engine.device)
    return f"CPU {platform.machine()}, one thread a sum"
