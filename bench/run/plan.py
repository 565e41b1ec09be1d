"""What a run will do, and about how long and how much disk it takes: said before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from bench.api import Head
from bench.features.passes import Stream, seconds_per_audio_second
from bench.features.rows import Batch
from bench.features.store import bytes_per_utterance
from bench.probe.heads import make_grid
from bench.registry import resolve
from bench.run.run_features import Features
from bench.run.spec import Resolved

TIMED_UPDATES = 3


@dataclass(frozen=True)
class Plan:
    """An estimate, measured on this machine just now.

    Attributes:
        audio_seconds: sound in all tables.
        new_audio_seconds: what has not yet passed the upstream and will be kept.
        new_bytes: what its features will take on disk.
        passes: how often the upstream runs over each split that is not kept.
        streamed_seconds: sound of those passes together.
        upstream_seconds: estimate of all passes.
        points: learning rates x seeds.
        updates: of each point.
        training_seconds: estimate of the training, without the evaluations on dev.
    """

    audio_seconds: float
    new_audio_seconds: float
    new_bytes: int
    passes: dict[str, int]
    streamed_seconds: float
    upstream_seconds: float
    points: int
    updates: int
    training_seconds: float

    def lines(self, features: Features) -> list[str]:
        """The plan for people."""
        resolved = features.resolved
        spec, card = resolved.spec, resolved.card
        sizes = ", ".join(f"{name} {len(t.utterances)}" for name, t in resolved.tables.items())
        found = [
            f"plan: {card.title} ({card.name}, track {card.track}) with {spec.upstream}",
            f"  utterances: {sizes}; {self.audio_seconds / 60:.1f} min of audio",
            f"  upstream pass: {self.new_audio_seconds / 60:.1f} min of audio not yet kept, "
            f"{self.new_bytes / 1e6:.0f} MB of disk ({card.features}, --store-gb "
            f"{features.store_gb:g}); about {self.upstream_seconds:.0f} s in all",
            f"  head: {self.points} point(s) of the grid in one training of {self.updates} "
            f"updates, about {self.training_seconds:.0f} s; selection on dev by {card.metrics[0]}",
        ]
        if self.passes:
            named = ", ".join(f"{name} {count} times" for name, count in self.passes.items())
            found.insert(
                3,
                f"  streaming: over the budget, so the upstream runs over {named} "
                f"({self.streamed_seconds / 3600:.1f} h of audio)",
            )
        return found


def head_factory(resolved: Resolved) -> Callable[[int], Head]:
    """Build the task's head from D; its classes come from the training targets."""
    targets = [item.target for item in resolved.tables["train"].utterances]
    make: Callable[..., Head] = resolve(resolved.card.head)
    stride = resolved.loaded.upstream.stride
    return lambda size: make(size, stride, targets, **resolved.card.head_conf)


def _update_seconds(features: Features, seeds: Sequence[int]) -> float:
    """Seconds of one update of the whole grid on random features of the run's shape."""
    resolved, store = features.resolved, features.store
    upstream, recipe = resolved.loaded.upstream, resolved.card.recipe
    train = resolved.tables["train"].utterances
    samples = sum(item.num_samples for item in train) // len(train)
    frames = 1 if store.mode == "pooled" else max(1, upstream.num_frames(samples))
    chosen = train[: recipe.batch_size]
    shape = (upstream.num_layers, len(chosen), frames, upstream.hidden_size)
    device = store.engine.device
    batch = Batch(torch.randn(shape), torch.full((len(chosen),), frames))
    batch = Batch(batch.stacked.to(device), batch.lengths.to(device))
    with torch.random.fork_rng(devices=[]):
        source = Stream(upstream, train, store.mode, store.engine)
        make_head = head_factory(resolved)
        grid = make_grid(source, make_head, recipe, None, resolved.learning_rates(), seeds, device)
        encoded = grid.points[0].probe.head.encode([item.target for item in chosen])
        if isinstance(encoded, torch.Tensor):
            encoded = encoded.to(device)
        begin = time.perf_counter()
        for update in range(TIMED_UPDATES + 1):
            if update == 1:  # the first warms up
                begin = time.perf_counter()
            grid.update(update, dict.fromkeys(seeds, batch), dict.fromkeys(seeds, encoded))
    return (time.perf_counter() - begin) / TIMED_UPDATES


def make_plan(features: Features, seeds: Sequence[int]) -> Plan:
    """Estimate some runs, alike but for their seeds, by timing upstream and heads for a moment."""
    resolved, store = features.resolved, features.store
    upstream, recipe, tables = resolved.loaded.upstream, resolved.card.recipe, resolved.tables
    new = store.missing(features.wanted())
    new_seconds = sum(item.num_samples for item in new) / 16_000
    passes = features.passes()
    streamed = sum(count * tables[name].seconds for name, count in passes.items())
    rate = seconds_per_audio_second(upstream, store.engine) if new or passes else 0.0
    return Plan(
        audio_seconds=sum(table.seconds for table in tables.values()),
        new_audio_seconds=new_seconds,
        new_bytes=sum(bytes_per_utterance(upstream, store.mode, i.num_samples) for i in new),
        passes=passes,
        streamed_seconds=streamed,
        upstream_seconds=rate * (new_seconds + streamed),
        points=len(resolved.learning_rates()) * len(seeds),
        updates=recipe.steps,
        training_seconds=recipe.steps * _update_seconds(features, seeds),
    )
