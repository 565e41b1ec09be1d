"""The plan of a run: its size, the disk that it needs, and an estimate of its time.

`eval` prints the plan before it computes; `eval --plan` prints it and stops. Both describe the same
`Resolved` run. Where a corpus is not prepared, its published sizes take the place of its manifests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.api import SAMPLE_RATE_HZ, Head, Utterance
from bench.config import Recipe, TaskCard
from bench.corpora.official._hub import is_hub
from bench.engine import one_thread
from bench.errors import MissingError, UsageError
from bench.features.passes import seconds_per_audio_second
from bench.features.rows import Batch
from bench.features.stream import Stream
from bench.load.fingerprint import identified
from bench.load.loader import load_upstream
from bench.probe.grids import make_grid
from bench.probe.heads import take
from bench.progress import duration, warn
from bench.registry import OWN_TRACK, corpus_module, make_head, resolve
from bench.run.run_features import Features, explored_steps, features_of
from bench.run.spec import (
    Resolved,
    RunSpec,
    Table,
    comes_by_table,
    folders_are_known,
    labels_of,
    prepare_corpora,
    read_tables,
    run_card,
    seconds_of,
)
from bench.session import GB, Session

# An update is first timed on a part of a batch. Where the whole batch would take no longer than
# this, or holds means over time, it is timed too: a part overestimates what is small.
WHOLE_BATCH_SECONDS = 2.0
PART_UTTERANCES, PART_FRAMES = 2, 50


@dataclass(frozen=True)
class Plan:
    """The size of a run, and times estimated on this machine.

    Attributes:
        resolved: the run.
        is_prepared: its utterances come from manifests, not from published sizes.
        device: device of the upstream and the heads.
        store_gb: budget of stored features, in units of 10^9 bytes.
        passes: number of upstream passes over each streamed split; the other splits are stored.
        new_seconds: audio that passes the upstream once and is stored, in seconds.
        new_bytes: size of its features on disk.
        streamed_seconds: audio of all passes over streamed splits, in seconds.
        upstream_rate: seconds of computation per second of audio.
        seeds: number of seeds.
        updates: updates of all heads together.
        update_seconds: time of one update of one head.
    """

    resolved: Resolved
    is_prepared: bool
    device: str
    store_gb: float
    passes: dict[str, int]
    new_seconds: float
    new_bytes: int
    streamed_seconds: float
    upstream_rate: float
    seeds: int
    updates: int
    update_seconds: float

    def lines(self) -> list[str]:
        """Return the plan as lines of text."""
        spec, card = self.resolved.spec, self.resolved.card
        source = "manifests" if self.is_prepared else _source_of(card)
        title = f"{card.title} ({card.name}, track {card.track})"
        upstream_seconds = self.upstream_rate * (self.new_seconds + self.streamed_seconds)
        head_seconds = self.updates * self.update_seconds
        lines = [f"plan: {title} with {spec.upstream}; utterances from {source}"]
        for name, table in self.resolved.tables.items():
            use = f"streamed, {self.passes[name]} passes" if name in self.passes else "stored"
            count = f"{len(table.utterances):,} utterances"
            lines.append(f"  {name}: {count}, {duration(table.seconds)}; {use}")
        return [
            *lines,
            f"  upstream: {duration(self.new_seconds)} of audio to store, "
            f"{duration(self.streamed_seconds)} streamed; about {duration(upstream_seconds)}",
            f"  disk: {self.new_bytes / GB:,.3f} GB of new features ({card.features}, "
            f"budget {self.store_gb:g} GB)",
            f"  head: {self._grid_text()}; dev selects by {card.selects_by}",
            f"  total: about {duration(upstream_seconds + head_seconds)} on this machine "
            f"({self.device})",
        ]

    def _grid_text(self) -> str:
        """Return learning rates, the updates at each, the number of seeds, and the time of all."""
        recipe, rates = self.resolved.card.recipe, self.resolved.learning_rates()
        if not rates:
            return "nothing is trained, one hidden state is chosen"
        listed, seconds = ", ".join(f"{rate:g}" for rate in rates), self.update_seconds
        time = f"about {duration(self.updates * seconds)}, {seconds:.3f} s each"
        total = f"{self.updates:,} updates, {time}"
        part = explored_steps(recipe, len(rates))
        if not part:
            return f"{recipe.steps:,} updates at {listed}, {self.seeds} seed(s): {total}"
        shared = recipe.selection_seeds
        by = f" by {shared} heads that choose for all seeds" if shared else ""
        first = f"{part:,} updates at each of {listed}{by}, {recipe.steps:,} at the best"
        return f"{first}, {self.seeds} seed(s): {total}"


@one_thread()
def make_plan(features: Features, seeds: Sequence[int], *, is_prepared: bool = True) -> Plan:
    """Measure the run of some seeds, and time the upstream and the heads for a moment.

    Args:
        features: features of the run.
        seeds: seeds of the heads.
        is_prepared: the run's tables are manifests, not published sizes.
    """
    resolved, store = features.resolved, features.store
    upstream, rates = resolved.loaded.upstream, resolved.learning_rates()
    stored, passes = features.wanted(), features.passes(len(seeds))
    new_seconds = seconds_of(store.missing(stored))
    return Plan(
        resolved=resolved,
        is_prepared=is_prepared,
        device=store.engine.device,
        store_gb=features.store_gb,
        passes=passes,
        new_seconds=new_seconds,
        new_bytes=store.missing_bytes(upstream, stored),
        streamed_seconds=sum(
            count * features.seconds_of_pass(name) for name, count in passes.items()
        ),
        upstream_rate=(
            seconds_per_audio_second(upstream, store.engine) if new_seconds or passes else 0.0
        ),
        seeds=len(seeds),
        updates=total_updates(resolved.card.recipe, len(rates), len(seeds)),
        update_seconds=_update_seconds(features, seeds) if rates else 0.0,
    )


def plan_run(spec: RunSpec, seeds: Sequence[int], session: Session) -> Plan:
    """Plan a run; no feature is computed or stored.

    A user's corpus, official corpora with a known folder, and corpora whose packages are here, are
    prepared, as in the run. Others have their published sizes.

    Raises:
        UserError: the upstream cannot be loaded, or as `planned_tables`.
        MissingError: no such device.
    """
    session.engine.check()
    card = run_card(spec)
    loaded = load_upstream(spec.upstream, session)
    if loaded.warning:
        warn(*loaded.warning.splitlines())
    loaded = identified(loaded, session.home, store=False)
    tables, is_prepared = planned_tables(card, session, spec)
    named = replace(spec, upstream=loaded.name.text())
    resolved = Resolved(named, card, loaded, tables, labels_of(card, session.home))
    seeds = card.recipe.distinct_seeds(seeds)
    return make_plan(features_of(resolved, session), seeds, is_prepared=is_prepared)


def total_updates(recipe: Recipe, num_rates: int, num_seeds: int) -> int:
    """Return the updates of all heads: at every rate, or to explore rates and at the best."""
    part = explored_steps(recipe, num_rates)
    explorers = recipe.selection_seeds or num_seeds
    in_full = num_seeds if part else num_seeds * num_rates
    return part * num_rates * explorers + recipe.steps * in_full


def planned_tables(
    card: TaskCard, session: Session, spec: RunSpec
) -> tuple[dict[str, Table], bool]:
    """Return the run's tables, and True where they are manifests.

    Utterances of the published number and mean length stand in for an official corpus without a
    folder.

    Raises:
        UsageError: `data` of the hub, which a plan does not download, or for another corpus.
        MissingError: a corpus is not prepared and has no published size.
        InvalidDataError: a folder that the run would refuse, or other data than the card says.
    """
    home, data = session.home, session.data
    if data is not None and is_hub(data):
        raise UsageError(
            f"--plan downloads nothing: run 'slim-superb data prepare --track {card.track} --task "
            f"{card.name} --data {data}' first, or leave --data out for the published sizes"
        )
    if data is not None or card.track == OWN_TRACK or folders_are_known(card, home):
        prepare_corpora(card, session, partial=spec.limit is not None)
    with suppress(MissingError):
        if comes_by_table(card):  # another task may have prepared a part of the corpus
            prepare_corpora(card, replace(session, deb_dir=session.deb_dir or home / "packages"))
        return read_tables(card, home, spec), True
    tables = {}
    for split in card.tables:
        parts = card.parts(split)
        utterances = [item for part in parts for item in _expected_utterances(split, *part)]
        tables[split] = Table(tuple(utterances[: spec.limit]), (), "")
    return tables, False


def _expected_utterances(split: str, corpus: str, table: str) -> list[Utterance]:
    """Return utterances of the published number of a table, all of the mean length.

    Raises:
        MissingError: the corpus has no published sizes.
    """
    module = corpus_module(corpus)
    if not getattr(module, "OFFICIAL", False):
        raise MissingError(f"{corpus}: not prepared: run 'slim-superb data prepare'")
    layout = module.CORPUS.layout
    size = layout.sizes[table]
    num_samples = round(size.hours * 3600 * SAMPLE_RATE_HZ / size.utterances)
    return [
        Utterance(
            id=str(number),
            path=Path("none"),
            start=0,
            num_samples=num_samples,
            target=layout.targets[number % len(layout.targets)],
            speaker="",
            source="",
            key=f"{split} {number}",
        )
        for number in range(size.utterances)
    ]


def head_factory(resolved: Resolved) -> Callable[[int], Head]:
    """Return a function from D to the task's head; classes come from the training targets."""
    targets = [item.target for item in resolved.tables["train"].utterances]
    stride = resolved.loaded.upstream.stride
    return lambda size: make_head(resolved.card, size, stride, targets)


def _update_seconds(features: Features, seeds: Sequence[int]) -> float:
    """Return seconds of one update of one head, on random features of the run's shape.

    Heads that pool linearly are timed together, as they are trained; of other heads one is timed.
    """
    resolved, store = features.resolved, features.store
    upstream, recipe = resolved.loaded.upstream, resolved.card.recipe
    crops, rates = features.heard("train"), resolved.learning_rates()
    train = resolved.tables["train"].utterances[: recipe.batch_size]
    mean_samples = sum(item.num_samples for item in crops) // len(crops)
    frames = 1 if store.mode == "pooled" else max(1, upstream.num_frames(mean_samples))
    if not resolve(resolved.card.head).pools_linearly:
        rates, seeds = rates[:1], seeds[:1]
    with torch.random.fork_rng(devices=[]):
        source, device = Stream(upstream, train, store.mode, store.engine), store.engine.device
        grid = make_grid(source, head_factory(resolved), recipe, None, rates, seeds, device)
        encoded = grid.points[0].probe.head.encode([item.target for item in train])

        def timed(count: int, num_frames: int) -> float:
            shape = (source.num_layers, count, num_frames, source.hidden_size)
            lengths = torch.full((count,), num_frames)
            batch = Batch(torch.randn(shape).to(device), lengths.to(device))
            targets = take(encoded, range(count), device)
            for _ in range(2):  # the first warms up
                begin = time.perf_counter()
                grid.update(0, dict.fromkeys(seeds, batch), dict.fromkeys(seeds, targets))
            return (time.perf_counter() - begin) / len(grid.points)

        part = min(PART_UTTERANCES, len(train)), min(PART_FRAMES, frames)
        seconds = timed(*part) * len(train) * frames / (part[0] * part[1])
        if store.mode == "pooled" or seconds * len(grid.points) <= WHOLE_BATCH_SECONDS:
            seconds = timed(len(train), frames)
    return seconds


def _source_of(card: TaskCard) -> str:
    """Return where the sizes of corpora that are not prepared come from."""
    layout = corpus_module(card.corpus).CORPUS.layout
    return f"published sizes, all of the mean length (hours: {layout.hours_from})"
