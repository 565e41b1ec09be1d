"""One run: (upstream, task, track, seed) to a record. Done means done; interrupted goes on.

The stages are apart, and each keeps what it made: features, trained heads, predictions, scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.features.engine_options import STORE_GB
from bench.features.inventory import using
from bench.features.leases import held
from bench.features.passes import Engine
from bench.records.record import (
    Record,
)
from bench.run.job import open_job
from bench.run.spec import RunSpec

LEASES = ".leases"


@dataclass(frozen=True)
class Outcome:
    """What `run` returns: the record, where it lies, and whether it was there before."""

    record: Record
    path: Path
    was_done: bool


def run(spec: RunSpec, **options: Any) -> Outcome:
    """Evaluate one upstream on one task with one seed: `run_seeds` for `spec.seed` alone."""
    return run_seeds(spec, (spec.seed,), **options)[0]


def run_seeds(
    spec: RunSpec,
    seeds: Sequence[int],
    *,
    home: Path,
    out: Path,
    weights: Path | None = None,
    deb_dir: Path | None = None,
    strict: bool = False,
    cards: Sequence[Path] = (),
    allow_code: bool = False,
    force: bool = False,
    engine: Engine | None = None,
    store_gb: float = STORE_GB,
    data: Path | None = None,
) -> list[Outcome]:
    """Evaluate one upstream on one task with some seeds, or find that it is done.

    The upstream passes once, and the heads of all seeds that are not done are trained together.

    Args:
        spec: what to run; its seed does not matter.
        seeds: of heads; a record each.
        home: folder of corpora, weights and features.
        out: folder of records and predictions.
        weights: checkpoint file instead of the published one.
        deb_dir: folder of Debian packages, where apt is not to be had.
        strict: missing weights are an error on every track.
        cards: cards outside this project.
        allow_code: code that they name may run (`bench.load.catalog`).
        force: run anew even when the same run is done.
        engine: how the upstream runs.
        store_gb: budget of kept features, in units of 10^9 bytes; beyond it they stream.
        data: folder of official corpora, for track superb.

    Raises:
        UserError: bad input or missing things, in one line.
    """
    job = open_job(
        spec,
        seeds,
        home=home,
        out=out,
        weights=weights,
        deb_dir=deb_dir,
        strict=strict,
        cards=cards,
        allow_code=allow_code,
        engine=engine,
        store_gb=store_gb,
        data=data,
    )
    with held(out / LEASES, job.names()), using(job.features.store.root, job.digest()):
        done = [None if force else record for record in job.done()]
        left = [index for index, record in enumerate(done) if record is None]
        if left:
            job.clear(left, force=force)
            for index, record in zip(left, job.compute(left), strict=True):
                done[index] = record
    return [
        Outcome(record, path, was_done=index not in left)
        for index, (record, path) in enumerate(zip(done, job.paths, strict=True))
        if record is not None
    ]
