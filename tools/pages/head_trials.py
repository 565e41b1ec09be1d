"""Trials of recipes for heads on stored features, and the table of how committed heads ended.

A trial trains the heads of some seeds by a changed recipe. Dev selects, as in a run. Of the test
set only the standard deviation over seeds is kept, so that no recipe is chosen by its test score.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev, variance
from tempfile import TemporaryDirectory
from typing import Any

from bench.config import Recipe, TaskCard
from bench.errors import InvalidDataError
from bench.paths import write_text
from bench.probe.fit import predict
from bench.records.record import Record, read_record
from bench.registry import task_card
from bench.run.job import open_job
from bench.run.run_features import extract
from bench.run.selection import shared_rates
from bench.run.spec import RunSpec
from bench.run.stages import best_in_full, best_probe, score_of, train
from bench.session import Session
from tools.markdown import markdown_table

SEEDS = (0, 1, 2)
LATE = 0.9  # share of the updates from which a step counts as one of the last
TRIALS = "heads-trials.jsonl"
PAGE = "heads.md"
RATES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
COSINE: dict[str, Any] = {"lr_grid": RATES, "decay": "cosine", "warmup": 75}
LARGE: dict[str, Any] = {"optimizer": "adamw", "batch_size": 128, "steps": 800, "warmup": 40}
WIDE: dict[str, Any] = {"lr_grid": (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4), "steps": 500}
SMOOTHED = "cosine, sum x 30, batch 128, weight decay 0.1, label smoothing 0.1"
SMOOTH: dict[str, Any] = {
    **COSINE, **LARGE, **WIDE, "sum_rate": 30.0, "weight_decay": 0.1,
    "head_conf": {"label_smoothing": 0.1},
}  # fmt: skip
NINE_RATES = (3e-1, *WIDE["lr_grid"], 3e-5)
SHARED: dict[str, Any] = {"selection_seeds": 3, "eval_every": 100}
ONE_BATCH = SMOOTHED.replace("batch 128", "all utterances a batch")
WHOLE: dict[str, Any] = {
    **SMOOTH, **SHARED, "lr_grid": NINE_RATES, "batch_size": 1024, "steps": 200, "warmup": 20,
}  # fmt: skip
FRAMES_40_MS = "40 ms, cosine, sum x 10, batch 32, five rates for a fifth, one for all seeds"
JOINED: dict[str, Any] = {
    "optimizer": "adamw", "weight_decay": 0.01, "lr_grid": (8e-3, 4e-3, 2e-3, 1e-3, 5e-4),
    "batch_size": 32, "explore": 0.2, "decay": "cosine", "sum_rate": 10.0, "selection_seeds": 1,
    "head_conf": {"frame_ms": 40},
}  # fmt: skip
# Changes to the recipe of a task's card, by name; `head_conf` is the card's.
CHANGES: Mapping[str, dict[str, Any]] = {
    "card": {},
    "cosine": COSINE,
    "cosine, sum x 10": {**COSINE, "sum_rate": 10.0},
    "cosine, sum x 10, batch 128, weight decay 0.1": {
        **COSINE, **LARGE, "sum_rate": 10.0, "weight_decay": 0.1,
    },
    "cosine, sum x 30, batch 128, weight decay 1": {
        **COSINE, **LARGE, "sum_rate": 30.0, "weight_decay": 1.0,
    },
    f"{SMOOTHED}, seven rates": SMOOTH,
    f"{SMOOTHED}, nine rates, one for all seeds": {**SMOOTH, **SHARED, "lr_grid": NINE_RATES},
    f"{ONE_BATCH}, nine rates, one for all seeds": WHOLE,
    f"{ONE_BATCH}, output from 0, nine rates, one for all seeds": {
        **WHOLE, "head_conf": {**SMOOTH["head_conf"], "zero_output": True},
    },
    "cosine, sum x 10, batch 128, weight decay 0.1, seven rates, one for all seeds": {
        **COSINE, **LARGE, **WIDE, **SHARED, "sum_rate": 10.0, "weight_decay": 0.1,
    },
    "five rates, three heads choose by one standard error": {
        "lr_grid": (3e-2, 1e-2, 3e-3, 1e-3, 3e-4), "selection_seeds": 3, "one_standard_error": True,
    },
    f"{FRAMES_40_MS}, 300 updates": {**JOINED, "steps": 300, "warmup": 15, "eval_every": 60},
    f"{FRAMES_40_MS}, 1,000 updates": {**JOINED, "steps": 1000, "warmup": 50, "eval_every": 200},
}  # fmt: skip

PREFACE = """# How heads are trained

Written by `make heads`: from the committed records, and from trials of other recipes on stored
features (`docs/heads-trials.jsonl`; `python -m tools heads-page --help`).

## Committed heads of track open

Shares of records whose learning rate is the largest or the smallest of its grid, and whose best
step is among the last tenth; a recipe with seeds of its own to choose the rate uses the last step
of all. s.d.: standard deviation of the main metric over head seeds, pooled over upstreams, in
points. Controls with permuted labels are left out."""
TRIED = """## Trials

Each line is one change to a version of the task's card, tried on some upstreams with three head
seeds each. Dev is the mean of the selected score on dev, which a recipe with more evaluations
raises by chance; s.d. is over seeds, on dev and on test. CPU seconds are of one upstream and one
seed, with the whole grid, on one thread of a shared machine. No test score was looked at.
`house_teacher` and `house_pruned60` were models of an earlier family."""
LAST = "last step used"


@dataclass(frozen=True)
class HeadTrial:
    """The heads of some seeds, by one recipe, on one task of one upstream.

    Attributes:
        version: of the task's card, which the change applies to.
        change: key of `CHANGES`.
        rates: learning rate of each seed, as dev chose it.
        edges: the smallest and the largest of the grid.
        steps: best step of each seed, as a share of all updates; empty where the last is used.
        dev: selected dev score of each seed.
        test_sd: standard deviation of the test score over seeds.
        cpu_seconds: of one seed.
        track: of the task's card.
    """

    task: str
    upstream: str
    version: int
    change: str
    rates: tuple[float, ...]
    edges: tuple[float, float]
    steps: tuple[float, ...]
    dev: tuple[float, ...]
    test_sd: float
    cpu_seconds: float
    track: str = "open"

    @property
    def key(self) -> tuple[str, str, int, str, str]:
        """What a newer trial replaces: task, track, version, change and upstream."""
        return self.task, self.track, self.version, self.change, self.upstream


def changed_card(card: TaskCard, change: str) -> TaskCard:
    """Return a task card with a change of `CHANGES`."""
    changes = dict(CHANGES[change])
    conf = card.head_conf | changes.pop("head_conf", {})
    recipe = Recipe.model_validate({**card.recipe.model_dump(), **changes})
    return card.model_copy(update={"head_conf": conf, "recipe": recipe})


def run_trial(task: str, track: str, upstream: str, change: str, session: Session) -> HeadTrial:
    """Train the heads of a trial; features are stored.

    Raises:
        UserError: as for a run.
    """
    job = open_job(RunSpec(upstream, task, track), SEEDS, session)
    extract(job.features)
    card = changed_card(job.runs[0].card, change)
    recipe = card.recipe
    runs = [replace(run, card=card) for run in job.runs]
    features = replace(job.features, resolved=runs[0])
    begin = time.process_time()
    with TemporaryDirectory() as name:
        folders = [Path(name) / str(seed) / "training" / "heads" for seed in SEEDS]
        shared = shared_rates(features, Path(name) / "trial.json", session.home)
        trained = train(features, runs, folders, shared)
    seconds = (time.process_time() - begin) / len(SEEDS)
    best = [best_in_full(points, card) for points in trained]
    table, tests = runs[0].tables["clean"], []
    for point in best:
        predicted = predict(best_probe(features, point), features.source("clean"))
        tests.append(score_of(card.metrics[0], table, predicted))
    return HeadTrial(
        task, upstream, card.version, change,
        rates=tuple(point.lr for point in best),
        edges=(min(recipe.lr_grid), max(recipe.lr_grid)),
        steps=() if shared else tuple(point.step / recipe.steps for point in best),
        dev=tuple(point.value or 0.0 for point in best),
        test_sd=stdev(tests),
        cpu_seconds=seconds,
        track=track,
    )  # fmt: skip


def read_trials(path: Path) -> list[HeadTrial]:
    """Return the trials of a file, one JSON object a line; none without a file.

    Raises:
        InvalidDataError: a line is no trial.
    """
    if not path.exists():
        return []
    try:
        return [HeadTrial(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]
    except (TypeError, ValueError) as error:
        raise InvalidDataError(f"{path}: not trials ({error})") from error


def add_trial(trial: HeadTrial, path: Path) -> None:
    """Add a trial to a file, in place of an older one with the same key."""
    others = [one for one in read_trials(path) if one.key != trial.key]
    everything = sorted([*others, trial], key=lambda one: one.key)
    write_text(path, "".join(json.dumps(asdict(one)) + "\n" for one in everything))


def write_page(results: Path, docs: Path) -> Path:
    """Write the page from the records of track open and the trials in `docs`."""
    parts, trials = [PREFACE, _committed(results)], read_trials(docs / TRIALS)
    if trials:
        parts += [TRIED, _tried(trials)]
    write_text(docs / PAGE, "\n\n".join(parts) + "\n")
    return docs / PAGE


def _committed(results: Path) -> str:
    """Return the table of committed heads by task, of the present versions of the cards."""
    by_task: dict[str, list[Record]] = defaultdict(list)
    for path in sorted((results / "open").glob("*/*.json")):
        record = read_record(path)
        is_head = not record.labels_shuffled and record.selection.step
        if is_head and record.task_version == task_card(record.task, "open").version:
            by_task[record.task].append(record)
    rows = []
    for task, records in sorted(by_task.items()):
        steps = task_card(task, "open").recipe.steps
        choices = [record.selection for record in records]
        grids = [[point.lr for point in one.explored or one.grid] for one in choices]
        edges = [
            choice.lr in (min(grid), max(grid)) for choice, grid in zip(choices, grids, strict=True)
        ]
        is_last = any(point.by_seed for choice in choices for point in choice.explored)
        late = LAST if is_last else _percent([choice.step > LATE * steps for choice in choices])
        edge = _percent(edges) if len(grids[0]) > 1 else "one rate only"
        spread = f"{100 * _pooled_sd(records):.1f}"
        rows.append([task, str(len(records)), edge, late, spread])
    head = ["task", "records", "rate at an edge", "step in the last tenth", "s.d."]
    return markdown_table(rows, head)


def _pooled_sd(records: Sequence[Record]) -> float:
    """Return the standard deviation over head seeds, pooled over upstreams."""
    values: dict[str, list[float]] = defaultdict(list)
    for record in records:
        values[record.upstream].append(record.score().value)
    groups = [group for group in values.values() if len(group) > 1]
    squares = sum((len(group) - 1) * variance(group) for group in groups)
    return float((squares / sum(len(group) - 1 for group in groups)) ** 0.5)


def _tried(trials: Sequence[HeadTrial]) -> str:
    """Return the table of trials, by task, track, version of its card and change."""
    groups: dict[tuple[str, str, int, str], list[HeadTrial]] = defaultdict(list)
    for trial in trials:
        groups[trial.task, trial.track, trial.version, trial.change].append(trial)
    rows = []
    for (task, track, version, change), some in groups.items():
        pairs = [(rate in trial.edges) for trial in some for rate in trial.rates]
        late = [step > LATE for trial in some for step in trial.steps]
        rows.append([
            task, track, str(version), change, ", ".join(trial.upstream for trial in some),
            _percent(pairs), _percent(late) if late else LAST,
            f"{100 * fmean(fmean(trial.dev) for trial in some):.1f}",
            f"{100 * fmean(variance(trial.dev) for trial in some) ** 0.5:.1f}",
            f"{100 * fmean(trial.test_sd**2 for trial in some) ** 0.5:.1f}",
            f"{fmean(trial.cpu_seconds for trial in some):.0f}",
        ])  # fmt: skip
    head = ["task", "track", "card", "recipe", "upstreams", "rate at an edge"]
    head += ["step in the last tenth", "dev"]
    return markdown_table(rows, [*head, "s.d. on dev", "s.d. on test", "CPU s"])


def _percent(flags: Sequence[bool]) -> str:
    """Return the share of True as text, in percent."""
    return f"{100 * fmean(flags):.0f} %"
