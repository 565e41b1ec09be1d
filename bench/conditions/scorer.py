"""Score a trained head under conditions: nothing is trained, the test set passes the upstream once.

The result of each condition is written into the record at once, so that an interrupted command
continues where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.api import SAMPLE_RATE_HZ
from bench.conditions.catalogue import Condition, expand
from bench.conditions.sets import ConditionSet, SharedPass, condition_set, shared_pass
from bench.engine import one_thread
from bench.features.passes import seconds_per_audio_second
from bench.features.store import FeatureStore
from bench.load.loader import Loaded
from bench.probe.fit import predict
from bench.progress import bar, duration, say
from bench.records.record import ConditionResult, Record, read_record, write_record
from bench.registry import task_card
from bench.run.artifacts import TrainedRun, load_run, spec_of
from bench.run.evaluate import Judged, score_condition, write_predictions
from bench.run.provenance import project_state
from bench.run.spec import RunSpec, prepare_corpora
from bench.session import Session

Tests = dict[RunSpec, dict[str, tuple[Condition, ConditionSet]]]


def score_conditions(
    paths: Sequence[Path],
    names: str,
    session: Session,
    *,
    force: bool = False,
    keep_features: bool = True,
) -> list[Record]:
    """Score the saved heads of runs under conditions and write the scores into their records.

    Runs are scored condition by condition, so that what they share is computed once: the distorted
    sound, and the features where heads have one upstream (two seeds, or two tasks on the same
    utterances).

    Args:
        paths: the records; head and predictions lie in the run's folder beside each.
        names: conditions and sets with commas between them, or `all`.
        session: where things are and how the upstreams run, except for the precision, which is
            each record's.
        force: score again the conditions that a record has.
        keep_features: keep the features of every condition in the store. Many conditions of a
            large test set take many gigabytes.

    Returns:
        the records as they are now on disk.

    Raises:
        UserError: an unknown condition, a head that is missing or of another run, or noise that is
            not available.
    """
    tests: Tests = {}
    plans = [_plan(path, names, session, tests, force=force) for path in paths]
    upstreams: dict[str, Loaded] = {}
    scorers = {
        plan.path: Scorer(load_run(plan.path, plan.record, session, upstreams))
        for plan in plans
        if plan.todo
    }
    for plan in plans:
        if plan.todo:
            scorers[plan.path].say_plan([test for _, test in plan.todo.values()])
    for name in dict.fromkeys(name for plan in plans for name in plan.todo):
        sharing = [plan for plan in plans if name in plan.todo]
        # Tasks on the same utterances get their means from a pass that keeps frames.
        sharing.sort(key=lambda plan: scorers[plan.path].resolved.card.features == "pooled")
        alone = len(sharing) == 1
        with shared_pass(session.home, keep_features=keep_features, alone=alone) as shared:
            for plan in sharing:
                plan.add(scorers[plan.path].score(*plan.todo[name], shared))
    return [plan.record for plan in plans]


@dataclass
class _Plan:
    """The conditions that one record lacks.

    Attributes:
        path: of the record.
        record: as it is on disk.
        todo: conditions to score, by name.
    """

    path: Path
    record: Record
    todo: dict[str, tuple[Condition, ConditionSet]]

    def add(self, result: ConditionResult) -> None:
        """Write the scores of one condition into the record."""
        done = {item.condition: item for item in self.record.conditions}
        done[result.condition] = result
        conditions = tuple(done[key] for key in sorted(done))
        self.record = self.record.model_copy(update={"conditions": conditions})
        write_record(self.record, self.path)


def _plan(path: Path, names: str, session: Session, tests: Tests, *, force: bool) -> _Plan:
    """Return the conditions that a record lacks; `tests` caches test sets by kind of run."""
    record = read_record(path)
    kind = replace(spec_of(record), upstream="", seed=0)
    if kind not in tests:
        card = task_card(record.task, record.track)
        chosen = expand(names, card, has_noise_dir=session.noise_dir is not None)
        prepare_corpora(card, session)
        tests[kind] = {item.name: (item, condition_set(item, record, session)) for item in chosen}
    done = {item.condition: item.sha256 for item in record.conditions}
    todo = {
        name: (item, test)
        for name, (item, test) in tests[kind].items()
        if force or done.get(name) != test.sha256
    }
    return _Plan(path, record, todo)


class Scorer:
    """Scores a trained head under conditions."""

    def __init__(self, run: TrainedRun) -> None:
        self.run = run
        self.resolved, self.engine = run.resolved, run.engine

    def say_plan(self, tests: Sequence[ConditionSet]) -> None:
        """Print the plan and an estimate of its duration to stderr."""
        seconds = sum(test.seconds for test in tests)
        rate = seconds_per_audio_second(self.resolved.loaded.upstream, self.engine)
        record = self.run.record
        say(
            f"plan: {record.upstream} {record.task} under {len(tests)} condition(s), "
            f"{duration(seconds)} of audio, about {duration(seconds * (rate + 0.01))} at most; "
            "nothing is trained"
        )

    @one_thread()
    def score(
        self, condition: Condition, test: ConditionSet, shared: SharedPass
    ) -> ConditionResult:
        """Return the result of one condition; its predictions are written to disk."""
        predictions = self._predict(condition, test, shared)
        ids = [item.id for item in test.utterances]
        file = self.run.path.with_suffix("") / "predictions" / f"{condition.name}.jsonl"
        sha256 = write_predictions(file, ids, predictions)
        judged = Judged(dict(zip(ids, predictions, strict=True)), test.utterances, test.trials)
        commit, dirty = project_state()
        return ConditionResult(
            condition=condition.name,
            sha256=test.sha256,
            predictions_sha256=sha256,
            commit=commit,
            dirty=dirty,
            scores=tuple(score_condition(self.resolved.card, condition.name, judged)),
        )

    def _predict(self, condition: Condition, test: ConditionSet, shared: SharedPass) -> list[Any]:
        loaded, mode = self.resolved.loaded, self.resolved.card.features
        name = loaded.name.text()
        store = FeatureStore(shared.root, loaded.key, mode, engine=self.engine, name=name)
        missing = store.missing(test.utterances)
        seconds = math.ceil(sum(item.num_samples for item in missing) / SAMPLE_RATE_HZ)
        with bar(total=seconds, label=condition.name, unit="s") as progress:
            store.extract(
                loaded.upstream,
                missing,
                lambda item: progress.update(item.num_samples / SAMPLE_RATE_HZ),
                sound=shared.once(test.sound),
            )
        return predict(self.run.probe, store.read(test.utterances))
