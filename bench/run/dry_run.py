"""A plan for a corpus that is not here: its published sizes, no audio read, nothing kept.

Where the corpora are prepared, the plan is that of the real manifests.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.config import Recipe, TaskCard
from bench.errors import MissingError
from bench.features.passes import Stream, seconds_per_audio_second
from bench.features.rows import Batch
from bench.features.store import FeatureStore, bytes_per_utterance
from bench.load.loader import Loaded
from bench.probe.fit import take
from bench.probe.heads import make_grid
from bench.registry import corpus_module, task_card
from bench.run.plan import head_factory
from bench.run.run_features import Features
from bench.run.spec import Resolved, RunSpec, Table, read_tables
from bench.session import Session

# What one update is timed on; the rest is proportional to frames.
TIMED_UTTERANCES, TIMED_FRAMES = 2, 50


def plan_lines(
    spec: RunSpec,
    seeds: Sequence[int],
    loaded: Loaded,
    session: Session,
) -> list[str]:
    """What a run would take, for people: utterances, hours, updates, disk, time.

    Args:
        spec: the run.
        seeds: of its heads.
        loaded: its upstream.
        session: where things are, and how the upstream would run; its rate is measured now.

    Raises:
        MissingError: a corpus that has no published size and is not prepared.
    """
    card = task_card(spec.task, spec.track)
    engine, store_gb = session.engine, session.store_gb
    tables, prepared = planned_tables(card, session.home, spec)
    resolved = Resolved(replace(spec, upstream=loaded.name.text()), card, loaded, tables)
    store = FeatureStore(session.features, loaded.digest, card.features, engine=engine)
    features = Features(resolved, store, store_gb)
    rates, passes = resolved.learning_rates(), features.passes()
    rate, update = seconds_per_audio_second(loaded.upstream, engine), _update_seconds(features)
    once, streamed, disk = _passed(features)
    updates = total_updates(card.recipe, len(rates)) * len(seeds)
    source = "prepared manifests" if prepared else "published sizes, at their mean length"
    lines = [f"plan: {card.title} ({card.name}, track {card.track}) with {spec.upstream}; {source}"]
    for name, table in tables.items():
        how = f"streams, {passes[name]} passes" if name in passes else "kept"
        count = f"{len(table.utterances):,} utterances"
        lines.append(f"  {name}: {count}, {table.seconds / 3600:.1f} h; {how}")
    heard, trained = rate * (once + streamed), updates * update / 3600
    return [
        *lines,
        f"  upstream: {once:,.1f} h of audio once, crops included, and {streamed:,.1f} h streamed; "
        f"about {heard:,.1f} h at {1 / rate:.1f} seconds of audio a second",
        f"  disk: {disk / 1e9:,.1f} GB of kept features ({card.features}, budget {store_gb:g} GB)",
        f"  head: {_grid_text(card.recipe, rates, len(seeds))}: {updates:,} updates, about "
        f"{trained:,.1f} h at {update:.3f} s each",
        f"  in all about {heard + trained:,.1f} h on this machine ({engine.device})",
    ]


def _passed(features: Features) -> tuple[float, float, int]:
    """Hours of audio that pass once and are kept, hours that stream, and bytes on disk."""
    resolved, kept = features.resolved, features.kept()
    once = _seconds(features.wanted()) / 3600
    # An epoch hears one crop of an utterance; rates that are explored share their passes.
    streamed = 0.0
    for name, count in features.passes().items():
        heard = features.heard(name)
        crops = len(heard) / len(resolved.tables[name].utterances)
        streamed += count * _seconds(heard) / crops / 3600
    upstream, mode = resolved.loaded.upstream, resolved.card.features
    disk = sum(
        bytes_per_utterance(upstream, mode, item.num_samples)
        for name in kept
        for item in features.heard(name)
    )
    return once, (1.0 + (resolved.card.recipe.explore or 0.0)) * streamed, disk


def total_updates(recipe: Recipe, rates: int) -> int:
    """Updates of one seed: every rate for its part and the best in full, or all in full."""
    if recipe.explore is None or rates == 1:
        return recipe.steps * rates
    return recipe.steps + rates * max(1, round(recipe.steps * recipe.explore))


def _grid_text(recipe: Recipe, rates: Sequence[float], seeds: int) -> str:
    listed = ", ".join(f"{rate:g}" for rate in rates)
    if recipe.explore is None or len(rates) == 1:
        return f"{recipe.steps:,} updates at {listed}, {seeds} seed(s)"
    part = round(recipe.steps * recipe.explore)
    return f"{part:,} updates at each of {listed}, {recipe.steps:,} at the best, {seeds} seed(s)"


def _seconds(utterances: Sequence[Utterance]) -> float:
    return sum(item.num_samples for item in utterances) / SAMPLE_RATE_HZ


def planned_tables(card: TaskCard, home: Path, spec: RunSpec) -> tuple[dict[str, Table], bool]:
    """The task's manifests, or made-up ones of the corpora's sizes; whether they are real."""
    try:
        return read_tables(card, home, spec), True
    except MissingError:
        sizes = {split: [_size(*part) for part in card.parts(split)] for split in card.tables}
    return {
        split: Table(tuple(item for size in found for item in _made_up(split, size)), (), "")
        for split, found in sizes.items()
    }, False


def _size(corpus: str, table: str) -> Any:
    """The published size of one table.

    Raises:
        MissingError: the corpus has none.
    """
    module = corpus_module(corpus)
    if not getattr(module, "OFFICIAL", False):
        raise MissingError(f"{corpus}: not prepared: run 'slim-superb data prepare'")
    return module.CORPUS.layout.sizes[table]


def _made_up(split: str, size: Any) -> list[Utterance]:
    """Utterances of a size, all of the mean length."""
    samples = round(size.hours * 3600 * SAMPLE_RATE_HZ / size.utterances)
    return [
        Utterance(
            id=str(number),
            path=Path("none"),
            start=0,
            num_samples=samples,
            target=size.targets[number % len(size.targets)],
            speaker="",
            source="",
            key=f"{split} {number}",
        )
        for number in range(size.utterances)
    ]


def _update_seconds(features: Features) -> float:
    """Seconds of one update of one head, from one on few frames."""
    resolved, store = features.resolved, features.store
    upstream, recipe = resolved.loaded.upstream, resolved.card.recipe
    train = features.heard("train")
    mean = round(_seconds(train) * SAMPLE_RATE_HZ / len(train))
    frames = 1 if store.mode == "pooled" else max(1, upstream.num_frames(mean))
    pooled = store.mode == "pooled"
    count = recipe.batch_size if pooled else min(TIMED_UTTERANCES, recipe.batch_size)
    timed = min(frames, TIMED_FRAMES)
    shape = (upstream.num_layers, count, timed, upstream.hidden_size)
    device = store.engine.device
    batch = Batch(torch.randn(shape).to(device), torch.full((count,), timed).to(device))
    with torch.random.fork_rng(devices=[]):
        source = Stream(upstream, train[:count], store.mode, store.engine)
        grid = make_grid(source, head_factory(resolved), recipe, None, [1e-4], [0], device)
        items = resolved.tables["train"].utterances[:count]
        encoded = grid.points[0].probe.head.encode([item.target for item in items])
        targets = {0: take(encoded, range(count), device)}
        grid.update(0, {0: batch}, targets)  # warms up
        begin = time.perf_counter()
        grid.update(1, {0: batch}, targets)
        seconds = time.perf_counter() - begin
    return seconds * math.ceil(recipe.batch_size / count) * frames / timed
