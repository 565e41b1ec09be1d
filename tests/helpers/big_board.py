"""Records of many upstreams that were never run: for size and speed of the board only."""

from pathlib import Path

import numpy as np

from bench.conditions.catalogue import FILE, ConditionFile
from bench.metrics.draws import NUM_DRAWS, STEP, DrawnScore, draws_path, write_draws
from bench.metrics.metric import METRICS
from bench.paths import runs_folder
from bench.records.record import Record, read_record, write_record
from bench.registry import task_card, task_names
from bench.schema import read_card

PAGE_ROWS = 150  # of the page that the tests of the browser share
TEMPLATE = Path(__file__).parents[1] / "golden/results/open/fbank/ks-s0.json"
FAMILIES = ("distilled", "pruned", "once-for-all", "robust")


def conditions(count: int) -> list[str]:
    """The first rungs of the ladders."""
    ladders = read_card(FILE, ConditionFile).ladders.values()
    return [item.name.format(f"{abs(v):g}") for item in ladders for v in item.values][:count]


def make_results(folder: Path, *, upstreams: int, num_conditions: int, seed: int = 0) -> int:
    """Write `results` and `draws` below `folder`; return how many records there are."""
    rng = np.random.default_rng(seed)
    template = read_record(TEMPLATE).model_dump(mode="json")
    names = conditions(num_conditions)
    cards = {task: task_card(task, "open") for task in task_names("open")}
    noise = {task: rng.normal(0, 0.02, NUM_DRAWS) for task in cards}
    count = 0
    for index in range(upstreams):
        upstream = f"distilhubert@v{index}" if index % 3 else f"lighthubert_small@random:{index}"
        params = int(rng.integers(2_000_000, 95_000_000))
        for task in cards:
            record = one(template, rng, upstream, cards[task], params, FAMILIES[index % 4], names)
            path = runs_folder(folder / "results", "open", upstream) / f"{task}-s0.json"
            write_record(Record.model_validate(record, strict=False), path)
            draws = tuple(
                drawn(score, noise[task], rng)
                for score in record["scores"]
                if score["condition"] == "clean"
            )
            write_draws(draws, draws_path(folder / "draws", "open", upstream, f"{task}-s0"))
            count += 1
    return count


def one(template, rng, upstream, card, params, family, names):
    clean = {metric: float(rng.uniform(0.1, 0.9)) for metric in card.metrics}
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
        "selection": template["selection"] | {"metric": card.metrics[0]},
        "cost": {"params": params, "macs_per_second": params * 80.0, "rtf": 0.1},
        "head": {"params": 200_000, "layer_weights": [1 / 13] * 13},
        "predictions_sha256": {"clean": "0" * 64},
    }  # fmt: skip


def score(condition, metric, value):
    return {
        "condition": condition, "metric": metric, "value": value, "numerator": 1000 * value,
        "denominator": 1000.0, "n": 300, "low": 0.97 * value, "high": 1.03 * value,
    }  # fmt: skip


def degraded(condition, metric, clean, loss):
    sign = -1.0 if METRICS[metric].higher_is_better else 1.0
    found = score(condition, metric, clean * (1 + sign * loss))
    return found | {"relative": loss, "relative_low": loss - 0.05, "relative_high": loss + 0.05}


def drawn(found, shared, rng):
    values = found["value"] * (1 + shared + rng.normal(0, 0.01, NUM_DRAWS))
    steps = np.clip(np.round(values / STEP), 0, 65_534).astype(np.uint16)
    return DrawnScore("clean", found["metric"], "utterance", 300, steps)
