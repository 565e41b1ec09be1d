"""The record of a run, from its scores and its trained heads."""

from __future__ import annotations

from collections.abc import Sequence

from bench.identity import engine_settings
from bench.probe.fit import Fitted
from bench.probe.heads import Probe
from bench.records.record import (
    ConditionScore,
    GridPoint,
    HeadResult,
    Record,
    SelectionResult,
    UpstreamCost,
)
from bench.run.provenance import Clock, provenance
from bench.run.run_features import Features


def _grid_points(points: Sequence[Fitted], *, explored: bool) -> tuple[GridPoint, ...]:
    """Return the dev scores of all learning rates, explored or trained in full."""
    return tuple(
        GridPoint(lr=point.lr, step=point.step, value=point.value, by_seed=point.by_seed)
        for point in points
        if point.explored == explored
    )


def record_of(
    features: Features,
    scores: tuple[ConditionScore, ...],
    points: list[Fitted],
    best: Fitted,
    probe: Probe,
    cost: UpstreamCost,
    digests: dict[str, str],
    head_sha256: str,
    clock: Clock,
) -> Record:
    """Return the record of one run.

    Args:
        features: features of the run.
        scores: scores of every test set and metric.
        points: trained heads of the grid.
        best: the head that dev selected.
        probe: its module.
        cost: cost of the upstream.
        digests: sha256 of the predictions by condition.
        head_sha256: of the file of the trained head.
        clock: seconds by stage.
    """
    resolved = features.resolved
    spec, card, loaded = resolved.spec, resolved.card, resolved.loaded
    engine = features.store.engine
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
        labels=resolved.labels,
        labels_shuffled=spec.shuffle_labels,
        limit=spec.limit,
        steps=spec.steps,
        scores=scores,
        selection=SelectionResult(
            metric=card.selects_by,
            value=best.value,
            step=best.step,
            lr=best.lr,
            grid=_grid_points(points, explored=False),
            explored=_grid_points(points, explored=True),
        ),
        head=HeadResult(
            params=sum(p.numel() for p in probe.head.parameters()),
            layer_weights=tuple(probe.weighted_sum.weights().tolist()),
            sha256=head_sha256,
        ),
        cost=cost,
        inputs=resolved.inputs(),
        predictions_sha256=digests,
        provenance=provenance(resolved.key(engine_settings(engine)), engine, clock),
    )
