"""Committed records to rows. Nothing that cannot be compared shares a column or a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import numpy as np

from bench import registry
from bench.config import UpstreamCard
from bench.errors import InvalidDataError, UsageError
from bench.metrics.draws import Draws, draws_path, mean_draws, read_draws
from bench.metrics.metric import METRICS
from bench.names import parse_upstream_name, path_name
from bench.records.record import ConditionScore, Record, read_record
from bench.records.standing import Standing, read_standing, standing_path
from bench.registry import task_card, track_card, upstream_card, upstream_names
from leaderboard.board.costs import CostFacts, read_costs
from leaderboard.board.degradation import degradations, recorded, relative, same_test_set
from leaderboard.board.rows import (
    WEIGHTS_TEXT,
    Degradation,
    Kind,
    Row,
    Score,
    ScoreKey,
    SetDraws,
    unique_keys,
)

INTERVAL = (2.5, 97.5)


@dataclass(frozen=True)
class Sources:
    """Folders of everything that is committed.

    Attributes:
        results: records, `<track>/<upstream>/<task>-s<seed>.json`.
        draws, standing, costs, published: beside it, by default those of the project.
    """

    results: Path
    draws: Path
    standing: Path
    costs: Path
    published: Path

    @classmethod
    def beside(cls, results: Path) -> Sources:
        """The usual layout: everything beside the folder of records."""
        parent = results.parent
        names = ("draws", "standing", "costs", "published")
        return cls(results, *(parent / name for name in names))


@dataclass(frozen=True)
class Found:
    """One record, where it lies, and its draws by (condition, metric)."""

    path: Path
    record: Record
    draws: dict[tuple[str, str], Draws]


@dataclass
class Reading:
    """Records by track, and those left out."""

    by_track: dict[str, list[Found]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)


def read_results(sources: Sources) -> Reading:
    """Read all records; tracks off the board are not even read.

    Raises:
        UsageError: a folder that is no track.
        InvalidDataError: a file that is not a record, or lies where another's belongs.
    """
    reading, results = Reading(), sources.results
    for folder in sorted(path for path in results.glob("*") if path.is_dir()):
        if not track_card(folder.name).on_board:
            reading.skipped.append(f"track {folder.name}: never on the board")
            continue
        records = reading.by_track.setdefault(folder.name, [])
        for path in sorted(folder.glob("*/*.json")):
            record = read_record(path)
            _check_place(record, path)
            reason = _no_result(record)
            if reason:
                reading.skipped.append(f"{path.relative_to(results)}: {reason}")
                continue
            beside = draws_path(sources.draws, record.track, record.upstream, path.stem)
            draws = read_draws(beside) if beside.exists() else {}
            records.append(Found(path, record, draws))
    return reading


def _check_place(record: Record, path: Path) -> None:
    """Refuse a record in the wrong folder or under the wrong name.

    Raises:
        InvalidDataError: track, upstream, task or seed differ from the path's.
    """
    named = (path.parent.parent.name, path.parent.name)
    stem = f"{record.task}-s{record.seed}"
    fits = path.stem == stem or path.stem.startswith(f"{stem}-")
    if named != (record.track, path_name(record.upstream)) or not fits:
        raise InvalidDataError(
            f"{path}: holds {record.track}/{record.upstream}/{stem}, which belongs elsewhere"
        )


def _no_result(record: Record) -> str:
    """Why a record is no result; empty when it is one."""
    if record.status != "ok":
        return "the run failed"
    if record.limit is not None:
        return f"limited to {record.limit} utterances"
    unknown = sorted({s.metric for s in record.scores} - METRICS.keys())
    return f"unknown metric {', '.join(unknown)}" if unknown else ""


def role_of(record: Record) -> str:
    """Which control a record belongs to; empty for a measurement."""
    if record.ceiling:
        return "ceiling: a small encoder trained end to end"
    if record.labels_shuffled:
        return "control: training labels shuffled"
    return "control: untrained" if record.weights == "untrained" else ""


def check_columns(found: Sequence[Found]) -> None:
    """Refuse to compare what cannot be compared.

    Raises:
        InvalidDataError: two protocols, task versions, test sets or distortions in one column.
    """
    first: dict[tuple[str, str, str], tuple[str, Found]] = {}
    for item in found:
        for condition, what, one in _identities(item):
            key = (item.record.task, condition, what)
            other_one, other = first.setdefault(key, (one, item))
            if one != other_one:
                raise InvalidDataError(
                    f"column {item.record.task} {condition}: two of {what}, {other_one[:16]} in "
                    f"{other.path.name} of {other.record.upstream} and {one[:16]} in "
                    f"{item.path.name} of {item.record.upstream}"
                )


def _identities(item: Found) -> Iterator[tuple[str, str, str]]:
    """Condition, what all records of its column must share, and what the record has there."""
    record = item.record
    own = [score.condition for score in record.scores]
    for condition in dict.fromkeys([*own, *(result.condition for result in record.conditions)]):
        yield condition, "protocol", record.protocol
        yield condition, "task version", str(record.task_version)
    for condition in dict.fromkeys(own):
        yield condition, "test set", record.inputs.manifests.get(condition, "unknown")
    for result in record.conditions:
        yield result.condition, "distortion", result.sha256


def measured_rows(track: str, found: Sequence[Found], sources: Sources) -> tuple[Row, ...]:
    """One row for an upstream and role: measured ones by size and name, then the controls.

    Raises:
        InvalidDataError: two records of one task and seed, of different weights or size, or what
            `check_columns` refuses.
    """
    check_columns(found)
    groups: dict[tuple[str, str], dict[tuple[str, int], Found]] = {}
    for item in found:
        record = item.record
        group = groups.setdefault((record.upstream, role_of(record)), {})
        key = (record.task, record.seed)
        if key in group:
            raise InvalidDataError(f"{item.path} and {group[key].path}: one task and seed twice")
        group[key] = item
        _check_same(next(iter(group.values())), item)
    order = sorted(groups, key=lambda key: (bool(key[1]), _params(groups[key]), key))
    keys = unique_keys([f"{track} {name} {role}" for name, role in order])
    costs = read_costs(sources.costs)
    return tuple(
        _row(key, [groups[name][k] for k in sorted(groups[name])], sources, costs)
        for key, name in zip(keys, order, strict=True)
    )


def _params(group: dict[tuple[str, int], Found]) -> int:
    return next(iter(group.values())).record.cost.params


def _check_same(first: Found, item: Found) -> None:
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
    """A card of ours, read once; `cards` only keeps two folders of cards apart."""
    return upstream_card(name) if name in upstream_names() else None


def _row(key: str, group: list[Found], sources: Sources, costs: dict[str, CostFacts]) -> Row:
    """One upstream in one role."""
    record, role = group[0].record, role_of(group[0].record)
    kind: Kind = "control" if role else "measured"
    card_name = _card_name(record.upstream)
    card, cost = _card(card_name, registry.CARDS), costs.get(record.upstream)
    if cost is not None and cost.params != record.cost.params:
        raise InvalidDataError(
            f"costs of {record.upstream}: {cost.params} parameters, its records say "
            f"{record.cost.params}"
        )
    standing = standing_path(sources.standing, record.track, record.upstream)
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
        standing=read_standing(standing)
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
    group: Sequence[Found], scores: dict[ScoreKey, Score]
) -> dict[tuple[str, str], Degradation]:
    """What the records carry, and from their draws what they carry for the task's other tables."""
    carried = recorded(item.record for item in group)
    own = degradations(scores, _main_metrics(group), _manifests(group))
    return {
        **{key: found for key, found in own.items() if key not in carried},
        **{
            (task, condition): found
            for (task, condition), found in carried.items()
            if (task, same_test_set(condition)) not in own
        },
    }


def _set_draws(group: Sequence[Found]) -> dict[tuple[str, str], SetDraws]:
    """The draws over sets of conditions: those of the main metric that no score is of.

    A set that not all seeds of a task have is left out.
    """
    found: dict[tuple[str, str], list[tuple[Draws, Draws]]] = {}
    seeds = Counter(item.record.task for item in group)
    for item in group:
        record, metric = item.record, item.record.selection.metric
        scored = {score.condition for score in record.scores}
        scored |= {result.condition for result in record.conditions}
        clean = item.draws.get(("clean", metric))
        for (name, of), mean in item.draws.items():
            if clean is not None and of == metric and name not in scored:
                loss = Draws(relative(clean, mean, metric), mean.clusters)
                found.setdefault((record.task, name), []).append((mean, loss))
    return {
        key: SetDraws(*(mean_draws(parts) for parts in zip(*pairs, strict=True)))
        for key, pairs in found.items()
        if len(pairs) == seeds[key[0]]
    }


def _main_metrics(group: Sequence[Found]) -> dict[str, str]:
    return {item.record.task: item.record.selection.metric for item in group}


def _manifests(group: Sequence[Found]) -> dict[tuple[str, str], str]:
    """Digest of every test set, by task and condition."""
    return {
        (item.record.task, condition): digest
        for item in group
        for condition, digest in item.record.inputs.manifests.items()
    }


def _scores(group: Sequence[Found]) -> dict[ScoreKey, Score]:
    """All scores of a row, means over seeds."""
    found: dict[ScoreKey, list[tuple[ConditionScore, Draws | None]]] = {}
    for item in group:
        beyond = [score for result in item.record.conditions for score in result.scores]
        for score in (*item.record.scores, *beyond):
            key = (item.record.task, score.metric, score.condition)
            pair = (score, item.draws.get((score.condition, score.metric)))
            found.setdefault(key, []).append(pair)
    return {key: _mean(pairs) for key, pairs in found.items()}


def _mean(pairs: Sequence[tuple[ConditionScore, Draws | None]]) -> Score:
    """The mean over seeds, and the interval of that mean; without draws one that spans all seeds'.

    Seeds are fixed: the interval says what other utterances or speakers would change.
    """
    scores = [score for score, _ in pairs]
    draws = [found for _, found in pairs if found is not None]
    low, high = min(score.low for score in scores), max(score.high for score in scores)
    merged: Draws | None = None
    if len(draws) == len(pairs):
        merged = mean_draws(draws)
        if len(pairs) > 1:
            low, high = map(float, np.nanpercentile(merged.values, INTERVAL))
    value = fmean(score.value for score in scores)
    return Score(value, low, high, _counts(scores), merged, len(scores))


def _counts(scores: Sequence[ConditionScore]) -> str:
    """Where one seed's rate comes from, or how many seeds and items the mean is over."""
    first = scores[0]
    unit = METRICS[first.metric].unit
    if len(scores) > 1:
        return f"mean of {len(scores)} seeds, n = {first.n:,}"
    if first.numerator is None or first.denominator is None:
        return f"1 seed, n = {first.n:,}"
    return f"1 seed, {first.numerator:,.6g} / {first.denominator:,.6g} {unit}"


def task_titles(track: str, tasks: Sequence[str]) -> dict[str, str]:
    """What the tasks are called.

    Raises:
        UsageError: a record of a task that the track does not have.
    """
    return {task: task_card(task, track).title for task in tasks}
