"""Do one cell: the same whatever executes it. What it needs and is not there it makes itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.engine import Engine
from bench.features.engine_options import BUCKET_SECONDS
from bench.features.inventory import using
from bench.features.leases import held
from bench.grids.graph import Cell, Place
from bench.grids.state import State
from bench.records.record import read_record
from bench.run.job import Job, open_job
from bench.run.run import LEASES
from bench.run.run_features import Chunk, extract_together
from bench.run.spec import RunSpec
from bench.session import Session


@dataclass(frozen=True)
class Doer:
    """Does cells of one grid."""

    state: State

    def do(self, place: Place) -> None:
        """Do a cell.

        Raises:
            UserError: as `bench.run.run.run_seeds` and `bench.conditions.scorer.score_conditions`.
        """
        cell = self.state.graph.cells[place.cell]
        if cell.condition is not None:
            self._condition(place, cell)
            return
        jobs = [self._job(place, cell, task) for task in cell.tasks]
        with using(jobs[0].features.store.root, jobs[0].digest()):
            if cell.kind == "features":
                chunk = Chunk(cell.chunk, self.state.graph.spec.chunks)
                extract_together([job.features for job in jobs], chunk)
                return
            self._head(jobs[0], cell)

    def _head(self, job: Job, cell: Cell) -> None:
        """Training, predictions or scores."""
        spec = self.state.graph.spec
        with held(self.state.out / LEASES, job.names() if cell.kind == "train" else []):
            left = [index for index, record in enumerate(job.done()) if record is None]
            if cell.kind == "train":
                job.clear(left)
                job.train(left)
                return
        index = spec.seeds.index(cell.seed) if cell.seed is not None else 0
        if index not in left:
            return
        with held(self.state.out / LEASES, [job.names()[index]]):
            if cell.kind == "predict":
                job.predict(index, [index] if job.has_heads(index) else left)
            elif job.done()[index] is None:
                job.score(index, [index] if job.has_heads(index) else left)
                job.tidy(index)

    def _job(self, place: Place, cell: Cell, task: str) -> Job:
        """All that the seeds of one task need."""
        spec = self.state.graph.spec
        asked = RunSpec(
            spec.upstreams[place.upstream], task, spec.track, lr=cell.lr, limit=spec.limit
        )
        job = open_job(asked, spec.seeds, self._session())
        self.state.call(place.upstream, job.runs[0].loaded.name.text())
        return job

    def _session(self) -> Session:
        """Where things are and how the grid runs its upstreams."""
        spec = self.state.graph.spec
        bucket_seconds = BUCKET_SECONDS if spec.on_gpu else 0.0
        return Session(
            out=self.state.out,
            engine=Engine(spec.device, spec.precision, bucket_seconds=bucket_seconds),
            store_gb=spec.store_gb,
            cards=[Path(card) for card in spec.cards],
            strict=True,
            data=Path(spec.data) if spec.data else None,
            noise_dir=Path(spec.noise_dir) if spec.noise_dir else None,
            deb_dir=Path(spec.deb_dir) if spec.deb_dir else None,
        )

    def _condition(self, place: Place, cell: Cell) -> None:
        """Predictions, or scores, under a condition."""
        from bench.conditions.scorer import predict_condition, score_conditions

        session = self._session()
        path = self.state.record_path(place)
        name = str(cell.condition)
        if cell.kind == "predict":
            upstream = read_record(path).inputs.upstream_sha256
            lease = f"condition {upstream[:24]} {cell.tasks[0]} {name}"
            with held(self.state.out / LEASES, [lease]), using(session.features, upstream):
                predict_condition(path, name, session)
            return
        with held(self.state.out / LEASES, [f"record {path}"]):
            score_conditions([path], name, session)
