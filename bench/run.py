"""One run: (upstream, task, track, seed) to a record. Done means done; interrupted goes on.

The stages are apart, and each keeps what it made: features, trained heads, predictions, scores.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from bench.cost import measure, real_time_factor
from bench.features import FeatureStore
from bench.fit import Fitted, Probe, best_of
from bench.load import load_upstream
from bench.metrics import METRICS
from bench.plan import make_plan
from bench.progress import say
from bench.record import (
    ConditionScore,
    GridPoint,
    HeadResult,
    Provenance,
    Record,
    SelectionResult,
    UpstreamCost,
    read_record,
    write_record,
)
from bench.registry import ROOT, corpus_module, task_card
from bench.spec import Resolved, RunSpec, ceiling_card, resolve_run
from bench.stages import best_probe, extract, predict_tests, save_head, score_tests, train

PACKAGES = ("torch", "torchaudio", "numpy", "scipy", "scikit-learn", "jiwer", "soundfile")


@dataclass
class Clock:
    """Wall seconds by stage."""

    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin


@dataclass(frozen=True)
class Outcome:
    """What `run` returns: the record, where it lies, and whether it was there before."""

    record: Record
    path: Path
    was_done: bool


def run(
    spec: RunSpec,
    *,
    home: Path,
    out: Path,
    weights: Path | None = None,
    deb_dir: Path | None = None,
    strict: bool = False,
    force: bool = False,
) -> Outcome:
    """Evaluate one upstream on one task, or find that it is done.

    Args:
        spec: what to run.
        home: folder of corpora, weights and features.
        out: folder of records and predictions.
        weights: checkpoint file instead of the published one.
        deb_dir: folder of Debian packages, where apt is not to be had.
        strict: missing weights are an error on every track.
        force: run anew even when the same run is done.

    Raises:
        UserError: bad input or missing things, in one line.
    """
    clock = Clock()
    card = task_card(spec.task, spec.track)
    if spec.ceiling:
        card = ceiling_card(card)
    with clock.stage("load"):
        loaded = load_upstream(spec.upstream, weights=weights, strict=strict)
    if loaded.warning:
        say(loaded.warning)
    with clock.stage("corpus"):
        corpus_module(card.corpus).prepare(home, deb_dir=deb_dir)
        resolved = resolve_run(spec, card, loaded, home)
    path = out / spec.track / resolved.spec.upstream / f"{resolved.run_name()}.json"
    done = _done(path, resolved)
    if done is not None and not force:
        return Outcome(done, path, was_done=True)
    folder = path.with_suffix("")
    if force:
        shutil.rmtree(folder, ignore_errors=True)
    record = _compute(resolved, home, folder, clock)
    _keep_older(path)
    write_record(record, path)
    shutil.rmtree(folder / "training", ignore_errors=True)
    return Outcome(record, path, was_done=False)


def _done(path: Path, resolved: Resolved) -> Record | None:
    """The record of the very same run, when it is there."""
    if not path.exists():
        return None
    record = read_record(path)
    return record if record.provenance.spec == resolved.digest() else None


def _keep_older(path: Path) -> None:
    """Move a record of a run with other inputs out of the way; nothing is lost."""
    if path.exists():
        older = read_record(path).provenance.spec[:8]
        path.replace(path.with_name(f"{path.stem}.{older}.json.old"))


def _compute(resolved: Resolved, home: Path, folder: Path, clock: Clock) -> Record:
    """All stages of a run, from features to the record."""
    card = resolved.card
    store = FeatureStore(home / "features", resolved.loaded.digest, card.features)
    with clock.stage("plan"):
        for line in make_plan(resolved, store).lines(resolved):
            say(line)
    with clock.stage("upstream"):
        extract(resolved, store)
    with clock.stage("head"):
        points = train(resolved, store, folder / "training" / resolved.digest()[:16])
    higher = METRICS[card.metrics[0]].higher_is_better
    best = best_of(points, higher_is_better=higher)
    probe = best_probe(resolved, store, best)
    save_head(probe, folder / "head.safetensors")
    with clock.stage("predict"):
        digests = predict_tests(resolved, store, probe, folder / "predictions")
    with clock.stage("score"):
        scores = score_tests(resolved, folder / "predictions")
    with clock.stage("cost"):
        cost = upstream_cost(resolved)
    return _record(resolved, scores, points, best, probe, cost, digests, clock)


def upstream_cost(resolved: Resolved) -> UpstreamCost:
    """Parameters, MACs and real-time factor, measured from the module that ran."""
    upstream = resolved.loaded.upstream
    cost = measure(upstream)
    return UpstreamCost(
        params=cost.params,
        macs_per_second=cost.macs_per_second,
        rtf=real_time_factor(upstream),
    )


def _record(
    resolved: Resolved,
    scores: tuple[ConditionScore, ...],
    points: list[Fitted],
    best: Fitted,
    probe: Probe,
    cost: UpstreamCost,
    digests: dict[str, str],
    clock: Clock,
) -> Record:
    """Gather what was found."""
    spec, card, loaded = resolved.spec, resolved.card, resolved.loaded
    grid = tuple(GridPoint(lr=point.lr, step=point.step, value=point.value) for point in points)
    if best.value is None:
        raise AssertionError("best_of returned a diverged point")
    return Record(
        track=spec.track,
        task=spec.task,
        task_version=card.version,
        upstream=spec.upstream,
        family=loaded.card.family,
        weights=loaded.provenance,
        tap=loaded.upstream.tap,
        seed=spec.seed,
        labels=card.labels,
        labels_shuffled=spec.shuffle_labels,
        ceiling=spec.ceiling,
        limit=spec.limit,
        scores=scores,
        selection=SelectionResult(
            metric=card.metrics[0], value=best.value, step=best.step, lr=best.lr, grid=grid
        ),
        head=HeadResult(
            params=sum(p.numel() for p in probe.head.parameters()),
            layer_weights=tuple(probe.weighted_sum.weights().tolist()),
        ),
        cost=cost,
        inputs=resolved.inputs(),
        predictions_sha256=digests,
        provenance=_provenance(resolved.digest(), clock),
    )


def _provenance(spec_digest: str, clock: Clock) -> Provenance:
    """Where, when and with what the run was made."""
    commit, dirty = project_state()
    return Provenance(
        spec=spec_digest,
        commit=commit,
        dirty=dirty,
        device=f"CPU {platform.machine()}, {torch.get_num_threads()} threads",
        precision="float32",
        packages={name: version(name) for name in PACKAGES},
        started=clock.started,
        seconds=sum(clock.seconds.values()),
        seconds_by_stage=dict(clock.seconds),
    )


def project_state() -> tuple[str | None, bool | None]:
    """The project's commit, and whether it was changed since; None where there is no checkout."""
    commit = _git("rev-parse", "HEAD")
    return commit, None if commit is None else bool(_git("status", "--porcelain"))


def _git(*arguments: str) -> str | None:
    """Output of a git command in the project's folder; None where there is no checkout."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
