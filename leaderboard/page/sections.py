"""What the section of one upstream has: its texts, and the predictions of one's own runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.metrics.metric import METRICS, Metric
from bench.records.own_head import OwnHeadRecord
from bench.records.record import ConditionScore, Record
from leaderboard.board.board import BoardCell, Column
from leaderboard.board.columns import p_text
from leaderboard.board.rows import Degradation, Row

DIGEST, COMMIT = 12, 8  # digits that are shown


@dataclass(frozen=True)
class TaskLine:
    """One task of one upstream: its metrics on clean speech, and the choice of the head.

    Attributes:
        scores: every metric on clean speech, with interval and counts.
        rates: dev score of every learning rate, or of every hidden state where nothing is trained;
            the chosen one in brackets.
        weights: softmax weights of the L hidden states, in percent, of the first seed.
        head: number of parameters, the update at which dev was best, and the seeds.
    """

    task: str
    scores: str
    rates: str
    weights: str
    head: str


@dataclass(frozen=True)
class ConditionCell:
    """One task in one condition.

    Attributes:
        score: main metric.
        loss: relative degradation; None for a row that does not beat chance on clean speech.
    """

    score: str
    loss: Degradation | None


@dataclass(frozen=True)
class ConditionLine:
    """One condition of one upstream: a cell a task, None for a task that was not measured."""

    name: str
    cells: tuple[ConditionCell | None, ...]


@dataclass(frozen=True)
class PredictionLine:
    """One utterance: what was said, what was predicted, and the error in percent.

    Attributes:
        sound: as an address `data:`; empty without one.
    """

    utterance: str
    target: str
    prediction: str
    error: str
    sound: str


@dataclass(frozen=True)
class PredictionTable:
    """The predictions of one run on clean speech, worst first.

    Attributes:
        error: name of the error of an utterance.
        total: number of utterances.
    """

    task: str
    seed: int
    error: str
    total: int
    lines: tuple[PredictionLine, ...]


@dataclass(frozen=True)
class LearningCurve:
    """Dev score by update of one run.

    Attributes:
        lines: of every learning rate: its text, points in a plane of 300 by 100, and whether dev
            selected it.
        low, high: the least and the largest dev score, as text.
        last: number of updates.
    """

    task: str
    seed: int
    metric: str
    lines: tuple[tuple[str, str, bool], ...]
    low: str
    high: str
    last: int


@dataclass
class OwnRows:
    """What a board has of one's own runs.

    Attributes:
        names: upstreams, by track.
        tables: of predictions, by (track, upstream).
        curves: of trainings, by (track, upstream).
    """

    names: dict[str, frozenset[str]] = field(default_factory=dict)
    tables: dict[tuple[str, str], list[PredictionTable]] = field(default_factory=dict)
    curves: dict[tuple[str, str], list[LearningCurve]] = field(default_factory=dict)


def task_lines(row: Row) -> list[TaskLine]:
    """Return one line a task."""
    return [_line(row, records) for records in _by_task(row).values()]


def lossy_tasks(row: Row) -> list[str]:
    """Return the tasks that were measured in any condition, in the order of `task_lines`."""
    measured = {task for task, _, condition in row.scores if condition != "clean"}
    return [task for task in _by_task(row) if task in measured]


def condition_lines(row: Row, conditions: Sequence[str]) -> list[ConditionLine]:
    """Return one line a measured condition, cells in the order of `lossy_tasks`."""
    by_task = _by_task(row)
    metrics = {task: by_task[task][0].score().metric for task in lossy_tasks(row)}

    def cell(task: str, metric: str, condition: str) -> ConditionCell | None:
        loss = row.degradations.get((task, condition))
        score = row.scores.get((task, metric, condition))
        if score is None:
            return None
        return ConditionCell(METRICS[metric].text(score.value), loss)

    lines = [
        ConditionLine(name, tuple(cell(task, metric, name) for task, metric in metrics.items()))
        for name in conditions
    ]
    return [line for line in lines if any(line.cells)]


def _by_task(row: Row) -> dict[str, list[Record]]:
    """Return the records of a row by task."""
    by_task: dict[str, list[Record]] = {}
    for record in row.records:
        by_task.setdefault(record.task, []).append(record)
    return by_task


def _line(row: Row, records: Sequence[Record]) -> TaskLine:
    first = records[0]
    names = [part.metric for part in first.scores if part.condition == "clean"]
    seeds = ", ".join(str(record.seed) for record in records)
    layers = first.head.layer_weights
    return TaskLine(
        task=first.task.upper(),
        scores="; ".join(_score_text(row, first.task, METRICS[name]) for name in names),
        rates=_rates(first),
        weights=" ".join(f"{100 * w:.0f}" for w in layers) if len(layers) > 1 else "one layer",
        head=f"{first.head.params:,}; update {first.selection.step:,}; seed {seeds}",
    )


def _score_text(row: Row, task: str, metric: Metric) -> str:
    """Return a clean score with its interval and counts."""
    score = row.scores[task, metric.name, "clean"]
    ends = ""
    if score.low is not None and score.high is not None:
        ends = f" [{metric.text(score.low)}, {metric.text(score.high)}]"
    return f"{metric.label} {metric.text(score.value)}{ends}, {score.about}"


@dataclass(frozen=True)
class OwnHeadLine:
    """One metric of one fine-tuned model.

    Attributes:
        metric: label and direction.
        scores: by test set, dev first: value, 95 % interval over test speakers, counts.
    """

    record: OwnHeadRecord
    metric: str
    scores: dict[str, str]


def own_head_lines(records: Sequence[OwnHeadRecord]) -> list[OwnHeadLine]:
    """Return a line for each metric of each fine-tuned model, by task and metric."""
    lines = []
    for record in records:
        scores = sorted(record.scores, key=lambda score: score.condition != "dev")
        for metric in dict.fromkeys(METRICS[score.metric] for score in scores):
            texts = {s.condition: _own_score(s) for s in scores if s.metric == metric.name}
            lines.append(OwnHeadLine(record, f"{metric.label}, {metric.direction}", texts))
    return sorted(lines, key=lambda line: (line.record.task, line.metric))


def _own_score(score: ConditionScore) -> str:
    """Return a score with its interval and counts."""
    metric, parts = METRICS[score.metric], []
    if score.low is not None and score.high is not None:
        parts.append(f"[{metric.text(score.low)}, {metric.text(score.high)}]")
    if score.numerator is not None and score.denominator is not None:
        parts.append(f"{score.numerator:,g} of {score.denominator:,g} {metric.unit}")
    return " ".join([metric.text(score.value), *parts])


def command(row: Row) -> str:
    """Return the command that makes the records of a row again, for one TASK; empty without."""
    if not row.records:
        return ""
    first = row.records[0]
    seeds = ",".join(str(seed) for seed in sorted({record.seed for record in row.records}))
    options = " --shuffle-labels" * first.labels_shuffled
    return f"slim-superb eval '{row.name}' TASK --track {first.track} --seeds {seeds}{options}"


def _rates(record: Record) -> str:
    """Return learning rates with their dev scores."""
    choice, parts = record.selection, []
    metric = METRICS[choice.metric]
    for number, point in enumerate(choice.explored or choice.grid):
        text = "diverged" if point.value is None else metric.text(point.value)
        name = f"{point.lr:g}" if point.lr else f"state {number}"  # nothing was trained
        is_chosen = point.lr == choice.lr and (choice.explored or point.value == choice.value)
        parts.append(f"[{name}: {text}]" if is_chosen else f"{name}: {text}")
    return ", ".join(parts)


def runs(row: Row) -> str:
    """Return digest of the upstream, commits and dates of the runs; empty without runs."""
    if not row.records:
        return ""
    weights = {record.inputs.upstream_sha256[:DIGEST] for record in row.records}
    parts = [(record.provenance.commit, record.provenance.dirty) for record in row.records]
    parts += [(item.commit, item.dirty) for record in row.records for item in record.conditions]
    commits = {
        (commit[:COMMIT] if commit.isalnum() else commit) + "+" * bool(dirty)
        for commit, dirty in parts
        if commit
    }
    dates = sorted({record.provenance.started[:10] for record in row.records})
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    code = f"commit {', '.join(sorted(commits))}" if commits else "no commit"
    return f"sha256 {', '.join(sorted(weights))}; {code}; {when}"


def reported_lines(row: Row, columns: Sequence[Column]) -> list[str]:
    """Return every reported score with its source."""
    lines = []
    for column in columns:
        cell = column.cell(row)
        if column.group == "score" and cell.value is not None:
            lines.append(f"{column.title}: {cell.text} ({cell.detail})")
    return lines


def p_values(cells: Sequence[BoardCell], columns: Sequence[Column]) -> str:
    """Return by column the p value of the test against the row above, and that row's name."""
    rankings = [(column.title, cell.ranking) for column, cell in zip(columns, cells, strict=True)]
    return "; ".join(
        f"{title} {p_text(ranking.p_above)}, {ranking.above}"
        for title, ranking in rankings
        if ranking is not None and ranking.p_above is not None
    )


def first_of_card(rows: Sequence[Row]) -> set[str]:
    """Return the keys of rows that show notes and BibTeX: the first row of every card."""
    first: dict[str, str] = {}
    for row in rows:
        first.setdefault(row.card_name if row.card is not None else row.key, row.key)
    return set(first.values())
