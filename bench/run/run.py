"""One run: (upstream, task, track, seed) to a record. Done means done; interrupted goes on.

The stages are apart, and each keeps what it made: features, trained heads, predictions, scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.features.inventory import using
from bench.features.locks import LOCKS, held
from bench.records.record import Record
from bench.run.job import open_job
from bench.run.spec import RunSpec
from bench.session import Session


@dataclass(frozen=True)
class Outcome:
    """What `run` returns: the record, where it lies, and whether it was there before."""

    record: Record
    path: Path
    was_done: bool


def run(spec: RunSpec, session: Session, *, force: bool = False) -> Outcome:
    """Evaluate one upstream on one task with one seed: `run_seeds` for `spec.seed` alone."""
    return run_seeds(spec, (spec.seed,), session, force=force)[0]


def run_seeds(
    spec: RunSpec, seeds: Sequence[int], session: Session, *, force: bool = False
) -> list[Outcome]:
    """Evaluate one upstream on one task with some seeds, or read the records when that is done.

    The upstream passes once, and the heads of all seeds that are not done are trained together.

    Args:
        spec: the run; its seed does not matter.
        seeds: of heads; a record each.
        session: where things are and how the upstream runs.
        force: compute again even when the same run is done.

    Raises:
        UserError: bad input or missing things, in one line.
    """
    job = open_job(spec, seeds, session)
    with held(session.out / LOCKS, job.names()), using(job.features.store.root, job.digest()):
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
