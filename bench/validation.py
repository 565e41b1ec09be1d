"""Does a track measure something? Baselines and controls on every task, in one table.

For each task: filter banks with and without deltas (and, where the head pools over time, without
normalisation, which leaves a mean of zero), the trained speaker encoder `ge2e` with three seeds,
controls with permuted training labels, the untrained `lighthubert_small`, a small encoder trained
end to end (for classification), and chance. A task passes when at least one upstream beats chance
and its own shuffled controls with intervals that do not overlap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tabulate import tabulate

from bench.api import Utterance
from bench.data import Trial, read_table, read_trials
from bench.evaluate import score_condition
from bench.metrics import METRICS
from bench.paths import write_text
from bench.progress import say
from bench.record import ConditionScore, Record
from bench.registry import corpus_module, task_card, task_names
from bench.run import run
from bench.spec import RunSpec

FILTER_BANKS = ("fbank", "fbank@deltas=0", "fbank@cmvn=off", "fbank@deltas=0,cmvn=off")
TRAINED = "ge2e"
TRAINED_SEEDS = (0, 1, 2)
CEILING = ", end-to-end encoder as head (ceiling)"
UNTRAINED = "lighthubert_small+untrained"


@dataclass(frozen=True)
class Row:
    """One line of the table: an upstream (or control) on one task.

    Attributes:
        label: what it is.
        records: one a seed; empty for chance.
        scores: clean scores, one a metric; of the first seed.
    """

    label: str
    records: tuple[Record, ...]
    scores: tuple[ConditionScore, ...]


def specs_of(task: str, track: str) -> list[RunSpec]:
    """The runs of one task, cheap ones first."""
    pooled = task_card(task, track).features == "pooled"
    banks = FILTER_BANKS if pooled else FILTER_BANKS[:2]
    controlled = (TRAINED, FILTER_BANKS[-1]) if pooled else (FILTER_BANKS[0],)
    ceiling = task_card(task, track).metrics[0] == "accuracy"
    return [
        *(RunSpec(name, task, track) for name in banks),
        *(RunSpec(TRAINED, task, track, seed=seed) for seed in TRAINED_SEEDS),
        *(RunSpec(name, task, track, shuffle_labels=True) for name in controlled),
        RunSpec(UNTRAINED, task, track),
        *([RunSpec(FILTER_BANKS[-1], task, track, ceiling=True)] if ceiling else []),
    ]


def chance(task: str, track: str, home: Path) -> tuple[ConditionScore, ...]:
    """Scores of the best prediction that ignores the sound, chosen on the training split.

    For labels the most frequent one, for transcripts an empty one, for slots the most frequent set
    of slots with its most frequent values, for speaker verification the same embedding for all.
    """
    card = task_card(task, track)
    corpus: Path = corpus_module(card.corpus).folder(home)
    train = read_table(corpus, card.tables["train"])
    test: Sequence[Utterance] = read_table(corpus, card.tables["clean"])
    trials: Sequence[Trial] = read_trials(corpus, card.tables["clean"])
    constant = _constant(card.metrics[0], train)
    predictions = {item.id: constant for item in test}
    return tuple(score_condition(card, "clean", predictions, test, trials))


def _constant(metric: str, train: Sequence[Utterance]) -> object:
    if metric == "accuracy":
        return Counter(item.target for item in train).most_common(1)[0][0]
    if metric == "cer":
        return ""
    if metric == "eer":
        return [1.0]
    slots = Counter(tuple(map(tuple, item.target["slots"])) for item in train)
    most_common = slots.most_common(1)[0][0]
    return " ".join(f"B-{kind} {value} E-{kind}" for kind, value in most_common)


def _separate(better: ConditionScore, worse: ConditionScore, *, higher_is_better: bool) -> bool:
    """Whether two intervals do not overlap, in the right direction."""
    if higher_is_better:
        return better.low > worse.high
    return better.high < worse.low


def _cell(row: Row, metric: str) -> str:
    """Score with interval of the first seed, and the mean over seeds where there are several."""
    score = next(item for item in row.scores if item.metric == metric)
    text = f"{100 * score.value:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"
    if len(row.records) > 1:
        values = [record.score("clean", metric).value for record in row.records]
        text += " mean " + f"{100 * sum(values) / len(values):.1f}"
    return text


def _rows(task: str, track: str, home: Path, out: Path) -> list[Row]:
    """Run whatever is not done and gather the lines of one task."""
    records = []
    for spec in specs_of(task, track):
        say(f"validate {track} {task}: {spec.upstream} seed {spec.seed} "
            f"{'shuffled' if spec.shuffle_labels else ''}")  # fmt: skip
        records.append(run(spec, home=home, out=out).record)
    grouped: dict[str, list[Record]] = {}
    for record in records:
        suffix = ", training labels shuffled" if record.labels_shuffled else ""
        suffix += CEILING if record.ceiling else ""
        grouped.setdefault(record.upstream + suffix, []).append(record)
    rows = [Row("chance (ignores the sound)", (), chance(task, track, home))]
    for label, group in grouped.items():
        clean = tuple(score for score in group[0].scores if score.condition == "clean")
        rows.append(Row(label, tuple(group), clean))
    return rows


def _verdict(task: str, track: str, rows: Sequence[Row]) -> str:
    """Which upstreams stand out from chance and from the shuffled controls, by which metric."""
    by_label = {row.label: row for row in rows}
    controls = [row for row in rows if "shuffled" in row.label] + [rows[0]]
    found = []
    for metric in task_card(task, track).metrics:
        higher = METRICS[metric].higher_is_better

        def of(row: Row, metric: str = metric) -> ConditionScore:
            return next(score for score in row.scores if score.metric == metric)

        for label, row in by_label.items():
            if row in controls or label.endswith(CEILING):
                continue
            if all(_separate(of(row), of(c), higher_is_better=higher) for c in controls):
                found.append(f"{label} ({metric})")
    return "; ".join(found) if found else "none"


def validate_track(
    track: str, *, home: Path, out: Path, docs: Path, tasks: Sequence[str] = ()
) -> str:
    """Run every baseline and control of a track and write `docs/track-<track>.md`.

    Args:
        track: name of the track.
        home: folder of corpora and features.
        out: folder of records; runs that are done are not run again.
        docs: folder of the table.
        tasks: only these (then no table is written).

    Returns:
        the table as Markdown.
    """
    corpora = {task_card(task, track).corpus for task in task_names(track)}
    for name in corpora:
        corpus_module(name).prepare(home)
    parts = []
    for task in tasks or task_names(track):
        rows = _rows(task, track, home, out)
        metrics = task_card(task, track).metrics
        body = [
            [row.label, row.records[0].weights if row.records else "-", len(row.records) or "-"]
            + [_cell(row, metric) for metric in metrics]
            + [row.scores[0].n]
            for row in rows
        ]
        head = ["upstream", "weights", "seeds", *[f"{metric} %" for metric in metrics], "n"]
        table = tabulate(body, headers=head, tablefmt="github", disable_numparse=True)
        verdict = _verdict(task, track, rows)
        parts.append(f"## {task}\n\n{table}\n\nBeyond chance and the shuffled controls: {verdict}.")
    text = f"# Track `{track}`: does it measure something?\n\n{_PREFACE}\n\n" + "\n\n".join(parts)
    if not tasks:
        write_text(docs / f"track-{track}.md", text + "\n")
    return text


_PREFACE = """Written by `make validate-track TRACK=...` from the records of the runs; test set
`clean`, 95 % bootstrap intervals (by speaker for SID and ASV) of seed 0. Heads are selected on dev.
The shuffled controls were trained on permuted training labels and selected on true dev labels."""
