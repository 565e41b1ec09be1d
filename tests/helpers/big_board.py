"""Records of many upstreams that were never run: for size and speed of the board only."""

from pathlib import Path

import numpy as np

from bench.conditions.condition_file import FILE, ConditionFile
from bench.metrics.detection import TRIAL_RATES
from bench.metrics.item_file import ItemFile, items_path, write_items
from bench.metrics.items import Items, TrialItems
from bench.metrics.jackknife import influences
from bench.metrics.metric import METRICS
from bench.paths import runs_folder
from bench.records.record import Record, read_record, write_record
from bench.registry import task_card, task_names
from bench.schema import read_card

PAGE_ROWS = 24  # of the page that the tests of the browser share
TEMPLATE = Path(__file__).parents[1] / "golden/results/open/fbank/ks-s0.json"
SPEAKERS, UTTERANCES, TRIALS = 12, 300, 4_600
HEAD_SEEDS = 2
FAMILIES = ("distilled", "pruned", "once-for-all", "robust")


def conditions(count: int) -> list[str]:
    """The first rungs of the ladders."""
    ladders = read_card(FILE, ConditionFile).ladders.values()
    return [item.name.format(f"{abs(v):g}") for item in ladders for v in item.values][:count]


def make_results(folder: Path, *, upstreams: int, num_conditions: int, seed: int = 0) -> int:
    """Write `results` and `items` below `folder`; return how many records there are."""
    rng = np.random.default_rng(seed)
    template = read_record(TEMPLATE).model_dump(mode="json")
    names = conditions(num_conditions)
    cards = {task: task_card(task, "open") for task in task_names("open")}
    count = 0
    for index in range(upstreams):
        upstream = f"distilhubert@v{index}" if index % 3 else f"lighthubert_small@random:{index}"
        params = int(rng.integers(2_000_000, 95_000_000))
        for task in cards:
            level = float(rng.uniform(0.1, 0.9))
            for head_seed in range(HEAD_SEEDS):
                record = one(
                    template, rng, upstream, cards[task], params, FAMILIES[index % 4], names, level
                )
                record["seed"], stem = head_seed, f"{task}-s{head_seed}"
                path = runs_folder(folder / "results", "open", upstream) / f"{stem}.json"
                write_record(Record.model_validate(record, strict=False), path)
                path = items_path(folder / "items", "open", upstream, stem)
                write_items(item_counts(record, rng), path)
                count += 1
    return count


def one(template, rng, upstream, card, params, family, names, level):
    """A record of scores near a level, as seeds of one row are near each other."""
    clean = {metric: level + float(rng.uniform(-0.01, 0.01)) for metric in card.metrics}
    scores = [score("clean", metric, value) for metric, value in clean.items()]
    beyond = []
    for name in names:
        losses = {metric: float(rng.uniform(0.0, 0.6)) for metric in clean}
        beyond.append({
            "condition": name, "sha256": "0" * 64, "predictions_sha256": "0" * 64,
            "commit": None, "dirty": False,
            "scores": [degraded(name, m, clean[m], loss) for m, loss in losses.items()],
        })  # fmt: skip
    return template | {
        "upstream": upstream, "task": card.name, "family": family, "weights": "published",
        "scores": scores, "conditions": beyond, "task_version": 1, "labels": card.labels,
        "selection": template["selection"] | {"metric": card.selects_by},
        "cost": {"params": params, "macs_per_second": params * 80.0, "rtf": 0.1},
        "head": {"params": 200_000, "layer_weights": [1 / 13] * 13},
        "predictions_sha256": {"clean": "0" * 64},
    }  # fmt: skip


def score(condition, metric, value):
    return {
        "condition": condition, "metric": metric, "value": value, "numerator": 1000 * value,
        "denominator": 1000.0, "n": 300, "low": 0.97 * value, "high": 1.03 * value,
        "chance": 1.0 if METRICS[metric].higher_is_better is False else 0.01,
    }  # fmt: skip


def degraded(condition, metric, clean, loss):
    sign = -1.0 if METRICS[metric].higher_is_better else 1.0
    return score(condition, metric, clean * (1 + sign * loss))


def item_counts(record, rng):
    """Counts as large as those of track open, of rates that are not the record's."""
    speakers = np.sort(rng.integers(0, SPEAKERS, UTTERANCES))
    items = {}
    for part in record["scores"]:
        key = ("clean", part["metric"])
        if part["metric"] in TRIAL_RATES:
            items[key] = some_trials(part["metric"], rng)
        else:
            units = np.full(UTTERANCES, 20.0)
            edits = rng.binomial(20, min(part["value"], 1.0), UTTERANCES).astype(float)
            items[key] = Items(np.arange(UTTERANCES), edits, units, speakers)
    distorted = {
        item["condition"]: influences(
            item["scores"][0]["value"], rng.random(SPEAKERS), np.ones(SPEAKERS)
        )
        for item in record["conditions"]
    }
    return ItemFile(items, distorted)


def some_trials(metric, rng):
    left, right = rng.integers(0, SPEAKERS, (2, TRIALS))
    labels = left == right
    scores = rng.normal(size=TRIALS) + labels
    return TrialItems(TRIAL_RATES[metric], scores, labels, left, right, left, right)
