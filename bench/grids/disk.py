"""How much disk the features of a grid take: from manifests and the shapes of upstreams alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.api import Utterance
from bench.conditions.catalogue import TEST_ONLY
from bench.errors import UserError
from bench.features.inventory import shards
from bench.features.store import FeatureStore, bytes_per_utterance
from bench.grids.graph import Graph
from bench.load.catalog import find_entry
from bench.load.loader import Loaded, load_upstream
from bench.names import UpstreamName, parse_upstream_name
from bench.registry import task_card
from bench.run.dry_run import planned_tables
from bench.run.run_features import Features
from bench.run.spec import Resolved, RunSpec, limited_card
from bench.session import Session


@dataclass(frozen=True)
class Disk:
    """Bytes of kept features.

    Attributes:
        total: of all that the grid keeps, under conditions too.
        there: how much of it is kept already.
        unknown: a line for each upstream whose size cannot be told, with the reason.
    """

    total: int
    there: int
    unknown: tuple[str, ...] = ()

    def line(self) -> str:
        """For people."""
        known = f"  disk: {self.total / 1e9:.2f} GB of features, {self.there / 1e9:.2f} GB there"
        return known + "".join(f"; not known for {text}" for text in self.unknown)


def disk_of(graph: Graph, home: Path) -> Disk:
    """The disk that a grid's features take, whatever of it is done.

    Upstreams are built with random weights, which have the size of any others; nothing is
    downloaded. Where a corpus is not prepared, the sizes are those that were published.

    Args:
        graph: of the grid.
        home: folder of corpora and features.
    """
    spec = graph.spec
    kept: dict[str, int] = {}
    for shard in shards(home / "features"):
        kept[shard.upstream] = kept.get(shard.upstream, 0) + shard.size_bytes
    total, there, unknown = 0, 0, []
    for upstream in spec.upstreams:
        name = parse_upstream_name(upstream)
        try:
            loaded = _shape(name, [Path(card) for card in spec.cards])
            size = sum(_bytes(graph, loaded, home).values())
        except UserError as error:
            unknown.append(f"{upstream} ({error})")
            continue
        total += size
        there += min(size, kept.get(name.text(), 0))
    return Disk(total, there, tuple(unknown))


def _shape(name: UpstreamName, cards: Sequence[Path]) -> Loaded:
    """An upstream of the same shape, which needs no file of weights.

    Raises:
        UserError: it cannot be built without them.
    """
    has_weights = name.kind is not None or find_entry(name, cards).card.provenance != "none"
    random = name.untrained_seed is None and has_weights
    return load_upstream((name.untrained() if random else name).text(), Session(cards=cards))


def _bytes(graph: Graph, loaded: Loaded, home: Path) -> dict[tuple[str, str], int]:
    """Bytes of each sound, by mode and key: tasks share what they keep of it.

    Raises:
        MissingError: a corpus that has no published size and is not prepared.
    """
    spec, sizes = graph.spec, dict[tuple[str, str], int]()
    for task in spec.tasks:
        card = task_card(task, spec.track)
        card = card if spec.limit is None else limited_card(card)
        run = RunSpec(loaded.name.text(), task, spec.track, limit=spec.limit)
        tables, _ = planned_tables(card, home, run)
        store = FeatureStore(home / "features", loaded.digest, card.features)
        features = Features(Resolved(run, card, loaded, tables), store, spec.store_gb)
        conditions = {c.condition for c in graph.cells if c.tasks == (task,) and c.condition}
        tests = {name.removesuffix(TEST_ONLY) for name in conditions}
        wanted = [("", features.wanted())]
        wanted += [(name, list(tables["clean"].utterances)) for name in tests]
        for name, items in wanted:
            _add(sizes, name, items, features)
    return sizes


def _add(
    sizes: dict[tuple[str, str], int], name: str, items: Sequence[Utterance], features: Features
) -> None:
    """Count some utterances in, each sound once; frames bring their means along."""
    upstream, mode = features.resolved.loaded.upstream, features.store.mode
    for item in items:
        sizes[mode, f"{name} {item.key}"] = bytes_per_utterance(upstream, mode, item.num_samples)
        if mode == "frames":
            means = bytes_per_utterance(upstream, "pooled", item.num_samples)
            sizes["pooled", f"{name} {item.key}"] = means
