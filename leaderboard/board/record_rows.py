"""Rows of the board from records: one row an upstream and role, scores as means over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import numpy as np

from bench.config import UpstreamCard
from bench.errors import InvalidDataError, UsageError
from bench.load import catalog
from bench.load.catalog import parse_upstream_name, upstream_card, upstream_names
from bench.metrics.draws import Draws, mean_draws
from bench.metrics.metric import METRICS
from bench.metrics.resamples import INTERVAL
from bench.records.cost_report import CostReport
from bench.records.record import ConditionScore, Record
from bench.records.standing import Standing, standing_path
from bench.schema import read_card
from leaderboard.board.degradation import (
    degradations,
    recorded_degradations,
    relative,
    same_test_set,
)
from leaderboard.board.reading import BoardFolders, BoardRecord, check_columns, read_costs
from leaderboard.board.rows import (
    WEIGHTS_TEXT,
    BoardScore,
    Degradation,
    Kind,
    Row,
    ScoreKey,
    SetDraws,
    unique_keys,
)


def role_of(record: Record) -> str:
    """Return the name of the control that a record belongs to; empty for a measurement."""
    if record.ceiling:
        return "ceiling: a small encoder trained end to end"
    if record.labels_shuffled:
        return "control: training labels shuffled"
    if record.family == "control":
        return "control: no network"
    return "control: untrained" if record.weights == "untrained" else ""


def measured_rows(
    track: str, records: Sequence[BoardRecord], folders: BoardFolders
) -> tuple[Row, ...]:
    """Return one row an upstream and role: measured ones by size and name, then the controls.

    Raises:
        InvalidDataError: one task and seed twice; one upstream of two sizes or with two kinds of
            weights; records that `check_columns` refuses; a broken cost report or standing.
    """
    check_columns(records)
    groups: dict[tuple[str, str], dict[tuple[str, int], BoardRecord]] = {}
    for item in records:
        record = item.record
        group = groups.setdefault((record.upstream, role_of(record)), {})
        key = (record.task, record.seed)
        if key in group:
            raise InvalidDataError(f"{item.path} and {group[key].path}: one task and seed twice")
        group[key] = item
        _check_same(next(iter(group.values())), item)
    order = sorted(groups, key=lambda key: (bool(key[1]), _params(groups[key]), key))
    keys = unique_keys([f"{track} {name} {role}" for name, role in order])
    costs = read_costs(folders.costs)
    return tuple(
        _row(key, [groups[name][k] for k in sorted(groups[name])], folders, costs)
        for key, name in zip(keys, order, strict=True)
    )


def _params(group: dict[tuple[str, int], BoardRecord]) -> int:
    return next(iter(group.values())).record.cost.params


def _check_same(first: BoardRecord, item: BoardRecord) -> None:
    """Refuse two upstreams under one name.

    Raises:
        InvalidDataError: family, weights, tap or size differ.
    """
    one, two = first.record, item.record
    differs = [n for n in ("family", "weights", "tap") if getattr(one, n) != getattr(two, n)]
    sizes = [(r.cost.params, r.cost.macs_per_second) for r in (one, two)]
    if differs or sizes[0] != sizes[1]:
        what = ", ".join(differs) or "size"
        raise InvalidDataError(f"{item.path} and {first.path}: one upstream, different {what}")


@lru_cache(maxsize=256)
def _card(name: str, cards: Path) -> UpstreamCard | None:
    """Return the card of an upstream, read once a folder `cards`; None without a card."""
    return upstream_card(name) if name in upstream_names() else None


def _row(
    key: str, group: list[BoardRecord], folders: BoardFolders, costs: dict[str, CostReport]
) -> Row:
    """Return the row of one upstream in one role."""
    record, role = group[0].record, role_of(group[0].record)
    kind: Kind = "control" if role else "measured"
    card_name = _card_name(record.upstream)
    card, cost = _card(card_name, catalog.CARDS), costs.get(record.upstream)
    if cost is not None and cost.params != record.cost.params:
        raise InvalidDataError(
            f"costs of {record.upstream}: {cost.params} parameters, its records say "
            f"{record.cost.params}"
        )
    standing = standing_path(folders.standing, record.track, record.upstream)
    scores = _scores(group)
    factors = [item.record.cost.rtf for item in group if item.record.cost.rtf is not None]
    return Row(
        key=key,
        name=record.upstream,
        kind=kind,
        role=role,
        card_name=card_name,
        card=card,
        family=record.family,
        teacher=(card.teacher if card else None) or "",
        weights=WEIGHTS_TEXT[record.weights],
        tap=record.tap.replace("_", " "),
        protocol=record.protocol,
        params=record.cost.params,
        macs_per_second=record.cost.macs_per_second,
        macs_superb=cost.macs("superb_slt2022") if cost else None,
        cost=cost,
        rtf=min(factors) if factors else None,
        scores=scores,
        standing=read_card(standing, Standing)
        if standing.exists()
        else Standing(upstream=record.upstream, track=record.track),
        degradations=_degradations(group, scores),
        set_draws=_set_draws(group),
        records=tuple(item.record for item in group),
        note=card.notes if card else "",
    )


def _card_name(upstream: str) -> str:
    try:
        return parse_upstream_name(upstream).card
    except UsageError:
        return upstream


def _degradations(
    group: Sequence[BoardRecord], scores: dict[ScoreKey, BoardScore]
) -> dict[tuple[str, str], Degradation]:
    """Return the degradations that records carry, and those of the task's other test sets.

    The latter are computed from the draws.
    """
    carried = recorded_degradations(item.record for item in group)
    computed = degradations(scores, _main_metrics(group), _manifests(group))
    return {
        **{key: loss for key, loss in computed.items() if key not in carried},
        **{
            (task, condition): loss
            for (task, condition), loss in carried.items()
            if (task, same_test_set(condition)) not in computed
        },
    }


def _set_draws(group: Sequence[BoardRecord]) -> dict[tuple[str, str], SetDraws]:
    """Return the draws of the main metric over sets of conditions.

    They carry the name of a set, which no score has. A set that some seed lacks is left out.
    """
    pairs_of: dict[tuple[str, str], list[tuple[Draws, Draws]]] = {}
    seeds = Counter(item.record.task for item in group)
    for item in group:
        record, metric = item.record, item.record.selection.metric
        scored = {score.condition for score in record.scores}
        scored |= {result.condition for result in record.conditions}
        clean = item.draws.get(("clean", metric))
        for (name, drawn), mean in item.draws.items():
            if clean is not None and drawn == metric and name not in scored:
                loss = Draws(relative(clean, mean, metric), mean.clusters)
                pairs_of.setdefault((record.task, name), []).append((mean, loss))
    return {
        key: SetDraws(*(mean_draws(parts) for parts in zip(*pairs, strict=True)))
        for key, pairs in pairs_of.items()
        if len(pairs) == seeds[key[0]]
    }


def _main_metrics(group: Sequence[BoardRecord]) -> dict[str, str]:
    return {item.record.task: item.record.selection.metric for item in group}


def _manifests(group: Sequence[BoardRecord]) -> dict[tuple[str, str], str]:
    """Return the digest of every test set, by task and condition."""
    return {
        (item.record.task, condition): digest
        for item in group
        for condition, digest in item.record.inputs.manifests.items()
    }


def _scores(group: Sequence[BoardRecord]) -> dict[ScoreKey, BoardScore]:
    """Return all scores of a row, means over seeds."""
    pairs_of: dict[ScoreKey, list[tuple[ConditionScore, Draws | None]]] = {}
    for item in group:
        beyond = [score for result in item.record.conditions for score in result.scores]
        for score in (*item.record.scores, *beyond):
            key = (item.record.task, score.metric, score.condition)
            pair = (score, item.draws.get((score.condition, score.metric)))
            pairs_of.setdefault(key, []).append(pair)
    return {key: _mean(pairs) for key, pairs in pairs_of.items()}


def _mean(pairs: Sequence[tuple[ConditionScore, Draws | None]]) -> BoardScore:
    """Return the mean over seeds, with the interval of that mean.

    Without draws the interval spans those of all seeds. Seeds are fixed: the interval is over
    other utterances or speakers.
    """
    scores = [score for score, _ in pairs]
    draws = [draw for _, draw in pairs if draw is not None]
    low, high = min(score.low for score in scores), max(score.high for score in scores)
    merged: Draws | None = None
    if len(draws) == len(pairs):
        merged = mean_draws(draws)
        if len(pairs) > 1:
            low, high = map(float, np.nanpercentile(merged.values, INTERVAL))
    value = fmean(score.value for score in scores)
    return BoardScore(value, low, high, _counts(scores), merged, len(scores))


def _counts(scores: Sequence[ConditionScore]) -> str:
    """Return the counts of one seed's rate, or the number of seeds and items of a mean."""
    first = scores[0]
    unit = METRICS[first.metric].unit
    if len(scores) > 1:
        return f"mean of {len(scores)} seeds, n = {first.n:,}"
    if first.numerator is None or first.denominator is None:
        return f"1 seed, n = {first.n:,}"
    return f"1 seed, {first.numerator:,.6g} / {first.denominator:,.6g} {unit}"
