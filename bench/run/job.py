"""The job of some runs that differ in their seeds only: stages that continue unfinished work.

Each stage writes its results to disk: features, trained heads, predictions, scores. So a process
can be killed at any stage, and the next one continues.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import stopping
from bench.engine import one_thread
from bench.errors import InvalidDataError, UsageError
from bench.features.tensor_file import read_sealed, write_sealed
from bench.identity import engine_settings, run_lock
from bench.load.fingerprint import agree, identified
from bench.load.loader import load_upstream
from bench.measure.cost import measure, real_time_factor
from bench.paths import file_sha256, runs_folder
from bench.probe.fit import Fitted
from bench.progress import say, warn
from bench.records.record import Record, UpstreamCost, read_record, write_record
from bench.run.artifacts import head_file
from bench.run.plan import make_plan
from bench.run.provenance import Clock
from bench.run.result import record_of
from bench.run.run_features import Features, extract, features_of
from bench.run.selection import forget_rates, shared_rates
from bench.run.spec import Resolved, RunSpec, prepare_corpora, resolve_run, run_card
from bench.run.stages import best_in_full, best_probe, predict_tests, save_head, score_tests, train
from bench.session import Session


def open_job(spec: RunSpec, seeds: Sequence[int], session: Session) -> Job:
    """Load the upstream and the tables of some runs that differ in their seeds only.

    Args:
        spec: the run; its seed is ignored.
        seeds: of the heads; of a task that trains nothing, the first is that of the only run.
        session: folders, and how the upstream runs.

    Raises:
        UserError: invalid input or missing files, or an upstream that is not deterministic.
    """
    session.engine.check()
    clock, card = Clock(), run_card(spec)
    with clock.stage("load"):
        loaded = load_upstream(spec.upstream, session)
        if loaded.warning:
            warn(*loaded.warning.splitlines())
        loaded = identified(loaded, session.home)
    with clock.stage("corpus"):
        prepare_corpora(card, session, partial=spec.limit is not None)
        runs = [
            resolve_run(replace(spec, seed=seed), card, loaded, session.home)
            for seed in card.recipe.distinct_seeds(seeds)
        ]
    folder = runs_folder(session.out, spec.track, runs[0].spec.upstream)
    paths = [folder / f"{resolved.spec.run_name()}.json" for resolved in runs]
    return Job(runs, paths, features_of(runs[0], session), clock, session.home)


@dataclass
class Job:
    """Some runs that differ in their seeds only, with the stages of their computation.

    Methods name a run by its index in `runs`.

    Attributes:
        runs: one per seed.
        paths: of their records.
        features: of all runs.
        clock: seconds by stage.
        home: folder of corpora.
        trained: heads in memory, by run.
    """

    runs: Sequence[Resolved]
    paths: Sequence[Path]
    features: Features
    clock: Clock
    home: Path
    trained: dict[int, list[Fitted]] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the names of the runs, for their locks."""
        return [run_lock(path) for path in self.paths]

    def done(self) -> list[Record | None]:
        """Return the records of finished runs; None for runs without a record of these inputs.

        Raises:
            UsageError: a record of the same inputs with another engine.
            InvalidDataError: a file that is no record, or a damaged one.
        """
        return [self._finished(index) for index in range(len(self.runs))]

    def _finished(self, index: int) -> Record | None:
        path, engine = self.paths[index], engine_settings(self.features.store.engine)
        if not path.exists():
            return None
        try:
            record = read_record(path)
        except InvalidDataError as error:
            raise InvalidDataError(f"{error}; delete the file, or use --force") from error
        if self._is_of_run(index, record, engine):
            return record
        recorded = record.provenance.engine()
        if not self._is_of_run(index, record, recorded):
            return None
        names = [name for name, value in engine.items() if recorded[name] != value]
        was, now = (
            ", ".join(f"{name} {one[name]}" for name in names) for one in (recorded, engine)
        )
        raise UsageError(
            f"{path}: its run had {was}, this one has {now}: choose another --out, or replace the "
            f"record with --force"
        )

    def _is_of_run(self, index: int, record: Record, engine: Mapping[str, str]) -> bool:
        """Return whether a record is of one run with an engine, and of the same hidden states."""
        key = self.runs[index].key(engine)
        fingerprints = record.inputs.fingerprint, self.runs[index].loaded.fingerprint
        return record.provenance.spec == key and agree(*fingerprints)

    def clear(self, left: Sequence[int], *, force: bool = False) -> None:
        """Rename older records of some runs, with other inputs; with `force` delete their work.

        With `force`, a file that is no record is deleted too, and the rate is chosen again.
        """
        if force:
            forget_rates(self.features, self.paths[0], self.home)
        for index in left:
            if force and _is_broken(self.paths[index]):
                self.paths[index].unlink()
            self._set_aside(index)
            if force:
                shutil.rmtree(self.paths[index].with_suffix(""), ignore_errors=True)

    def _set_aside(self, index: int) -> None:
        """Rename the record of another run, and its folder."""
        path, engine = self.paths[index], engine_settings(self.features.store.engine)
        if not path.exists():
            return
        record = read_record(path)
        if self._is_of_run(index, record, engine):
            return
        name = f"{path.stem}.{record.provenance.spec[:8]}"
        if path.with_suffix("").exists():
            shutil.rmtree(path.with_name(name), ignore_errors=True)
            path.with_suffix("").replace(path.with_name(name))
        path.replace(path.with_name(f"{name}.json.old"))

    def compute(self, left: Sequence[int]) -> list[Record]:
        """Do all stages of some runs, from features to records."""
        with self.clock.stage("plan"):
            seeds = [self.runs[index].spec.seed for index in left]
            for line in make_plan(self.features, seeds).lines():
                say(line)
        self.train(left)
        records = []
        for index in left:
            stopping.check()
            records.append(self.score(index, left))
        for index in left:  # the record is written: nothing is left to resume
            shutil.rmtree(self.paths[index].with_suffix("") / "training", ignore_errors=True)
        return records

    @one_thread()
    def train(self, left: Sequence[int]) -> list[list[Fitted]]:
        """Measure the cost, pass the upstream, and train the heads of some runs together.

        The cost comes first, so that a module that cannot be measured fails before hours of work.
        """
        if all(index in self.trained for index in left):
            return [self.trained[index] for index in left]
        with self.clock.stage("cost"):
            self._cost(left)
        with self.clock.stage("upstream"):
            extract(self.features)
        folders = [self._training(index) for index in left]
        with self.clock.stage("head"):
            shared = shared_rates(self.features, self.paths[0], self.home)
            points = train(self.features, [self.runs[index] for index in left], folders, shared)
        self.trained |= dict(zip(left, points, strict=True))
        return points

    @one_thread()
    def predict(self, index: int, group: Sequence[int]) -> dict[str, str]:
        """Predict the test sets of one run; return the sha256 of the predictions by condition.

        Args:
            index: of the run.
            group: the runs whose heads are trained together with its head.
        """
        written = self._read(index, "predicted")
        if written is not None and _are_unchanged(self._predictions(index), written):
            return {str(name): str(sha256) for name, sha256 in written.items()}
        features = replace(self.features, resolved=self.runs[index])
        points = self.train(group)[list(group).index(index)]
        probe = best_probe(features, best_in_full(points, self.runs[0].card))
        save_head(probe, head_file(self.paths[index]))
        with self.clock.stage("predict"):
            digests = predict_tests(features, probe, self._predictions(index))
        write_sealed(digests, self._training(index) / "predicted.sealed")
        return digests

    @one_thread()
    def score(self, index: int, group: Sequence[int]) -> Record:
        """Score one run and write its record; `group` as in `predict`."""
        digests = self.predict(index, group)
        points = self.train(group)[list(group).index(index)]
        (cost,) = self._cost([index])
        features = replace(self.features, resolved=self.runs[index])
        with self.clock.stage("score"):
            scores = score_tests(self.runs[index], self._predictions(index))
        best = best_in_full(points, self.runs[0].card)
        probe = best_probe(features, best)
        head_sha256 = file_sha256(head_file(self.paths[index]))
        record = record_of(
            features, scores, points, best, probe, cost, digests, head_sha256, self.clock
        )
        write_record(record, self.paths[index])
        return record

    def _training(self, index: int) -> Path:
        key = self.runs[index].heads_key(engine_settings(self.features.store.engine))
        return self.paths[index].with_suffix("") / "training" / key

    def _predictions(self, index: int) -> Path:
        return self.paths[index].with_suffix("") / "predictions"

    def _read(self, index: int, name: str) -> dict[str, Any] | None:
        """Read a result of an earlier stage; None where it is missing or damaged."""
        path = self._training(index) / f"{name}.sealed"
        if not path.exists():
            return None
        try:
            return dict(read_sealed(path))
        except InvalidDataError as error:
            warn(f"{error}; it is computed again")
            return None

    def _cost(self, left: Sequence[int]) -> list[UpstreamCost]:
        """Return the cost of the upstream for each run, measured once."""
        written = [self._read(index, "cost") for index in left]
        if all(written):
            return [UpstreamCost(**cost) for cost in written if cost]
        cost = upstream_cost(self.runs[0])
        for index in left:
            write_sealed(cost.model_dump(), self._training(index) / "cost.sealed")
        return [cost for _ in left]


def _are_unchanged(folder: Path, digests: Mapping[str, str]) -> bool:
    """Compare files of predictions with their digests; warn of the first that differs."""
    for name, expected in digests.items():
        path = folder / f"{name}.jsonl"
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            sha256 = "none"
        if sha256 != expected:
            warn(f"{path}: changed or removed since it was written; predicted again")
            return False
    return True


def _is_broken(path: Path) -> bool:
    """Return whether a file exists that is no record, or a damaged one."""
    try:
        if path.exists():
            read_record(path)
    except InvalidDataError:
        return True
    return False


def upstream_cost(resolved: Resolved) -> UpstreamCost:
    """Measure parameters, MACs and real-time factor of the module that ran."""
    upstream = resolved.loaded.upstream
    cost = measure(upstream)
    return UpstreamCost(
        params=cost.params,
        macs_per_second=cost.macs_per_second,
        rtf=real_time_factor(upstream),
        uncounted=cost.uncounted,
    )
