"""One run: (upstream, task, track, seed) to a record. Done means done; interrupted goes on.

The stages are apart, and each keeps what it made: features, trained heads, predictions, scores.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench.cost import measure, real_time_factor
from bench.engine_options import STORE_GB
from bench.fit import Fitted, best_of
from bench.grid import Probe
from bench.kept import Features, extract
from bench.load import load_upstream
from bench.metrics import METRICS
from bench.passes import Engine
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
from bench.registry import ROOT, task_card
from bench.spec import Resolved, RunSpec, ceiling_card, prepare_corpora, resolve_run
from bench.stages import best_probe, predict_tests, save_head, score_tests, train
from bench.store import FeatureStore

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
        allow_code: code that they name may run (`bench.catalog`).
        force: run anew even when the same run is done.
        engine: how the upstream runs.
        store_gb: budget of kept features, in units of 10^9 bytes; beyond it they stream.

    Raises:
        UserError: bad input or missing things, in one line.
    """
    clock, engine = Clock(), (engine or Engine()).check()
    card = task_card(spec.task, spec.track)
    if spec.ceiling:
        card = ceiling_card(card)
    with clock.stage("load"):
        loaded = load_upstream(
            spec.upstream, weights=weights, strict=strict, cards=cards, allow_code=allow_code
        )
    if loaded.warning:
        say(loaded.warning)
    with clock.stage("corpus"):
        prepare_corpora(card, home, deb_dir)
        runs = [resolve_run(replace(spec, seed=seed), card, loaded, home) for seed in seeds]
    folder = out / spec.track / runs[0].spec.upstream
    paths = [folder / f"{resolved.run_name()}.json" for resolved in runs]
    done = [None if force else _done(path, r) for path, r in zip(paths, runs, strict=True)]
    left = [index for index, record in enumerate(done) if record is None]
    for index in left:
        _set_aside(paths[index], runs[index])
        if force:
            shutil.rmtree(paths[index].with_suffix(""), ignore_errors=True)
    store = FeatureStore(
        home / "features", loaded.digest, card.features, engine=engine, name=loaded.name.text()
    )
    if left:
        made = _compute(
            Features(runs[left[0]], store, store_gb),
            [runs[index] for index in left],
            [paths[index] for index in left],
            clock,
        )
        for index, record in zip(left, made, strict=True):
            done[index] = record
    return [
        Outcome(record, path, was_done=index not in left)
        for index, (record, path) in enumerate(zip(done, paths, strict=True))
        if record is not None
    ]


def _done(path: Path, resolved: Resolved) -> Record | None:
    """The record of the very same run, when it is there."""
    if not path.exists():
        return None
    record = read_record(path)
    return record if record.provenance.spec == resolved.digest() else None


def _set_aside(path: Path, resolved: Resolved) -> None:
    """Move a record of a run with other inputs out of the way, with all that belongs to it."""
    if not path.exists():
        return
    older = read_record(path).provenance.spec
    if older == resolved.digest():
        return
    name = f"{path.stem}.{older[:8]}"
    if path.with_suffix("").exists():
        shutil.rmtree(path.with_name(name), ignore_errors=True)
        path.with_suffix("").replace(path.with_name(name))
    path.replace(path.with_name(f"{name}.json.old"))


def _compute(
    features: Features, runs: Sequence[Resolved], paths: Sequence[Path], clock: Clock
) -> list[Record]:
    """All stages of some runs, alike but for their seeds, from features to records."""
    with clock.stage("plan"):
        for line in make_plan(features, [r.spec.seed for r in runs]).lines(features):
            say(line)
    with clock.stage("upstream"):
        extract(features)
    trained = [
        path.with_suffix("") / "training" / r.digest()[:16]
        for path, r in zip(paths, runs, strict=True)
    ]
    with clock.stage("head"):
        points = train(features, runs, trained)
    with clock.stage("cost"):
        cost = upstream_cost(runs[0])
    records = []
    for resolved, path, own in zip(runs, paths, points, strict=True):
        record = _finish(replace(features, resolved=resolved), path, own, cost, clock)
        write_record(record, path)
        records.append(record)
    for path in paths:
        shutil.rmtree(path.with_suffix("") / "training", ignore_errors=True)
    return records


def _finish(
    features: Features, path: Path, points: list[Fitted], cost: UpstreamCost, clock: Clock
) -> Record:
    """From the trained heads of one run to its record."""
    resolved, folder = features.resolved, path.with_suffix("")
    higher = METRICS[resolved.card.metrics[0]].higher_is_better
    best = best_of(points, higher_is_better=higher)
    probe = best_probe(features, best)
    save_head(probe, folder / "head.safetensors")
    with clock.stage("predict"):
        digests = predict_tests(features, probe, folder / "predictions")
    with clock.stage("score"):
        scores = score_tests(resolved, folder / "predictions")
    return _record(features, scores, points, best, probe, cost, digests, clock)


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
    features: Features,
    scores: tuple[ConditionScore, ...],
    points: list[Fitted],
    best: Fitted,
    probe: Probe,
    cost: UpstreamCost,
    digests: dict[str, str],
    clock: Clock,
) -> Record:
    """Gather what was found."""
    resolved = features.resolved
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
        provenance=_provenance(resolved.digest(), features.store.engine, clock),
    )


def _provenance(spec_digest: str, engine: Engine, clock: Clock) -> Provenance:
    """Where, when and with what the run was made."""
    commit, dirty = project_state()
    return Provenance(
        spec=spec_digest,
        commit=commit,
        dirty=dirty,
        device=_device(engine),
        precision=engine.precision,
        packages={name: version(name) for name in PACKAGES},
        started=clock.started,
        seconds=sum(clock.seconds.values()),
        seconds_by_stage=dict(clock.seconds),
    )


def project_state() -> tuple[str | None, bool | None]:
    """The project's commit, and whether it was changed since; None where there is no checkout."""
    commit = _git("rev-parse", "HEAD")
    return commit, None if commit is None else bool(_git("status", "--porcelain"))


def _device(engine: Engine) -> str:
    """What computed, for people."""
    if engine.device.startswith("cuda"):
        return torch.cuda.get_device_name(engine.device)
    return f"CPU {platform.machine()}, {torch.get_num_threads()} threads"


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
