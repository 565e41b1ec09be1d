"""What a run will do, and about how long and how much disk it takes: said before it starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from bench.api import Head
from bench.features import (
    Batch,
    FeatureStore,
    bytes_per_utterance,
    seconds_per_audio_second,
)
from bench.fit import Probe
from bench.registry import resolve
from bench.spec import Resolved

TIMED_UPDATES = 3


@dataclass(frozen=True)
class Plan:
    """An estimate, measured on this machine just now.

    Attributes:
        audio_seconds: sound in all tables.
        new_audio_seconds: what has not yet passed the upstream.
        new_bytes: what its features will take on disk.
        upstream_seconds: estimate of that pass.
        updates: of all learning rates together.
        training_seconds: estimate of the training, without the evaluations on dev.
    """

    audio_seconds: float
    new_audio_seconds: float
    new_bytes: int
    upstream_seconds: float
    updates: int
    training_seconds: float

    def lines(self, resolved: Resolved) -> list[str]:
        """The plan for people."""
        spec, card = resolved.spec, resolved.card
        sizes = ", ".join(f"{name} {len(t.utterances)}" for name, t in resolved.tables.items())
        return [
            f"plan: {card.title} ({card.name}, track {card.track}) with {spec.upstream}",
            f"  utterances: {sizes}; {self.audio_seconds / 60:.1f} min of audio",
            f"  upstream pass: {self.new_audio_seconds / 60:.1f} min of audio not yet kept, about "
            f"{self.upstream_seconds:.0f} s and {self.new_bytes / 1e6:.0f} MB of disk "
            f"({card.features})",
            f"  head: {self.updates} updates over {len(resolved.learning_rates())} learning "
            f"rate(s), about {self.training_seconds:.0f} s; selection on dev by {card.metrics[0]}",
        ]


def head_factory(resolved: Resolved) -> Callable[[int], Head]:
    """Build the task's head from D; its classes come from the training targets."""
    targets = [item.target for item in resolved.tables["train"].utterances]
    make: Callable[..., Head] = resolve(resolved.card.head)
    stride = resolved.loaded.upstream.stride
    return lambda size: make(size, stride, targets, **resolved.card.head_conf)


def _update_seconds(resolved: Resolved) -> float:
    """Seconds of one update on random features of the run's shape."""
    upstream, recipe = resolved.loaded.upstream, resolved.card.recipe
    train = resolved.tables["train"].utterances
    samples = sum(item.num_samples for item in train) // len(train)
    frames = 1 if resolved.card.features == "pooled" else upstream.num_frames(samples)
    count = min(recipe.batch_size, len(train))
    shape = (count, upstream.num_layers, max(1, frames), upstream.hidden_size)
    batch = Batch(torch.randn(shape), torch.full((count,), shape[2]))
    with torch.random.fork_rng(devices=[]):
        factory = head_factory(resolved)
        probe = Probe(upstream.num_layers, upstream.hidden_size, factory, None)
        optimizer = torch.optim.Adam(probe.parameters())
        targets = probe.head.encode([item.target for item in train[:count]])
        begin = time.perf_counter()
        for update in range(TIMED_UPDATES + 1):
            if update == 1:  # the first warms up
                begin = time.perf_counter()
            optimizer.zero_grad()
            probe.head.loss(probe(batch), targets).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return (time.perf_counter() - begin) / TIMED_UPDATES


def make_plan(resolved: Resolved, store: FeatureStore) -> Plan:
    """Estimate a run by timing the upstream and the head for a moment."""
    upstream = resolved.loaded.upstream
    everything = [item for table in resolved.tables.values() for item in table.utterances]
    new = store.missing(everything)
    new_seconds = sum(item.num_samples for item in new) / 16_000
    rate = seconds_per_audio_second(upstream) if new else 0.0
    updates = resolved.card.recipe.steps * len(resolved.learning_rates())
    mode = resolved.card.features
    return Plan(
        audio_seconds=sum(table.seconds for table in resolved.tables.values()),
        new_audio_seconds=new_seconds,
        new_bytes=sum(bytes_per_utterance(upstream, mode, item.num_samples) for item in new),
        upstream_seconds=rate * new_seconds,
        updates=updates,
        training_seconds=updates * _update_seconds(resolved),
    )
