"""The command `compare`: models of one track, side by side, with the paired tests of the board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.registry import track_card
from bench.session import Session
from bench.terminal.table import Cell, StyledCell, TableColumn, TerminalTable
from leaderboard.board.compare import ComparedMetric, ComparedPair, compare_rows, upstreams_of
from leaderboard.terminal.own_runs import board_records, common_track, own_runs, shared_tasks

NOTE = (
    "Intervals and tests cover other speakers and other head seeds (docs/statistics.md); each "
    "model is one training. p is corrected by Holm's rule over all tests that are shown."
)


@dataclass(frozen=True)
class ModelComparison:
    """Models compared on one track.

    Attributes:
        names: of the models.
        track, condition: where they are compared.
        sources: by name, whether its results are one's own runs or the shipped board's.
        metrics: one entry a task and metric.
        own: upstreams that are one's own runs.
    """

    names: Sequence[str]
    track: str
    condition: str
    sources: dict[str, str]
    metrics: Sequence[ComparedMetric]
    own: frozenset[str]

    def title(self) -> str:
        """Return what is compared, where it comes from and on which track."""
        each = "; ".join(f"{name} ({source})" for name, source in self.sources.items())
        return f"track {self.track}, {self.condition}: {each}"

    def values(self) -> TerminalTable:
        """Return the scores of all models, a line a metric; the best where a test says so."""
        columns = (
            TableColumn("task"),
            TableColumn("metric"),
            *(TableColumn(name, is_number=True) for name in self.names),
        )
        return TerminalTable(
            columns, [(line.task, line.title, *self._cells(line)) for line in self.metrics]
        )

    def _cells(self, line: ComparedMetric) -> list[Cell]:
        cells: list[Cell] = []
        for name in self.names:
            score = line.scores.get(name)
            text = "" if score is None else line.value_text(score.value)
            cells.append(StyledCell(text, "best") if name == line.best else text)
        return cells

    def pairs(self) -> TerminalTable:
        """Return a line a metric and pair: difference, interval, p value, and the better one."""
        is_two = len(self.names) == 2
        is_plain = len({line.task for line in self.metrics}) == len(self.metrics)
        columns = (
            TableColumn("task"),
            TableColumn("metric", priority=int(is_plain)),
            *(
                TableColumn(name if is_two else place, is_number=is_two)
                for name, place in zip(self.names, ("first", "second"), strict=False)
            ),
            TableColumn("difference [95 %]", is_number=True),
            TableColumn("p", is_number=True, priority=2),
            TableColumn("p (Holm)", is_number=True),
            TableColumn("better"),
        )
        rows: list[tuple[Cell, ...]] = []
        for line in self.metrics:
            for pair in line.pairs:
                sides = self._cells(line) if is_two else [pair.first, pair.second]
                rows.append((line.task, line.title, *sides, *_test_cells(line, pair)))
        return TerminalTable(columns, rows)

    def report(self) -> tuple[str | TerminalTable, ...]:
        """Return title, tables and notes for the terminal."""
        tables = [self.pairs()] if len(self.names) == 2 else [self.values(), self.pairs()]
        return self.title(), *tables, NOTE, *self.advice()

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.report()))

    def advice(self) -> list[str]:
        """Return how to get a test where none is possible for lack of head seeds."""
        untested = any(
            score.spread is None or not score.runs
            for line in self.metrics
            for score in line.scores.values()
        )
        if not untested or any(p.comparison for line in self.metrics for p in line.pairs):
            return []
        tasks = sorted({line.task for line in self.metrics})
        lines = [
            f"  slim-superb eval '{name}' {task} --track {self.track} --seeds 0,1"
            for task in tasks
            for name in self.names
            if next(iter(upstreams_of([name]))) in self.own
        ]
        if not lines:
            return ["No test: the records of these rows have no item counts."]
        return ["\n".join(["No test without two head seeds. Train a second one:", *lines])]

    def data(self) -> dict[str, Any]:
        """Return the comparison for JSON; rates are fractions."""
        return {
            "track": self.track,
            "condition": self.condition,
            "sources": self.sources,
            "metrics": [
                {
                    "task": line.task,
                    "metric": line.metric,
                    "is_loss": line.is_loss,
                    "scores": {
                        name: {"value": score.value, "low": score.low, "high": score.high,
                               "seeds": score.seeds}
                        for name, score in line.scores.items()
                    },
                    "best": line.best,
                    "pairs": [_pair_data(line, pair) for pair in line.pairs],
                }
                for line in self.metrics
            ],
        }  # fmt: skip

    def lines(self) -> list[dict[str, Any]]:
        """Return one mapping a metric and pair, for CSV; rates are fractions."""
        return [
            {
                "track": self.track,
                "condition": self.condition,
                "task": line.task,
                "metric": f"{line.metric} lead lost" if line.is_loss else line.metric,
                "first_value": line.scores[pair.first].value,
                "second_value": line.scores[pair.second].value,
                **_pair_data(line, pair),
            }
            for line in self.metrics
            for pair in line.pairs
        ]


def _test_cells(line: ComparedMetric, pair: ComparedPair) -> tuple[Cell, ...]:
    """Return difference with interval, p, corrected p, and the verdict."""
    test = pair.comparison
    if test is None or pair.p_holm is None:
        return "", "", "", "no test"
    low, high = (line.value_text(bound, signed=True) for bound in (test.low, test.high))
    difference = f"{line.value_text(test.difference, signed=True)} [{low}, {high}]"
    winner = pair.better(higher_is_better=line.higher_is_better)
    verdict: Cell = StyledCell(winner, "best") if winner else "not told apart"
    return (
        difference,
        _p_text(test.p_value),
        _p_text(pair.p_holm),
        verdict,
    )


def _p_text(p_value: float) -> str:
    return "<0.0001" if p_value < 0.0001 else f"{p_value:.4f}"


def _pair_data(line: ComparedMetric, pair: ComparedPair) -> dict[str, Any]:
    test = pair.comparison
    return {
        "first": pair.first,
        "second": pair.second,
        "difference": test.difference if test else None,
        "low": test.low if test else None,
        "high": test.high if test else None,
        "p": test.p_value if test else None,
        "p_holm": pair.p_holm,
        "better": pair.better(higher_is_better=line.higher_is_better),
    }


def compare_models(
    names: Sequence[str],
    *,
    runs: Path,
    board: Path,
    session: Session,
    track: str | None = None,
    condition: str = "clean",
    tasks: Sequence[str] = (),
) -> ModelComparison:
    """Compare one's own runs and rows of the shipped board.

    A model that has a run in `runs` on the track is compared by it, another one by its shipped row.

    Args:
        names: of two models or more.
        runs: folder of one's own runs.
        board: folder of the shipped board.
        session: its home has the corpora, to score one's own predictions item by item.
        track: where they are compared; None for the one on which all have results.
        condition: a test set, a condition or a set of conditions.
        tasks: to compare in; empty for all.

    Raises:
        UserError: as `common_track`, `board_records` and `compare_rows`.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError("compare: expected two models or more, each once")
    own = own_runs(runs)
    chosen = track or common_track(names, own, board)
    track_card(chosen)
    scored = tasks or shared_tasks(own, chosen, names, board)
    local = board_records(own, chosen, names, condition, session, scored)
    upstreams = frozenset(item.record.upstream for item in local)
    metrics = compare_rows(
        names, track=chosen, condition=condition, board=board, local=local, tasks=tasks
    )
    sources = {}
    for name in names:
        seeds = max(line.scores[name].seeds for line in metrics if name in line.scores)
        is_own = next(iter(upstreams_of([name]))) in upstreams
        where = "your runs" if is_own else "shipped board"
        sources[name] = f"{where}, {seeds} head seed{'s' if seeds > 1 else ''}"
    return ModelComparison(names, chosen, condition, sources, metrics, upstreams)
