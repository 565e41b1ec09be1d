"""Score a trained head under conditions: nothing is trained, the test set passes the upstream once.

What was scored is written into the record after each condition, so an interrupted command goes on
where it was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.conditions.catalogue import Condition
from bench.conditions.choice import expand
from bench.conditions.scores import Clean, Judged, degraded_scores
from bench.conditions.sets import ConditionSet, condition_set, spec_of
from bench.conditions.shared_pass import SharedPass, shared_pass
from bench.errors import InvalidDataError, MissingError
from bench.features.passes import seconds_per_audio_second
from bench.features.store import FeatureStore
from bench.features.weighted_sum import Moments
from bench.load.loader import Loaded, load_upstream
from bench.probe.fit import predict
from bench.probe.heads import Probe
from bench.progress import bar, say
from bench.records.record import ConditionResult, Record, read_record, write_record
from bench.registry import task_card
from bench.run.evaluate import read_predictions, write_predictions
from bench.run.plan import head_factory
from bench.run.provenance import project_state
from bench.run.spec import Resolved, RunSpec, ceiling_card, prepare_corpora, resolve_run
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
    """Score the saved heads of runs under conditions and write them into their records.

    Condition by condition, so that what runs share is made once: the distorted sound, and the
    features where heads have one upstream (two seeds, or two tasks on the same utterances).

    Args:
        paths: the records; head and predictions lie in the folder of the same name beside each.
        names: conditions and sets with commas between them, or `all`.
        session: where things are and how the upstreams run, apart from the precision, which is
            each record's own.
        force: score anew what is there.
        keep_features: keep the features of every condition in the store, like all others; for many
            conditions of a large test set they are many gigabytes.

    Returns:
        the records as they are now on disk.

    Raises:
        UserError: an unknown condition, a head that is missing or of another run, noise that cannot
            be had.
    """
    known: Tests = {}
    plans = [_plan(path, names, session, known, force=force) for path in paths]
    upstreams: dict[str, Loaded] = {}
    scorers = {
        plan.path: Scorer(plan.path, plan.record, session, upstreams) for plan in plans if plan.todo
    }
    for plan in plans:
        if plan.todo:
            scorers[plan.path].say_plan([test for _, test in plan.todo.values()])
    for name in dict.fromkeys(name for plan in plans for name in plan.todo):
        sharing = [plan for plan in plans if name in plan.todo]
        # A pass that keeps frames gives the means too, to tasks on the same utterances.
        sharing.sort(key=lambda plan: scorers[plan.path].resolved.card.features == "pooled")
        alone = len(sharing) == 1
        with shared_pass(session.home, keep_features=keep_features, alone=alone) as shared:
            for plan in sharing:
                plan.add(scorers[plan.path].score(*plan.todo[name], shared))
    return [plan.record for plan in plans]


@dataclass
class _Plan:
    """What is to be scored of one record.

    Attributes:
        path: of the record.
        record: as it is on disk.
        todo: by name, in the order of the card.
    """

    path: Path
    record: Record
    todo: dict[str, tuple[Condition, ConditionSet]]

    def add(self, result: ConditionResult) -> None:
        """Write one condition's scores into the record."""
        done = {item.condition: item for item in self.record.conditions}
        done[result.condition] = result
        conditions = tuple(done[key] for key in sorted(done))
        self.record = self.record.model_copy(update={"conditions": conditions})
        write_record(self.record, self.path)


def _plan(path: Path, names: str, session: Session, known: Tests, *, force: bool) -> _Plan:
    """Read a record and find what it lacks; `known` are the test sets of runs of the same kind."""
    record = read_record(path)
    card = task_card(record.task, record.track)
    card = ceiling_card(card) if record.ceiling else card
    kind = replace(spec_of(record), upstream="", seed=0)
    if kind not in known:
        chosen = expand(names, card, has_noise_dir=session.noise_dir is not None)
        prepare_corpora(card, session)
        known[kind] = {item.name: (item, condition_set(item, record, session)) for item in chosen}
    tests = known[kind]
    done = {item.condition: item.sha256 for item in record.conditions}
    todo = {
        name: found
        for name, found in tests.items()
        if force or name not in done or done[name] != found[1].sha256
    }
    return _Plan(path, record, todo)


class Scorer:
    """A trained head with its upstream.

    Args:
        path: the record.
        record: its content.
        session: where things are and how the upstream runs, apart from the precision, which is the
            record's: what is compared with clean speech is computed as that was.
        upstreams: those that are loaded already, by name and precision; one that is not is added.

    Raises:
        InvalidDataError: another upstream, test set or head than the record's.
        MissingError: the head or the predictions were not kept; no such device, or one that lacks
            the record's precision.
    """

    def __init__(
        self,
        path: Path,
        record: Record,
        session: Session,
        upstreams: dict[str, Loaded] | None = None,
    ) -> None:
        self.record, self.path = record, path
        precision = record.provenance.precision
        self.engine = replace(session.engine, precision=precision).check()
        card = task_card(record.task, record.track)
        card = ceiling_card(card) if record.ceiling else card
        upstreams = {} if upstreams is None else upstreams
        name = session.upstream or record.upstream
        laid_out = f"{name}{self.engine.suffix}"  # weights are laid out for one precision
        if laid_out not in upstreams:
            upstreams[laid_out] = load_upstream(name, replace(session, strict=True))
        loaded = upstreams[laid_out]
        if loaded.digest != record.inputs.upstream_sha256:
            raise InvalidDataError(
                f"{path}: made with another {record.upstream} ({loaded.digest[:12]} is here, "
                f"{record.inputs.upstream_sha256[:12]} in the record); evaluate it again"
            )
        self.resolved = resolve_run(spec_of(record), card, loaded, session.home)
        table = self.resolved.tables["clean"]
        self._check_tables()
        self.probe = load_head(self.resolved, path.with_suffix("") / "head.safetensors")
        clean = Judged(self._clean_predictions(), table.utterances, table.trials)
        self.clean = Clean(self.resolved.card, clean)

    def _check_tables(self) -> None:
        for name in ("train", "clean"):
            if self.resolved.tables[name].sha256 != self.record.inputs.manifests.get(name):
                raise InvalidDataError(f"{self.path}: made on another manifest of {name!r}")

    def _clean_predictions(self) -> dict[str, Any]:
        file = self.path.with_suffix("") / "predictions" / "clean.jsonl"
        predictions, found = read_predictions(file)
        if found != self.record.predictions_sha256["clean"]:
            raise InvalidDataError(f"{file}: altered since the record was made")
        return predictions

    def say_plan(self, tests: Sequence[ConditionSet]) -> None:
        """What will be done and about how long it takes, to stderr."""
        seconds = sum(item.num_samples for test in tests for item in test.utterances) / 16_000
        rate = seconds_per_audio_second(self.resolved.loaded.upstream, self.engine)
        say(
            f"plan: {self.record.upstream} {self.record.task} under {len(tests)} condition(s), "
            f"{seconds / 60:.1f} min of audio, about {seconds * (rate + 0.01):.0f} s at most; "
            "nothing is trained"
        )

    def score(
        self, condition: Condition, test: ConditionSet, shared: SharedPass
    ) -> ConditionResult:
        """One condition: the upstream's pass, predictions on disk, scores."""
        predictions = self._predict(condition, test, shared)
        ids = [item.id for item in test.utterances]
        file = self.path.with_suffix("") / "predictions" / f"{condition.name}.jsonl"
        sha256 = write_predictions(file, ids, predictions)
        by_id = dict(zip(ids, predictions, strict=True))
        commit, dirty = project_state()
        return ConditionResult(
            condition=condition.name,
            sha256=test.sha256,
            predictions_sha256=sha256,
            commit=commit,
            dirty=dirty,
            scores=degraded_scores(
                condition, Judged(by_id, test.utterances, test.trials), self.clean
            ).scores,
        )

    def _predict(self, condition: Condition, test: ConditionSet, shared: SharedPass) -> list[Any]:
        loaded, mode = self.resolved.loaded, self.resolved.card.features
        name = loaded.name.text()
        store = FeatureStore(shared.root, loaded.digest, mode, engine=self.engine, name=name)
        missing = store.missing(test.utterances)
        seconds = math.ceil(sum(item.num_samples for item in missing) / 16_000)
        with bar(total=seconds, label=condition.name, unit="s") as progress:
            store.extract(
                loaded.upstream,
                missing,
                lambda item: progress.update(item.num_samples / 16_000),
                sound=shared.once(test.sound),
            )
        return predict(self.probe, store.read(test.utterances))


def load_head(resolved: Resolved, path: Path) -> Probe:
    """The trained weighted sum and head of a run.

    Raises:
        MissingError: not kept.
        InvalidDataError: not a file of tensors, or of another head.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.exists():
        raise MissingError(f"no trained head {path}: bring the whole run's folder, or evaluate it")
    upstream = resolved.loaded.upstream
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InvalidDataError(f"{path}: not a file of tensors ({error})") from error
    moments = None
    if resolved.card.recipe.standardize:  # their values come with the state
        shape = (upstream.num_layers, upstream.hidden_size)
        moments = Moments(torch.zeros(shape), torch.ones(shape))
    probe = Probe(upstream.num_layers, upstream.hidden_size, head_factory(resolved), moments)
    try:
        probe.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InvalidDataError(f"{path}: another head than the run's ({reason})") from error
    probe.eval()
    return probe
