"""Evidence that a track measures something: baselines and controls on every task, in one table.

For each task: filter banks with and without deltas (and, where the head pools over time, without
normalisation, which leaves a mean of zero), the trained speaker encoder `ge2e`, controls with
permuted training labels (three seeds each where heads train in seconds; `ge2e` everywhere), the
untrained `lighthubert_small`, a small encoder trained end to end (for classification), and chance.
A task passes when at least one upstream beats chance and its shuffled control by a paired
difference of means over seeds whose interval excludes 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from tabulate import tabulate

from bench.api import Utterance
from bench.config import TaskCard
from bench.metrics.items import Items, TrialItems
from bench.metrics.metric import METRICS
from bench.metrics.resamples import mean_resampled, resample
from bench.metrics.statistics import Comparison, paired
from bench.paths import write_text
from bench.progress import say
from bench.records.record import Record
from bench.registry import task_card, task_names
from bench.run.evaluate import read_predictions
from bench.run.run import Outcome, run_seeds
from bench.run.spec import RunSpec, prepare_corpora, read_split
from bench.session import Session

FILTER_BANKS = ("fbank", "fbank@deltas=0", "fbank@cmvn=off", "fbank@deltas=0,cmvn=off")
TRAINED = "ge2e"
SEEDS = (0, 1, 2)
CEILING = ", end-to-end encoder as head (ceiling)"
SHUFFLED = ", training labels shuffled"
UNTRAINED = "lighthubert_small+untrained"


@dataclass(frozen=True)
class ValidationRow:
    """One line of the table: an upstream, one of its controls, or chance, on one task.

    Attributes:
        label: its name in the table.
        upstream: the upstream, of a control that of which it is one; empty for chance.
        is_probe: True for the protocol itself, False for controls, ceiling and chance.
        records: one a seed; empty for chance.
        predictions: of every seed, on the clean test set, by utterance id.
    """

    label: str
    upstream: str
    is_probe: bool
    records: tuple[Record, ...]
    predictions: tuple[Mapping[str, Any], ...]


class Testbed:
    """One task with its clean test set, on which rows are scored.

    Args:
        task, track: names.
        home: folder of corpora.
    """

    def __init__(self, task: str, track: str, home: Path) -> None:
        self.card = task_card(task, track)
        self.train, _ = read_split(self.card, "train", home)
        self.test, self.trials = read_split(self.card, "clean", home)

    def items(self, row: ValidationRow, metric: str) -> list[Items | TrialItems]:
        """Return the items of one metric of a row on the clean test set, of every seed."""
        per_item = METRICS[metric].per_item
        return [per_item(predictions, self.test, self.trials) for predictions in row.predictions]

    def better_by(self, row: ValidationRow, other: ValidationRow, metric: str) -> Comparison:
        """Return the paired difference of the means over seeds; positive if `row` is better."""
        pair = (row, other) if METRICS[metric].higher_is_better else (other, row)
        one, two = (self.items(item, metric) for item in pair)
        return paired(one, two, cluster=self.card.cluster)


def specs_of(task: str, track: str) -> list[RunSpec]:
    """Return the runs of one task, cheap ones first; the trained encoder has several seeds."""
    pooled = task_card(task, track).features == "pooled"
    banks = FILTER_BANKS if pooled else FILTER_BANKS[:2]
    controlled = (TRAINED, FILTER_BANKS[-1]) if pooled else (FILTER_BANKS[0],)
    ceiling = task_card(task, track).metrics[0] == "accuracy"
    return [
        *(RunSpec(name, task, track) for name in banks),
        RunSpec(TRAINED, task, track),
        *(RunSpec(name, task, track, shuffle_labels=True) for name in controlled),
        RunSpec(UNTRAINED, task, track),
        *([RunSpec(FILTER_BANKS[-1], task, track, ceiling=True)] if ceiling else []),
    ]


def _has_seeds(card: TaskCard, spec: RunSpec) -> bool:
    """Return True for runs of all seeds: if heads train in seconds, and of the trained encoder."""
    if spec.ceiling or spec.upstream == UNTRAINED:
        return False
    return card.features == "pooled" or (spec.upstream == TRAINED and not spec.shuffle_labels)


def chance(bed: Testbed) -> ValidationRow:
    """Return the best prediction that ignores the sound, chosen on the training split.

    Labels: the most frequent one. Transcripts: an empty one. Slots: the most frequent values of the
    types that score best on the training split. Speaker verification: one embedding for all.
    """
    constant = _constant(bed.card, bed.train)
    predictions = {item.id: constant for item in bed.test}
    return ValidationRow("chance (ignores the sound)", "", False, (), (predictions,))


def _constant(card: TaskCard, train: Sequence[Utterance]) -> object:
    if "accuracy" in card.metrics:
        return Counter(item.target for item in train).most_common(1)[0][0]
    if "wer" in card.metrics:
        return ""
    if "eer" in card.metrics:
        return [1.0]
    return _constant_slots(card, train)


def _constant_slots(card: TaskCard, train: Sequence[Utterance]) -> str:
    """Return the most frequent value of each of the types that score best on the training split."""
    counts = Counter((kind, value) for item in train for kind, value in item.target["slots"])
    tops = {kind: value for (kind, value), _ in reversed(counts.most_common())}
    guesses = [
        " ".join(f"B-{kind} {tops[kind]} E-{kind}" for kind in kinds)
        for size in range(1, len(tops) + 1)
        for kinds in combinations(sorted(tops), size)
    ]
    metric = METRICS[card.metrics[0]]
    sign = 1 if metric.higher_is_better else -1

    def value(guess: str) -> float:
        return sign * metric.score({item.id: guess for item in train}, train).value

    return max(guesses, key=value)


def _rows(bed: Testbed, home: Path, out: Path) -> list[ValidationRow]:
    """Run what is missing, and return the lines of one task."""
    grouped: dict[str, Sequence[Outcome]] = {}
    for spec in specs_of(bed.card.name, bed.card.track):
        suffix = SHUFFLED if spec.shuffle_labels else CEILING if spec.ceiling else ""
        seeds = SEEDS if _has_seeds(bed.card, spec) else SEEDS[:1]
        say(f"validate {spec.track} {spec.task}: {spec.upstream}{suffix}, seeds {seeds}")
        runs = run_seeds(spec, seeds, Session(home=home, out=out))
        grouped[runs[0].record.upstream + suffix] = runs
    rows = [chance(bed)]
    for label, outcomes in grouped.items():
        files = [o.path.with_suffix("") / "predictions/clean.jsonl" for o in outcomes]
        predictions = tuple(read_predictions(file)[0] for file in files)
        records = tuple(outcome.record for outcome in outcomes)
        upstream = records[0].upstream
        rows.append(ValidationRow(label, upstream, label == upstream, records, predictions))
    return rows


def _cell(bed: Testbed, row: ValidationRow, metric: str) -> str:
    """Return the mean over seeds with its interval."""
    runs = [resample(items, bed.card.cluster) for items in bed.items(row, metric)]
    mean = mean_resampled(runs)
    low, high = mean.interval
    return f"{100 * mean.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _points(gain: Comparison) -> str:
    return f"{100 * gain.difference:+.1f} [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"


def _standing_out(bed: Testbed, rows: Sequence[ValidationRow]) -> list[str]:
    """Return the upstreams that beat chance and the shuffled controls, with both differences."""
    lines = []
    for metric in bed.card.metrics:
        for row in rows:
            controls = [r for r in rows if r.upstream == row.upstream and SHUFFLED in r.label]
            controls = controls or [r for r in rows if SHUFFLED in r.label]
            if not row.is_probe or row.upstream == UNTRAINED:
                continue
            gains = [bed.better_by(row, other, metric) for other in (rows[0], *controls)]
            if all(gain.low > 0 for gain in gains):
                named = " and ".join(_points(gain) for gain in gains)
                lines.append(f"- `{row.label}`, {metric}: {named}")
    return lines


def _verdict(bed: Testbed, rows: Sequence[ValidationRow]) -> str:
    """Return the upstreams that stand out, the ceiling, and `ge2e` against the filter banks."""
    main = bed.card.metrics[0]
    parts = [
        "Better than chance and than the shuffled control (the upstream's own, if it has one), in "
        "points, with a paired 95 % interval that excludes 0:",
        "\n".join(_standing_out(bed, rows)) or "- none",
    ]
    ceilings = [row for row in rows if CEILING in row.label]
    if ceilings:
        gain = bed.better_by(ceilings[0], rows[0], main)
        parts.append(f"End-to-end ceiling against chance, {main}: {_points(gain)} points.")
    sign = 1 if METRICS[main].higher_is_better else -1
    banks = [row for row in rows if row.is_probe and row.upstream in FILTER_BANKS]
    best = max(banks, key=lambda row: sign * row.records[0].selection.value)
    trained = next(row for row in rows if row.label == TRAINED)
    gain = bed.better_by(trained, best, main)
    parts.append(
        f"`{TRAINED}` against `{best.label}` (best on dev), {main}: {_points(gain)} points."
    )
    return "\n\n".join(parts)


def _section(bed: Testbed, rows: Sequence[ValidationRow]) -> str:
    """Return the table and the verdict of one task."""
    body = []
    for row in rows:
        weights = row.records[0].weights if row.records else "-"
        cells = [_cell(bed, row, metric) for metric in bed.card.metrics]
        count = len(bed.trials or bed.test)
        body.append([row.label, weights, len(row.records) or "-", *cells, count])
    head = ["upstream", "weights", "seeds", *[f"{m} %" for m in bed.card.metrics], "n"]
    table = tabulate(body, headers=head, tablefmt="github", disable_numparse=True)
    return f"## {bed.card.name}\n\n{table}\n\n{_verdict(bed, rows)}"


def validate_track(
    track: str, *, home: Path, out: Path, docs: Path, tasks: Sequence[str] = ()
) -> str:
    """Run every baseline and control of a track and write `docs/track-<track>.md`.

    Args:
        track: name of the track.
        home: folder of corpora and features.
        out: folder of records; runs that are done are not run again.
        docs: folder of the table.
        tasks: only these; then no table is written.

    Returns:
        The table as Markdown.
    """
    trained = [name for name in task_names(track) if task_card(name, track).recipe.steps]
    for task in tasks or trained:
        prepare_corpora(task_card(task, track), Session(home=home))
    parts = []
    for task in tasks or trained:
        bed = Testbed(task, track, home)
        parts.append(_section(bed, _rows(bed, home, out)))
    text = f"# Track `{track}`: does it measure something?\n\n{_PREFACE}\n\n" + "\n\n".join(parts)
    if not tasks:
        write_text(docs / f"track-{track}.md", text + "\n")
    return text


_PREFACE = """Written by `make validate-track TRACK=...` from the records of the runs. Scores are
those of the test set `clean`: means over training seeds with 95 % bootstrap intervals (by speaker
for SID and ASV). Heads are selected on dev. The shuffled controls were trained on permuted training
labels and selected on true dev labels. In ASV such a control keeps much of what its upstream knows,
because cosines need no training."""
