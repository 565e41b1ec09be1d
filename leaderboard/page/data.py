"""The data of the page's script: rows, columns, scores under conditions, and what tests need."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.metrics.jackknife import mean_influences
from leaderboard.board.board import Board, BoardCell, View
from leaderboard.board.columns import is_best
from leaderboard.board.conditions import ConditionScores, TaskCondition
from leaderboard.board.degradation import severity
from leaderboard.board.ranking import ColumnTests
from leaderboard.board.rows import BoardScore, Row
from leaderboard.board.summaries import clean_lead, mean_lead
from leaderboard.page.picture import CostPicture
from leaderboard.page.texts import KINDS
from leaderboard.page.utterances import DIGITS, levels, utterance_sets

MISSING = "*"
SHADES = 5
VALUE_STEP, REACH_STEP = 0.0001, 0.0002  # of a packed score; of the reach of its interval
MAX_COORDINATES = 32  # of a row in the space of influences
MEAN = "mean"


def letters(number: int, count: int) -> str:
    """Return a number from 0 as letters to base 64; too large ones become the largest."""
    number = min(max(number, 0), 64**count - 1)
    return "".join(DIGITS[(number >> (6 * place)) & 63] for place in reversed(range(count)))


def packed(score: BoardScore | None, flags: int) -> str:
    """Return a score as eight letters: value (3), reach of its interval below and above (2 + 2).

    One `_` stands for an interval that is unknown. The last letter has the flags: the shade, plus
    16 for a score in bold, plus 32 where the row has a relative degradation.
    """
    if score is None:
        return MISSING
    text = letters(round(score.value / VALUE_STEP) + 2**16, 3)
    if score.low is None or score.high is None:
        return f"{text}_{DIGITS[flags]}"
    reaches = (score.value - score.low, score.high - score.value)
    steps = (min(round(reach / REACH_STEP), 63 * 64 - 1) for reach in reaches)  # no `_` first
    return text + "".join(letters(step, 2) for step in steps) + DIGITS[flags]


def shade_of(tests: ColumnTests, key: str) -> int:
    """Return a shade, 0 to `SHADES`: the share of rows that a row is significantly better than."""
    ranking = tests.rankings.get(key)
    return 0 if ranking is None else round(SHADES * (ranking.of - ranking.worst) / (ranking.of - 1))


def _condition_scores(view: View) -> dict[str, dict[str, str]]:
    """Return the packed scores of every row, by row key, then task; one entry a condition."""
    texts: dict[str, dict[str, str]] = {row.key: {} for row in view.rows}
    tasks = [*view.tables[0].tasks] if view.tables else []
    for task in tasks:
        for row in view.rows:
            text = "".join(
                _packed_task(table.tasks.get(task), row.key) for table in view.tables
            ).rstrip("*")
            if text:
                texts[row.key][task] = text
    if view.informative:
        for row in view.rows:
            text = "".join(_packed_mean(view, at, row.key) for at in range(len(view.tables)))
            if text := text.rstrip("*"):
                texts[row.key][MEAN] = text
    return texts


def _packed_task(part: TaskCondition | None, key: str) -> str:
    if part is None or key not in part.scores:
        return MISSING
    score = part.scores[key]
    flags = shade_of(part.tests, key) + 16 * is_best(part.metric, score, part.tests, key)
    return packed(score, flags + 32 * (key in part.losses))


def _packed_mean(view: View, at: int, key: str) -> str:
    base = clean_lead(view.tables, at, view.informative, key)
    has_loss = at > 0 and base is not None and (base.low or 0.0) > 0.0
    return packed(mean_lead(view.tables[at], view.informative, key), 32 * has_loss)


def _chances(tables: Sequence[ConditionScores], task: str) -> list[float | None]:
    """Return chance in every condition; None where the task was not measured."""
    scores = (table.tasks.get(task) for table in tables)
    return [
        _rounded(next(iter(part.scores.values())).chance) if part is not None else None
        for part in scores
    ]


def _told(tables: Sequence[ConditionScores], task: str) -> str:
    """Return a letter a condition: `1` tells rows apart, `0` tells nobody apart, `-` no tests."""
    parts = (table.tasks.get(task) for table in tables)
    return "".join(
        "-" if part is None or not part.tests.rankings else str(int(part.tests.tells_apart))
        for part in parts
    )


def _tests(view: View) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return what a paired test of any two rows needs.

    Returns:
        of every column with tests: variance over head seeds, its uncertainty, the least share of
        the variance over speakers, and the step of the coordinates; of every row: by column,
        number of seeds, effective number of speakers, and its coordinates. The distance of two
        rows' coordinates is the standard error over speakers of their difference.
    """
    columns: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {row.key: {} for row in view.rows}
    for column in view.columns:
        if column.metric is None:
            continue
        key = (column.task, column.metric.name, "clean")
        scores = {row.key: row.scores[key] for row in view.rows if key in row.scores}
        tested = {name: score for name, score in scores.items() if score.runs}
        spread = next((score.spread for score in tested.values()), None)
        if spread is None:
            continue
        means = {name: mean_influences(score.runs) for name, score in tested.items()}
        changes = np.stack([mean.changes for mean in means.values()])
        if changes.shape[1] > MAX_COORDINATES:  # a rotation keeps all distances
            changes = changes @ np.linalg.svd(changes, full_matrices=False)[2].T
        step = float(np.abs(changes).max()) / 2047 or 1.0
        columns[column.key] = [spread.between, spread.uncertainty, spread.least, step]
        for (name, mean), line in zip(means.items(), changes, strict=True):
            places = "".join(letters(round(x / step) + 2048, 2) for x in line.tolist())
            seeds = len(tested[name].runs)
            rows[name][column.key] = [seeds, round(mean.effective, 3), places]
    return columns, rows


def _rounded(value: float | None, digits: int = 5) -> float | None:
    """Return a value with five digits, which is more than any screen shows."""
    return None if value is None else float(f"{value:.{digits}g}")


def _curve(row: Row) -> str:
    """Return the supernet that a subnet was cut from; empty for other rows."""
    return row.card_name if row.family == "once-for-all" and row.kind == "measured" else ""


def _row_data(row: Row, cells: Sequence[BoardCell]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "k": row.key, "n": row.name, "d": row.kind, "f": row.family, "t": row.teacher,
        "w": row.weights, "o": int(row.competes), "g": row.card_name,
        "v": [_rounded(cell.value) for cell in cells],
    }  # fmt: skip
    if row.label != row.name:
        data["p"] = row.label
    if row.role:
        data["r"] = row.role
    if curve := _curve(row):
        data["c"] = curve
    if row.cost is not None and row.cost.timing is not None:
        data["u"] = row.cost.cpu_text
    return data


def _view_data(view: View, picture: CostPicture | None, *, utterances: bool) -> dict[str, Any]:
    scores = _condition_scores(view)
    tests, coordinates = _tests(view)
    columns = [
        {"k": c.key, "t": c.title, "a": c.about, "g": c.group, "b": c.higher_is_better,
         "l": int(c.log), "n": int(c.numeric), "f": int(c.is_first), "task": c.task,
         "digits": c.metric.digits if c.metric else 1, "scale": c.metric.scale if c.metric else 100,
         "res": c.belief and _rounded(c.belief.resolution),
         "ch": c.belief and _rounded(c.belief.chance), "z": tests.get(c.key)}
        for c in view.columns
    ]  # fmt: skip
    rows, sets = [], utterance_sets(view) if utterances else {}
    for row, cells in zip(view.rows, view.cells, strict=True):
        data = _row_data(row, cells)
        if right := levels(row, sets, view.key):
            data["h"] = right
        data |= {"s": scores[row.key], "z": coordinates[row.key]}
        ends = [
            0 if cell.low is None else [_rounded(cell.low), _rounded(cell.high)] for cell in cells
        ]
        rankings = [cell.ranking for cell in cells]
        ranks = [0 if item is None else [item.best, item.worst, item.of] for item in rankings]
        rows.append(data | {"e": ends, "b": ranks})
    tasks = {
        task: {
            "c": next(
                i for i, column in enumerate(view.columns)
                if column.task == task and column.metric == part.metric
            ),
            "chance": _chances(view.tables, task),
            "told": _told(view.tables, task),
        }
        for task, part in (view.tables[0].tasks if view.tables else {}).items()
    }  # fmt: skip
    conditions = []
    for table in view.tables:
        ladder, number, unit = severity(table.name)
        rung = [ladder, number, unit] if number is not None else []
        conditions.append([table.name, table.group, table.about, *rung])
    return {"k": view.key, "t": view.title, "y": picture.y.key if picture else "", "cols": columns,
            "rows": rows, "conds": conditions, "tasks": tasks,
            "inf": list(view.informative), "utts": sets}  # fmt: skip


def page_data(board: Board, pictures: Mapping[str, CostPicture | None], *, utterances: bool) -> str:
    """Return the data of the page's script, as JSON that cannot end its element.

    Args:
        board: the board.
        pictures: by track.
        utterances: include which utterances each row gets right.
    """
    views = [_view_data(view, pictures[view.key], utterances=utterances) for view in board.views]
    data = {"views": views, "kinds": KINDS}
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
