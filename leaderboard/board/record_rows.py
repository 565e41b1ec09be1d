"""Rows of the board from records: one row an upstream and role, scores as means over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.config import UpstreamCard
from bench.errors import InvalidDataError, UsageError
from bench.load import catalog
from bench.load.catalog import MODIFIERS, parse_upstream_name, upstream_card, upstream_names
from bench.metrics.items import Items
from bench.metrics.metric import METRICS
from bench.records.cost_report import CostReport
from bench.records.record import Record
from bench.records.standing import Standing, standing_path
from bench.schema import read_card
from leaderboard.board.reading import BoardFolders, BoardRecord, check_columns, read_costs
from leaderboard.board.rows import WEIGHTS_TEXT, Kind, Row, unique_keys
from leaderboard.board.scores import board_degradations, board_scores, group_runs


def role_of(record: Record) -> str:
    """Return the name of the control that a record belongs to; empty for a measurement."""
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
    items = [[groups[name][key] for key in sorted(groups[name])] for name in order]
    rows = [_row(key, group, folders, costs) for key, group in zip(keys, items, strict=True)]
    runs = [group_runs(group, pools=row.pools) for group, row in zip(items, rows, strict=True)]
    scores = board_scores(runs)
    losses = board_degradations(runs, scores)
    return tuple(
        replace(row, scores=of_row, degradations=lost)
        for row, of_row, lost in zip(rows, scores, losses, strict=True)
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
    """Return the row of one upstream in one role, without its scores."""
    record, role = group[0].record, role_of(group[0].record)
    kind: Kind = "control" if role else "measured"
    card_name = _card_name(record.upstream)
    card, by_modifier = _card(card_name, catalog.CARDS), _costs(record.upstream, costs)
    cost = by_modifier.pop(None, None)
    if cost is not None and cost.params != record.cost.params:
        raise InvalidDataError(
            f"costs of {record.upstream}: {cost.params} parameters, its records say "
            f"{record.cost.params}"
        )
    standing = standing_path(folders.standing, record.track, record.upstream)
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
        scores={},
        standing=read_card(standing, Standing)
        if standing.exists()
        else Standing(upstream=record.upstream, track=record.track),
        modified_costs={modifier: item for modifier, item in by_modifier.items() if modifier},
        right_shares=_right_shares(group),
        records=tuple(item.record for item in group),
        paper=(card.paper if card else None) or "",
        note=card.notes if card else "",
    )


def _right_shares(group: Sequence[BoardRecord]) -> dict[str, NDArray[np.float64]]:
    """Return how much of each utterance is right, from 0 to 1, by task: a mean over seeds."""
    shares: dict[str, list[NDArray[np.float64]]] = {}
    for item in group:
        metric = METRICS[item.record.score().metric]
        counts = item.items.items.get(("clean", metric.name))
        if metric.has_right_items and isinstance(counts, Items):
            nothing = np.full(len(counts.numerators), float(metric.higher_is_better))
            rates = np.divide(
                counts.numerators, counts.denominators, out=nothing, where=counts.denominators > 0
            )
            right = rates if metric.higher_is_better else 1.0 - np.minimum(rates, 1.0)
            shares.setdefault(item.record.task, []).append(right)
    return {
        task: np.mean(parts, axis=0)
        for task, parts in shares.items()
        if len({len(part) for part in parts}) == 1
    }


def _costs(upstream: str, costs: dict[str, CostReport]) -> dict[str | None, CostReport]:
    """Return the measured costs of an upstream, by modifier; None is the key of float32.

    Those of its untrained control stand in where they were not measured with its weights: costs do
    not depend on the values of weights.
    """
    try:
        name = parse_upstream_name(upstream)
    except UsageError:
        return {None: costs[upstream]} if upstream in costs else {}
    modifiers = (None, *MODIFIERS) if name.modifier is None else (name.modifier,)
    by_modifier: dict[str | None, CostReport] = {}
    for modifier in modifiers:
        asked = name._replace(modifier=modifier)
        for text in (asked.text(), asked.untrained().text()):
            if text in costs:
                by_modifier.setdefault(None if modifier == name.modifier else modifier, costs[text])
    return by_modifier


def _card_name(upstream: str) -> str:
    try:
        return parse_upstream_name(upstream).card
    except UsageError:
        return upstream
