"""What the number of kept crops does to a score."""

from __future__ import annotations

import statistics
from dataclasses import replace
from pathlib import Path

from bench.config import CropRule, TaskCard
from bench.features.store import FeatureStore
from bench.load.loader import Loaded, load_upstream
from bench.probe.fit import predict
from bench.registry import task_card
from bench.run.run_features import Features, extract
from bench.run.spec import RunSpec, prepare_corpora, resolve_run
from bench.run.stages import best_in_full, best_probe, score_of, train
from bench.session import Session
from tools.benchmarks._paired import spread
from tools.benchmarks._setting import SEEDS, Setting, scratch
from tools.markdown import markdown_table

TITLE = "Kept crops"
UPSTREAM, TASK, TRACK = "ge2e", "sid", "quick"
SECONDS = 1.5
COUNTS = (1, 2, 4, 8)


def measure(setting: Setting) -> str:
    """Speaker identification from crops, by how many of each utterance are kept."""
    card, loaded = task_card(TASK, TRACK), load_upstream(UPSTREAM)
    prepare_corpora(card, Session(home=setting.home))
    with scratch() as root:
        scores = {
            str(count): _scores(setting, card, loaded, root, CropRule(seconds=SECONDS, count=count))
            for count in (COUNTS if setting.repeats > 1 else COUNTS[:1])
        }
        scores["the whole utterance"] = _scores(setting, card, loaded, root, None)
    rows = [
        [name, spread([100 * v for v in values], ".1f"), f"{100 * statistics.mean(values):.1f}"]
        for name, values in scores.items()
    ]
    head = ["crops kept", "accuracy %, median of 3 seeds (range)", "mean"]
    return f"""{markdown_table(rows, head)}

`{UPSTREAM}` on SID of track `{TRACK}`: training on crops of {SECONDS:g} s, one of the kept crops
an epoch; test utterances are whole. SUPERB's crops of 8 s contain more of an utterance."""


def _scores(
    setting: Setting, card: TaskCard, loaded: Loaded, root: Path, rule: CropRule | None
) -> list[float]:
    """Test accuracy of each seed."""
    recipe = card.recipe.model_copy(update={"crops": rule})
    chosen = card.model_copy(update={"recipe": recipe})
    limit = None if setting.repeats > 1 else 16
    spec = RunSpec(UPSTREAM, TASK, TRACK, limit=limit)
    runs = [resolve_run(replace(spec, seed=seed), chosen, loaded, setting.home) for seed in SEEDS]
    name = "whole" if rule is None else str(rule.count)
    features = Features(runs[0], FeatureStore(root / "features", loaded.key, card.features))
    extract(features)
    found = []
    for points in train(features, runs, [root / name / str(seed) for seed in SEEDS]):
        probe = best_probe(features, best_in_full(points, chosen))
        predictions = predict(probe, features.source("clean"))
        found.append(score_of("accuracy", runs[0].tables["clean"], predictions))
    return found
