"""The page docs/conditions.md and its plots, from the committed records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.conditions.catalogue import catalogue
from bench.errors import MissingError
from bench.metrics.metric import METRICS
from bench.paths import write_text
from leaderboard.board.columns import percent_range
from leaderboard.board.degradation import conditions_of
from leaderboard.board.reading import BoardFolders, read_track
from leaderboard.board.record_rows import measured_rows
from leaderboard.board.rows import Row
from leaderboard.board.scores import SetScore, set_scores
from tools.markdown import markdown_table
from tools.pages.ladder_plot import plot_ladders

# A published encoder, and two students of it: without and with distorted speech.
UPSTREAMS = ("whisper_tiny_en", "house_whisper_distil", "house_whisper_robust")

PREFACE = """# Losses under distortions, track `{track}`

Written by `make docs` from the committed records. A cell is the task's main metric, as the mean
over head seeds, and behind it the **relative degradation** in percent: the share of the lead over
chance that is lost against clean speech, 1 - (score - chance) / (clean - chance). 0 is as good as
on clean speech, 100 no better than chance. An upstream that does not beat chance on clean speech,
beyond its interval, has none. Heads were trained once, on clean speech. Conditions are defined in
`bench/conditions/conditions.yaml`; `slim-superb listen CONDITION --out DIR` lets you hear them.

- Brackets are 95 % intervals over other test speakers and other head seeds
  ([statistics](statistics.md)). Two cells that stand side by side are not tested against each
  other: `slim-superb compare` does that.
- A signal-to-noise ratio compares mean powers over the whole recording. Noise is limited to the
  4 kHz of the corpus.
- There is **little noise**: {noise}. Each clip is used many times.
- Rooms are simulated; their reverberation time is the measured one (T30).
- Speech is acted game dialogue: nothing here is comparable with published robustness figures."""


def read_rows(board: Path, track: str) -> tuple[Row, ...]:
    """Return all rows of a track.

    Raises:
        InvalidDataError: records that cannot be compared.
    """
    folders = BoardFolders.beside(board / "results")
    return measured_rows(track, read_track(folders, track), folders)


def page(rows: Sequence[Row], track: str) -> str:
    """Return the page as Markdown.

    Args:
        rows: all rows of the track.
        track: its name.
    """
    parts = [PREFACE.format(track=track, noise=_noise())]
    for task, (metric, scored) in _tasks(rows).items():
        parts.append(_section(rows, scored, task, metric))
    return "\n\n".join(parts) + "\n"


def write_page(board: Path, track: str, docs: Path) -> list[Path]:
    """Write `conditions.md` and a plot a task.

    Args:
        board: folder of results and items.
        track: the track of the records.
        docs: folder to write into.

    Raises:
        MissingError: no record was scored under conditions, or matplotlib is not installed.
        InvalidDataError: records that cannot be compared.
    """
    rows = read_rows(board, track)
    tasks = _tasks(rows)
    if not tasks:
        raise MissingError(f"{board}: no record of track {track} was scored under conditions")
    written = [docs / "conditions.md"]
    write_text(written[0], page(rows, track))
    for task, (metric, scored) in tasks.items():
        lines = {
            row.name: {name: loss for (of, name), loss in row.degradations.items() if of == task}
            for row in scored
        }
        if not _has_ladder(scored, task, metric):
            continue
        written.append(docs / _plot(task))
        plot_ladders(lines, f"{METRICS[metric].label}: lead over chance lost, %", written[-1])
    return written


def _plot(task: str) -> str:
    return f"conditions-{task}.svg"


def _tasks(rows: Sequence[Row]) -> dict[str, tuple[str, list[Row]]]:
    """Return main metric and scored rows of the page, by task."""
    shown = [row for row in rows if row.name in UPSTREAMS and not row.role and row.degradations]
    metrics = {task: metric for row in shown for task, metric in row.main_metrics.items()}
    tasks = {}
    for task, metric in sorted(metrics.items()):
        scored = [row for row in shown if _conditions([row], task, metric)]
        if scored:
            tasks[task] = (metric, scored)
    return tasks


def _noise() -> str:
    from bench.corpora.noise.packaged import SOURCES

    return "; ".join(f"{name}: {source.about}" for name, source in SOURCES.items())


def _conditions(rows: Sequence[Row], task: str, metric: str) -> list[str]:
    """Return the distortions under which some row was scored, in order."""
    tests = {test for row in rows for record in row.records for test in record.inputs.manifests}
    return [
        name
        for name in conditions_of(rows)
        if name not in tests and any((task, metric, name) in row.scores for row in rows)
    ]


def _has_ladder(rows: Sequence[Row], task: str, metric: str) -> bool:
    """Return whether some rung of a ladder was scored, which is what the picture shows."""
    return any(catalogue().conditions[name].ladder for name in _conditions(rows, task, metric))


def _section(rows: Sequence[Row], shown: Sequence[Row], task: str, metric: str) -> str:
    """Return the section of a task: sets, then every condition, one column an upstream.

    Args:
        rows: all rows of the track: their head seeds make the intervals.
        shown: rows of the page.
        task: the task.
        metric: its main metric.
    """
    names = [f"`{row.name}`" for row in shown]
    clean = [row.scores[task, metric, "clean"] for row in shown]
    texts = [METRICS[metric].text(score.value) for score in clean]
    about = (
        f"## {task.upper()}: {METRICS[metric].label}\n\n"
        f"Chance on clean speech: {METRICS[metric].text(clean[0].chance)}. On clean speech: "
        + ", ".join(f"{name} {text}" for name, text in zip(names, texts, strict=True))
        + "."
    )
    if _has_ladder(shown, task, metric):
        about += f"\n\n![relative degradation by severity]({_plot(task)})"
    sets = []
    for name, members in catalogue().sets.items():
        scores = set_scores(rows, task, metric, members) if len(members) > 1 else {}
        cells = [_set_cell(scores.get(row.key), metric) for row in shown]
        if set(cells) != {"-"}:
            sets.append([name, len(members), *cells])
    single = [
        [name, *(_cell(row, task, metric, name) for row in shown)]
        for name in _conditions(shown, task, metric)
    ]
    tables = [
        markdown_table(body, head)
        for body, head in (
            (sets, ["mean over", "conditions", *names]),
            (single, ["condition", *names]),
        )
        if body
    ]
    return "\n\n".join([about, *tables])


def _set_cell(score: SetScore | None, metric: str) -> str:
    if score is None:
        return "-"
    return f"{METRICS[metric].text(score.mean.value)}: {percent_range(score.loss)}"


def _cell(row: Row, task: str, metric: str, condition: str) -> str:
    score = row.scores.get((task, metric, condition))
    if score is None:
        return "-"
    loss = row.degradations.get((task, condition))
    return f"{METRICS[metric].text(score.value)}: {percent_range(loss)}"
