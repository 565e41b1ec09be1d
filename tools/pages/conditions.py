"""The page docs/conditions.md and its plots, from records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tabulate import tabulate

from bench.conditions.catalogue import catalogue, expand
from bench.conditions.report import percent, relative_text, score_of, sets_of, summary
from bench.errors import MissingError
from bench.paths import write_text
from bench.records.record import DegradedScore, Record, read_record
from bench.registry import task_card
from bench.schema import read_yaml
from tools.pages.ladder_plot import Loss, ladders, plot_ladders

PREFACE = """# Losses under distortions, track `{track}`

Written by `make conditions` from the records in `{results}`. Every cell shows the
task's main metric in percent and its loss against the same upstream on clean speech, relative to
clean, with a 95 % interval over the same resamples of the same utterances (by speaker for SID and
ASV); positive is worse. Heads were trained once, on clean speech, seed 0. Conditions
are defined in `bench/conditions/conditions.yaml`; `slim-superb listen CONDITION --out DIR` lets
you hear them.

How to read it:

- **An upstream that is near chance loses little**: read the clean score beside the loss.
- `+untrained` has seeded random weights: no model hub could be reached when this page was made.
- `fbank` subtracts the mean of each utterance. A head that averages over time (KS, IC, SID, ASV)
  would get zeros, so for these tasks the filter bank keeps the mean (`cmvn=off`).
- A signal-to-noise ratio compares mean powers over the whole recording. Noise is limited to the
  4 kHz of the corpus.
- There is **little noise**: {noise}. Each clip is used many times.
- Rooms are simulated; their reverberation time is the measured one (T30).
- Speech is acted game dialogue: nothing here is comparable with published robustness figures."""


@dataclass(frozen=True)
class Break:
    """A severer rung that scored better than a milder one, with disjoint intervals."""

    upstream: str
    task: str
    milder: str
    severer: str


def read_scored(results: Path, track: str) -> dict[str, list[Record]]:
    """Read the records of seed 0 that were scored under conditions, by task.

    Raises:
        MissingError: no such record.
        InvalidDataError: a file that is not a record.
    """
    by_task: dict[str, list[Record]] = {}
    for path in sorted((results / track).glob("*/*-s0.json")):
        record = read_record(path)
        if record.conditions:
            by_task.setdefault(record.task, []).append(record)
    if not by_task:
        raise MissingError(f"{results / track}: no record was scored under conditions")
    return dict(sorted(by_task.items()))


def breaks(records: Sequence[Record]) -> tuple[list[Break], int]:
    """Return the breaks of ladders, and the number of compared pairs of neighbouring rungs."""
    breaks_of_ladders, pairs = [], 0
    for record in records:
        metric = record.scores[0].metric
        for rungs in ladders().values():
            steps = [(rung.name, score_of(record, rung.name, metric)) for rung in rungs]
            for (milder, one), (severer, other) in pairwise(steps):
                if one is None or other is None:
                    continue
                pairs += 1
                if _clearly_better(other, one):
                    item = Break(record.upstream, record.task, milder, severer)
                    breaks_of_ladders.append(item)
    return breaks_of_ladders, pairs


def _clearly_better(other: DegradedScore, one: DegradedScore) -> bool:
    """Return True if the interval of `other` lies below that of `one`: it lost less."""
    if other.relative_high is None or one.relative_low is None:
        return False
    return other.relative_high < one.relative_low


def write_page(results: Path, track: str, docs: Path) -> list[Path]:
    """Write `conditions.md` and a plot a task.

    Args:
        results: folder of `<track>/<upstream>/<task>-s<seed>.json`.
        track: the track of the records.
        docs: folder to write into.

    Raises:
        MissingError: no record was scored, or matplotlib is not installed.
        InvalidDataError: a file that is not a record.
    """
    by_task = read_scored(results, track)
    written = []
    parts = [
        PREFACE.format(track=track, results=f"{results}/{track}", noise=_noise()),
        _steady(by_task, read_reasons(results / track)),
    ]
    for task, records in by_task.items():
        plot = docs / f"conditions-{task}.svg"
        metric = records[0].scores[0].metric
        lines = {record.upstream: _line(record, metric) for record in records}
        plot_ladders(lines, f"{metric}: worse than clean, %", plot)
        written.append(plot)
        parts.append(_section(task, records, plot.name))
    page = docs / "conditions.md"
    write_text(page, "\n\n".join(parts) + "\n")
    return [page, *written]


def _line(record: Record, metric: str) -> dict[str, Loss]:
    return {
        item.condition: Loss(score.relative, score.relative_low, score.relative_high)
        for item in record.conditions
        if (score := score_of(record, item.condition, metric)) is not None
        and score.relative is not None
    }


def _noise() -> str:
    from bench.corpora.noise.packaged import SOURCES

    return "; ".join(f"{name}: {source.about}" for name, source in SOURCES.items())


def read_reasons(folder: Path) -> dict[str, str]:
    """Read the reasons for breaks of ladders: `reasons.yaml` beside a track's records.

    Keys are `UPSTREAM TASK CONDITION`, the condition being the severer one.

    Raises:
        UsageError, InvalidDataError: not such a file.
    """
    path = folder / "reasons.yaml"
    return {key: str(text) for key, text in read_yaml(path).items()} if path.exists() else {}


def _steady(by_task: Mapping[str, Sequence[Record]], reasons: Mapping[str, str]) -> str:
    """Return the section on scored conditions, and on breaks of ladders."""
    rows, items, pairs = [], [], 0
    for task, records in by_task.items():
        possible = {item.name for item in expand("all", task_card(task, records[0].track))}
        for record in records:
            scored = possible & {item.condition for item in record.conditions}
            rows.append(
                [record.upstream, task, record.weights, f"{len(scored)} of {len(possible)}"]
            )
        more, compared = breaks(records)
        items += more
        pairs += compared
    lines = [
        f"- `{item.upstream}`, {item.task}: {item.severer} costs less than {item.milder}: "
        + reasons.get(f"{item.upstream} {item.task} {item.severer}", "the reason is not known yet.")
        for item in items
    ]
    head = ["upstream", "task", "weights", "conditions scored, of those possible for the task"]
    return "\n\n".join(
        [
            "## What was scored",
            tabulate(rows, headers=head, tablefmt="github"),
            f"Along the ladders, {pairs} pairs of neighbouring rungs were compared. In "
            f"{len(items)} of them the severer one costs less, and the intervals do not overlap"
            + (":" if items else "."),
            *(["\n".join(lines)] if lines else []),
        ]
    )


def _section(task: str, records: Sequence[Record], plot: str) -> str:
    """Return the section of a task: sets, then every condition, one column an upstream."""
    metric = records[0].scores[0].metric
    names = [f"`{record.upstream}`" for record in records]
    clean = ["clean", *(f"{100 * r.score('clean', metric).value:.1f}" for r in records)]
    scored = {item.condition for record in records for item in record.conditions}
    order = {name: place for place, name in enumerate(catalogue().conditions)}
    ordered = sorted(scored, key=lambda n: (order.get(n.partition("@")[0], len(order)), n))
    rows = [[name, *(_cell(score_of(r, name, metric)) for r in records)] for name in ordered]
    sets = {name: members for record in records for name, members in sets_of(record).items()}
    means = [
        [name, len(members), *(_mean(record, members, metric) for record in records)]
        for name, members in sets.items()
    ]
    number = records[0].score("clean", metric).n
    parts = [f"## {task}: {metric}, n = {number}", f"![degradation by severity]({plot})"]
    if means:
        head = ["set: mean; worst", "conditions", *names]
        parts.append(tabulate(means, headers=head, tablefmt="github", disable_numparse=True))
    head = ["condition", *names]
    parts.append(tabulate([clean, *rows], headers=head, tablefmt="github", disable_numparse=True))
    return "\n\n".join(parts)


def _cell(score: DegradedScore | None) -> str:
    return "-" if score is None else f"{100 * score.value:.1f}, {relative_text(score)}"


def _mean(record: Record, members: Sequence[str], metric: str) -> str:
    result = summary(record, members, metric)
    if result is None:
        return "-"
    mean, worst, name = result
    return f"{percent(mean)}; {percent(worst)} {name}"
