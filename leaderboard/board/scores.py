"""Scores and relative degradations of rows, with the seed variance of their whole column."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from bench.metrics.degradation import beats_chance, degraded_runs, lost_lead
from bench.metrics.item_file import all_influences
from bench.metrics.jackknife import Influences, mean_influences
from bench.metrics.metric import METRICS
from bench.metrics.statistics import NO_SEEDS, SeedVariance, interval, seed_variance
from bench.records.record import ConditionScore
from leaderboard.board.degradation import same_test_set
from leaderboard.board.reading import BoardRecord
from leaderboard.board.rows import BoardScore, Degradation, Row, ScoreKey

Pair = tuple[str, str]  # task, and condition or set of conditions


@dataclass(frozen=True, eq=False)
class RowRuns:
    """What the records of one row say of a score, one entry a seed.

    Attributes:
        scores: as recorded.
        runs: the same with the influence of each speaker; fewer where item counts are missing.
    """

    scores: list[ConditionScore] = field(default_factory=list)
    runs: list[Influences] = field(default_factory=list)

    @property
    def whole(self) -> tuple[Influences, ...]:
        """The runs if every seed has one, else none."""
        return tuple(self.runs) if len(self.runs) == len(self.scores) else ()


@dataclass(frozen=True, eq=False)
class GroupRuns:
    """The records of one row.

    Attributes:
        scores: by (task, metric, condition).
        main: main metric of every task.
        manifests: digest of the test set, by task and condition.
        pools: whether its seeds count for the seed variance of a column.
        seedless: tasks in which nothing is trained.
    """

    scores: Mapping[ScoreKey, RowRuns]
    main: Mapping[str, str]
    manifests: Mapping[Pair, str]
    pools: bool
    seedless: frozenset[str]


def group_runs(group: Sequence[BoardRecord], *, pools: bool) -> GroupRuns:
    """Collect the scores of one row's records, one entry a seed.

    Raises:
        InvalidDataError: item counts of which no score can be made.
    """
    scores: dict[ScoreKey, RowRuns] = {}
    main: dict[str, str] = {}
    manifests: dict[Pair, str] = {}
    for item in group:
        record, task = item.record, item.record.task
        metric = main.setdefault(task, record.score().metric)
        manifests |= {(task, test): digest for test, digest in record.inputs.manifests.items()}
        influences = all_influences(item.items, metric)
        tested = {score.condition for score in record.scores}
        beyond = [
            score
            for result in record.conditions
            if same_test_set(result.condition) not in tested
            for score in result.scores
        ]
        for score in (*record.scores, *beyond):
            runs = scores.setdefault((task, score.metric, score.condition), RowRuns())
            runs.scores.append(score)
            part = influences.get((score.condition, score.metric))
            if part is not None and METRICS[score.metric].has_interval:
                runs.runs.append(part)
    seedless = frozenset(i.record.task for i in group if i.record.selection.lr == 0.0)
    return GroupRuns(scores, main, manifests, pools, seedless)


def pooled(rows: Iterable[tuple[bool, Sequence[Influences]]]) -> SeedVariance | None:
    """Return the seed variance of a column from the rows that pool.

    Args:
        rows: whether a row pools, and its runs.
    """
    return seed_variance(runs for pools, runs in rows if pools and runs)


def board_scores(groups: Sequence[GroupRuns]) -> list[dict[ScoreKey, BoardScore]]:
    """Return the scores of every row, means over seeds with their intervals.

    Args:
        groups: all rows of a track.
    """
    keys = dict.fromkeys(key for group in groups for key in group.scores)
    seedless = {task for group in groups for task in group.seedless}
    spread = {
        key: NO_SEEDS
        if key[0] in seedless
        else pooled((g.pools, g.scores[key].whole) for g in groups if key in g.scores)
        for key in keys
    }
    return [
        {key: _score(runs, spread[key]) for key, runs in group.scores.items()} for group in groups
    ]


def _score(runs: RowRuns, spread: SeedVariance | None) -> BoardScore:
    over = interval(runs.whole, spread) if runs.whole else None
    return BoardScore(
        value=fmean(score.value for score in runs.scores),
        low=over.low if over else None,
        high=over.high if over else None,
        about=_counts(runs.scores, is_seedless=spread == NO_SEEDS),
        runs=runs.whole,
        spread=spread,
        seeds=len(runs.scores),
        chance=runs.scores[0].chance,
    )


def _counts(scores: Sequence[ConditionScore], *, is_seedless: bool) -> str:
    """Return the counts of one seed's rate, or the number of seeds and items of a mean."""
    one = "" if is_seedless else "1 seed, "
    first = scores[0]
    unit = METRICS[first.metric].unit
    if len(scores) > 1:
        return f"mean of {len(scores)} seeds, n = {first.n:,}"
    if first.numerator is None or first.denominator is None:
        return f"{one}n = {first.n:,}"
    return f"{one}{first.numerator:,.6g} / {first.denominator:,.6g} {unit}"


def board_degradations(
    groups: Sequence[GroupRuns], scores: Sequence[Mapping[ScoreKey, BoardScore]]
) -> list[dict[Pair, Degradation]]:
    """Return the relative degradation of every row's main metrics in every condition.

    Args:
        groups: all rows of a track.
        scores: of each row, from `board_scores`.
    """
    runs: list[dict[Pair, tuple[Influences, ...]]] = []
    values: list[dict[Pair, float]] = []
    for group, of_row in zip(groups, scores, strict=True):
        values.append({})
        runs.append({})
        for (task, metric, condition), score in of_row.items():
            clean = of_row.get((task, metric, "clean"))
            if condition == "clean" or group.main[task] != metric or clean is None:
                continue
            if not beats_chance(metric, clean.low, clean.high, clean.chance):
                continue
            pair = (task, condition)
            values[-1][pair] = lost_lead(score.value, score.chance, clean.value, clean.chance)
            if len(score.runs) == len(clean.runs) > 0:
                test = group.manifests.get(pair)  # of distortions there is none
                paired = test is None or test == group.manifests[task, "clean"]
                lost = degraded_runs(
                    score.runs, clean.runs, score.chance, clean.chance, paired=paired
                )
                runs[-1][pair] = tuple(lost)
    spread = {
        pair: pooled(
            (g.pools, part[pair]) for g, part in zip(groups, runs, strict=True) if pair in part
        )
        for pair in dict.fromkeys(pair for part in runs for pair in part)
    }
    return [
        {
            pair: _degradation(value, part.get(pair), spread.get(pair))
            for pair, value in of_row.items()
        }
        for of_row, part in zip(values, runs, strict=True)
    ]


def _degradation(
    value: float, runs: Sequence[Influences] | None, spread: SeedVariance | None
) -> Degradation:
    if not runs:
        return Degradation(value)
    over = interval(runs, spread)
    return Degradation(value, over.low, over.high)


@dataclass(frozen=True)
class SetScore:
    """A task's main metric over a set of conditions, all on the clean test set.

    Attributes:
        mean: over the conditions and seeds.
        loss: relative degradation of that mean; None for a row that does not beat chance on clean
            speech.
    """

    mean: BoardScore
    loss: BoardScore | None


def set_scores(
    rows: Sequence[Row], task: str, metric: str, members: Sequence[str]
) -> dict[str, SetScore]:
    """Return the scores over a set of conditions of the rows that have all of them, by row key.

    Args:
        rows: of one track: their seeds make the seed variance.
        task: the task.
        metric: its main metric.
        members: conditions of the set.
    """
    clean_key = (task, metric, "clean")
    needed = {clean_key, *((task, metric, member) for member in members)}
    having = {row.key: row for row in rows if needed <= row.scores.keys()}
    runs = {key: _set_runs(row, task, metric, members) for key, row in having.items()}

    def mean(row: Row) -> float:
        return fmean(row.scores[task, metric, member].value for member in members)

    means = _spread_scores(having, runs, mean, clean_key)
    losing, lost_runs = {}, {}
    for key, row in having.items():
        clean = row.scores[clean_key]
        if not beats_chance(metric, clean.low, clean.high, clean.chance):
            continue
        losing[key], both = row, (runs[key], clean.runs)
        alike = len(runs[key]) == len(clean.runs) > 0
        lost = degraded_runs(*both, clean.chance, clean.chance, paired=True) if alike else ()
        lost_runs[key] = tuple(lost)

    def loss(row: Row) -> float:
        clean = row.scores[clean_key]
        return lost_lead(means[row.key].value, clean.chance, clean.value, clean.chance)

    losses = _spread_scores(losing, lost_runs, loss, clean_key)
    return {key: SetScore(score, losses.get(key)) for key, score in means.items()}


def _set_runs(row: Row, task: str, metric: str, members: Sequence[str]) -> tuple[Influences, ...]:
    """Return the mean over a set of every seed; none if one lacks the influence of speakers."""
    parts = [row.scores[task, metric, member].runs for member in members]
    seeds = row.scores[task, metric, "clean"].seeds
    if any(len(part) != seeds for part in parts):
        return ()
    return tuple(mean_influences(seed) for seed in zip(*parts, strict=True))


def _spread_scores(
    rows: Mapping[str, Row],
    runs: Mapping[str, tuple[Influences, ...]],
    value: Callable[[Row], float],
    clean_key: ScoreKey,
) -> dict[str, BoardScore]:
    """Return a score a row, with the seed variance of all of them (none where none is trained)."""
    spread = pooled((row.pools, runs[key]) for key, row in rows.items())
    if any(row.scores[clean_key].is_seedless for row in rows.values()):
        spread = NO_SEEDS
    scores = {}
    for key, row in rows.items():
        over = interval(runs[key], spread) if runs[key] else None
        clean = row.scores[clean_key]
        scores[key] = BoardScore(
            value=value(row),
            low=over.low if over else None,
            high=over.high if over else None,
            runs=runs[key],
            spread=spread,
            seeds=clean.seeds,
            chance=clean.chance,
        )
    return scores
