"""Evidence that a track measures something: baselines, controls and chance on every task.

For each task: filter banks with and without deltas (and, where the head pools over time, without
normalisation, which leaves a mean of zero), published encoders of words and of speakers, controls
with permuted training labels (three seeds each where heads train in seconds), an untrained encoder,
and chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.metrics.degradation import beats_chance
from bench.metrics.metric import METRICS
from bench.progress import say
from bench.registry import task_card, task_names
from bench.reports.run_report import interval_text
from bench.run.run import run_seeds
from bench.run.spec import RunSpec
from bench.session import Session
from leaderboard.board.ranking import compare
from leaderboard.board.rows import BoardScore, Row
from tools.markdown import markdown_table

# A fixed transform, random features and units of cepstra: what needs no trained network.
TRANSFORMS = ("fbank@cmvn=off", "random_features", "mfcc_units")
TRAINED = ("whisper_tiny_en", "campplus")  # of words; of speakers, which has no frames
SEEDS = (0, 1, 2)
UNTRAINED = f"{TRAINED[0]}+untrained"
SHUFFLED = "control: training labels shuffled"

PREFACE = """# Track `{track}`: does it measure something?

Written by `make docs` from the committed records, which `make validate-track TRACK={track}` makes.
Scores are those of the test set `clean`: means over head seeds with 95 % intervals over other test
speakers and other head seeds ([statistics](statistics.md)). Heads are selected on dev. Chance is
the best guess that ignores the sound. A shuffled control, where there is one, was trained on
permuted training labels and selected on true dev labels."""


def specs_of(task: str, track: str) -> list[RunSpec]:
    """Return the runs of one task, cheap ones first; only heads that pool are shuffled."""
    pooled = task_card(task, track).features == "pooled"
    transforms = TRANSFORMS if pooled else ("random_features",)
    trained = TRAINED if pooled else TRAINED[:1]
    return [
        *(RunSpec(name, task, track) for name in (*transforms, *trained, UNTRAINED)),
        *([RunSpec(trained[0], task, track, shuffle_labels=True)] if pooled else []),
    ]


def run_baselines(track: str, *, home: Path, out: Path, tasks: Sequence[str] = ()) -> list[Path]:
    """Run every baseline and control of a track; runs that are done are not run again.

    Args:
        track: name of the track.
        home: folder of corpora and features.
        out: folder of records.
        tasks: only these.

    Returns:
        the records.
    """
    paths = []
    trained = [name for name in task_names(track) if task_card(name, track).recipe.steps]
    for task in tasks or trained:
        for spec in specs_of(task, track):
            say(f"validate {track} {task}: {spec.upstream}, seeds {SEEDS}")
            outcomes = run_seeds(spec, SEEDS, Session(home=home, out=out))
            paths += [outcome.path for outcome in outcomes]
    return paths


def page(rows: Sequence[Row], track: str) -> str:
    """Return the page of a track as Markdown.

    Args:
        rows: of all its committed records.
        track: its name.
    """
    shown = [row for row in rows if row.name in (*TRANSFORMS, *TRAINED, UNTRAINED)]
    tasks = {record.task: record.score().metric for row in shown for record in row.records}
    parts = [PREFACE.format(track=track)]
    parts += [_section(shown, task, main) for task, main in sorted(tasks.items())]
    return "\n\n".join(parts) + "\n"


def _section(rows: Sequence[Row], task: str, main: str) -> str:
    """Return the table of one task, and what stands out of chance and of the controls."""
    metrics = list(dict.fromkeys(m for row in rows for of, m, _ in row.scores if of == task))
    measured = [row for row in rows if (task, main, "clean") in row.scores]
    scores = {row.key: _of_task(row, task) for row in measured}
    first = next(iter(scores.values()))
    chance = ["chance (ignores the sound)", "-", "-"]
    body = [[*chance, *(METRICS[m].text(first[m].chance) for m in metrics)]]
    for row in measured:
        label = f"{row.name}, {row.role}" if row.role and row.name != UNTRAINED else row.name
        seeds = str(scores[row.key][main].seeds)
        weights = row.records[0].weights
        body.append([label, weights, seeds, *(_cell(scores[row.key][m], m) for m in metrics)])
    head = ["upstream", "weights", "seeds", *(METRICS[m].label for m in metrics)]
    table = markdown_table(body, head)
    return f"## {task.upper()}\n\n{table}\n\n" + _verdict(measured, scores, task, main)


def _of_task(row: Row, task: str) -> dict[str, BoardScore]:
    return {
        m: score for (of, m, test), score in row.scores.items() if (of, test) == (task, "clean")
    }


def _cell(score: BoardScore, metric: str) -> str:
    return interval_text(metric, score.value, score.low, score.high)


def _verdict(
    rows: Sequence[Row], scores: Mapping[str, Mapping[str, BoardScore]], task: str, main: str
) -> str:
    """Return what beats chance and shuffled controls, and the encoder against a transform."""
    controls = [row for row in rows if row.role == SHUFFLED]
    probes = [row for row in rows if not row.role or row.name in TRANSFORMS]
    lines = []
    for row in probes:
        score = scores[row.key][main]
        if not beats_chance(main, score.low, score.high, score.chance):
            continue
        own = [control for control in controls if control.name == row.name] or controls
        gaps = [_gain(score, scores[control.key][main], main) for control in own]
        told = [f"{gap} than the shuffled `{control.name}`"
                for gap, control in zip(gaps, own, strict=True) if gap]  # fmt: skip
        lines.append("- " + ", ".join([f"`{row.name}` beats chance", *told]))
    parts = [f"On {METRICS[main].label}, beyond the 95 % interval:",
             "\n".join(lines) or "- none"]  # fmt: skip
    sign = 1 if METRICS[main].higher_is_better else -1
    plain = [row for row in probes if row.name in TRANSFORMS]
    encoders = [row for row in probes if row.name in TRAINED]
    if plain and encoders:
        trained, best = (
            max(some, key=lambda row: sign * _on_dev(row, task)) for some in (encoders, plain)
        )
        test = compare(scores[trained.key][main], scores[best.key][main])
        if test is not None:
            low, high = (METRICS[main].text(v, signed=True) for v in (test.low, test.high))
            gap = METRICS[main].text(test.difference, signed=True)
            parts.append(f"`{trained.name}` less `{best.name}` (on dev the best with and without "
                         f"training): {gap} [{low}, {high}].")  # fmt: skip
    return "\n\n".join(parts)


def _on_dev(row: Row, task: str) -> float:
    return next(record.selection.value for record in row.records if record.task == task)


def _gain(score: BoardScore, other: BoardScore, metric: str) -> str:
    """Return `better by ...` if the first is better than the second beyond the interval."""
    test = compare(score, other)
    if test is None:
        return ""
    sign = 1 if METRICS[metric].higher_is_better else -1
    low, high = sorted((sign * test.low, sign * test.high))
    if low <= 0:
        return ""
    ends = (METRICS[metric].text(end, signed=True) for end in (low, high))
    gap = METRICS[metric].text(sign * test.difference, signed=True)
    return f"better by {gap} [{', '.join(ends)}]"
