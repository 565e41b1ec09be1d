"""One run: from (upstream, task, track, seed) to a record.

A finished run is not computed again; an interrupted run continues (`bench.run.job`).
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
    """The result of `run`.

    Attributes:
        record: the record.
        path: its file.
        was_done: it was written by an earlier run.
    """

    record: Record
    path: Path
    was_done: bool


def run(spec: RunSpec, session: Session, *, force: bool = False) -> Outcome:
    """Evaluate one upstream on one task with one seed: `run_seeds` for `spec.seed` alone."""
    return run_seeds(spec, (spec.seed,), session, force=force)[0]


def run_seeds(
    spec: RunSpec, seeds: Sequence[int], session: Session, *, force: bool = False
) -> list[Outcome]:
    """Evaluate one upstream on one task with some seeds, or read the records of finished runs.

    The upstream passes once, and the heads of all remaining seeds are trained together.

    Args:
        spec: the run; its seed is ignored.
        seeds: of the heads; each has a record (one for a task that trains nothing).
        session: folders, and how the upstream runs.
        force: compute finished runs again, whatever engine they had.

    Raises:
        UserError: invalid input or missing files.
        UsageError: a record of the same run with another engine, without `force`.
    """
    job = open_job(spec, seeds, session)
    store = job.features.store
    with held(session.out / LOCKS, job.names()), using(store.root, store.key):
        done: list[Record | None] = [None] * len(job.runs) if force else job.done()
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
