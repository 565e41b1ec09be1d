"""Two rows of one track, paired, in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from bench.errors import MissingError, UsageError, did_you_mean
from bench.metrics import METRICS
from bench.stats import Comparison, holm
from leaderboard.columns import metric_title, shown, unit_of
from leaderboard.ranking import compare
from leaderboard.reading import Found, Sources, check_columns, measured_rows, read_results
from leaderboard.rows import Row


@dataclass(frozen=True)
class Line:
    """One metric of one task.

    Attributes:
        first, second: the two rates, means over seeds.
        found: paired difference, first minus second; None where draws are missing.
    """

    task: str
    metric: str
    first: float
    second: float
    found: Comparison | None


def compare_rows(
    first: str,
    second: str,
    *,
    track: str,
    condition: str,
    board: Path,
    own: Sequence[Found] = (),
) -> list[Line]:
    """Every metric that both rows have in one condition.

    Args:
        first: upstream, as on the board.
        second: the other one.
        track: their track.
        condition: test set.
        board: folder of results and draws.
        own: records that are not on the board, with their draws; they go before the board's.

    Raises:
        UsageError: no such row.
        MissingError: nothing to compare.
        InvalidDataError: records of the two, own ones and the board's, that share no column.
    """
    sources = Sources.beside(board / "results")
    found = read_results(sources).by_track.get(track, [])
    paired = {name.partition(" (")[0] for name in (first, second)}
    check_columns([item for item in [*found, *own] if item.record.upstream in paired])
    rows = _by_name(track, found, sources) | _by_name(track, own, sources)
    one, two = (_named(rows, name) for name in (first, second))
    lines = []
    for (task, metric, where), score in one.scores.items():
        other = two.scores.get((task, metric, where))
        if where == condition and other is not None:
            both = score.draws is not None and other.draws is not None
            tested = compare(score, other) if both else None
            lines.append(Line(task, metric, score.value, other.value, tested))
    if not lines:
        raise MissingError(f"{first} and {second} share no score on {condition!r} of track {track}")
    return sorted(lines, key=lambda line: line.task)


def _by_name(track: str, found: Sequence[Found], sources: Sources) -> dict[str, Row]:
    """Rows by name; a control that shares its name with a row by name and role."""
    return {
        row.name if not row.role or "untrained" in row.role else f"{row.name} ({row.role})": row
        for row in measured_rows(track, found, sources)
    }


def _named(rows: dict[str, Row], name: str) -> Row:
    if name not in rows:
        raise UsageError(f"no row {name!r}: {did_you_mean(name, rows)}")
    return rows[name]


def table(lines: list[Line], first: str, second: str) -> str:
    """The comparison as text; p values are corrected for being many by Holm's rule."""
    tested = [line.found.p_value for line in lines if line.found is not None]
    corrected = iter(holm(tested))
    body = []
    for line in lines:
        metric = METRICS[line.metric]
        scale = unit_of(metric)[0]
        cells = [line.task, metric_title(line.metric), shown(metric, line.first),
                 shown(metric, line.second)]  # fmt: skip
        if line.found is None:
            body.append([*cells, "no draws", "", "", ""])
            continue
        found, many = line.found, next(corrected)
        better = (found.difference > 0) == metric.higher_is_better
        verdict = (first if better else second) if many < 0.05 else "not told apart"
        interval = f"{found.low * scale:+.2f} to {found.high * scale:+.2f}"
        body.append([*cells, f"{found.difference * scale:+.2f} [{interval}]",
                     f"{found.p_value:.4f}", f"{many:.4f}", verdict])  # fmt: skip
    head = ["task", "metric", first, second, "difference [95 %]", "p", "p (Holm)", "better"]
    note = (
        "Paired on the same resamples of the test set; seeds are averaged and fixed; a clustered "
        "bootstrap with Student's t."
    )
    return f"{tabulate(body, headers=head, disable_numparse=True)}\n{note}"
