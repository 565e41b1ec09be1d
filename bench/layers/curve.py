"""Compute the layer curve of an upstream on a task, from the stored features of the harness."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import stopping
from bench.api import Utterance
from bench.errors import UsageError
from bench.features.inventory import using
from bench.features.locks import LOCKS, held
from bench.identity import curve_key, curve_lock, engine_settings
from bench.layers.regression import Probed, ProbeData, probe
from bench.load.fingerprint import agree
from bench.paths import write_text
from bench.progress import bar
from bench.records.layer_curve import (
    ALL_STATES,
    DEV,
    LayerCurve,
    StateHits,
    curve_path,
    read_curve,
)
from bench.run.job import Job, open_job
from bench.run.provenance import provenance
from bench.run.run_features import Features, extract
from bench.run.spec import RunSpec, run_card
from bench.session import Session

METHOD = 1  # raise it when the same features would give other counts
FITTED = ("train", "dev")
Pooled = NDArray[np.float64]


class CurveOutcome(NamedTuple):
    """A layer curve, its file, and whether an earlier command had written it."""

    curve: LayerCurve
    path: Path
    was_done: bool


def layer_curve(spec: RunSpec, session: Session, *, force: bool = False) -> CurveOutcome:
    """Probe each hidden state of an upstream on a task, and all of them together.

    Args:
        spec: upstream, task and track; the seed is not used.
        session: folders, and how the upstream runs.
        force: compute a finished curve again.

    Raises:
        UsageError: a task that is no classification of whole utterances.
        UserError: invalid input or missing files.
    """
    card = run_card(spec)
    if card.metrics[0] != "accuracy" or card.features != "pooled":
        raise UsageError(
            f"task {card.name}, track {card.track}: layer curves are of tasks that classify the "
            "mean over an utterance (ks, ic, sid)"
        )
    job = open_job(spec, (0,), session)
    resolved, features = job.runs[0], job.features
    path = curve_path(session.out, spec.track, resolved.spec.upstream, card.name)
    inputs, store = resolved.inputs(), features.store
    settings = engine_settings(store.engine)
    key = curve_key(METHOD, inputs.upstream_sha256, inputs.manifests, settings)
    with held(session.out / LOCKS, [curve_lock(path)]), using(store.root, store.key):
        if path.exists() and not force:
            written = read_curve(path)
            same_states = agree(written.inputs.fingerprint, inputs.fingerprint)
            if written.provenance.spec == key and same_states:
                return CurveOutcome(written, path, was_done=True)
        with job.clock.stage("upstream"):
            extract(features)
        curve = _compute(job, key)
        write_text(path, curve.model_dump_json(indent=1) + "\n")
    return CurveOutcome(curve, path, was_done=False)


def _compute(job: Job, key: str) -> LayerCurve:
    """Fit one probe a state, and one of all states."""
    resolved, card = job.runs[0], job.runs[0].card
    tables = {name: table.utterances for name, table in resolved.tables.items()}
    pooled = {name: _pooled(job.features, name) for name in tables}
    fitted = [item for split in FITTED for item in tables[split]]
    utterances = {DEV: fitted} | {name: list(tables[name]) for name in card.conditions}
    num_layers = job.features.source(DEV).num_layers
    states = []
    with job.clock.stage("probe"), bar(total=num_layers + 1, label="probe", unit="states") as done:
        for layer in (*range(num_layers), None):
            stopping.check()
            probed = _probe(pooled, layer, fitted, card.conditions)
            predicted = {DEV: probed.held_out, **probed.tests}
            hits = {name: _hits(utterances[name], predicted[name]) for name in utterances}
            name = ALL_STATES if layer is None else str(layer)
            states.append(StateHits(state=name, penalty=probed.penalty, hits=hits))
            done.update(1)
    return LayerCurve(
        track=card.track,
        task=card.name,
        task_version=card.version,
        upstream=resolved.spec.upstream,
        family=resolved.loaded.card.family,
        weights=resolved.loaded.provenance,
        tap=resolved.loaded.upstream.tap,
        utterances={name: _count(items) for name, items in utterances.items()},
        states=tuple(states),
        inputs=resolved.inputs(),
        provenance=provenance(key, job.features.store.engine, job.clock),
    )


def _pooled(features: Features, split: str) -> Pooled:
    """Return the states (N, L, D) of a split, mean over time."""
    source = features.source(split)
    states: Pooled = source.rows(range(len(source))).in_order().double().numpy()
    return states


def _probe(
    pooled: dict[str, Pooled],
    layer: int | None,
    fitted: Sequence[Utterance],
    conditions: Sequence[str],
) -> Probed:
    """Probe one state, or all states side by side for None."""

    def states(split: str) -> Pooled:
        block = pooled[split] if layer is None else pooled[split][:, layer]
        return block.reshape(len(block), -1)

    data = ProbeData(
        np.concatenate([states(split) for split in FITTED]),
        np.array([str(item.target) for item in fitted]),
        np.array([item.speaker for item in fitted]),
    )
    return probe(data, {name: states(name) for name in conditions})


def _count(items: Sequence[Utterance]) -> dict[str, int]:
    """Return the number of utterances of each speaker, sorted by speaker."""
    speakers, counts = np.unique([item.speaker for item in items], return_counts=True)
    return dict(zip(speakers.tolist(), counts.tolist(), strict=True))


def _hits(items: Sequence[Utterance], predicted: NDArray[np.str_]) -> tuple[int, ...]:
    """Return the number of correct utterances of each speaker, sorted by speaker."""
    is_hit = np.array([str(item.target) for item in items]) == predicted
    _, codes = np.unique([item.speaker for item in items], return_inverse=True)
    return tuple(np.bincount(codes, weights=is_hit).astype(int).tolist())
