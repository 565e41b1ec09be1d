"""The features of a run: what is kept of them, what streams, and the pass that makes them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

from bench.api import Utterance
from bench.errors import InvalidDataError
from bench.features.crops import cropped, crops_of
from bench.features.inventory import GB, make_room
from bench.features.locks import LOCKS, held
from bench.features.passes import Stream
from bench.features.rows import MOMENTS_REVISION, Source, moments
from bench.features.store import FeatureStore, bytes_per_utterance
from bench.features.tensor_file import read_sealed, write_sealed
from bench.features.weighted_sum import Moments
from bench.progress import bar, say, warn
from bench.run.spec import Resolved
from bench.session import STORE_GB


@dataclass(frozen=True)
class Features:
    """Where the features of a run come from: kept ones, or the upstream again and again.

    Attributes:
        resolved: the run.
        store: of its upstream and mode.
        store_gb: budget of the whole store, in units of 10^9 bytes.
    """

    resolved: Resolved
    store: FeatureStore
    store_gb: float = STORE_GB

    def kept(self) -> tuple[str, ...]:
        """The splits whose features are kept: the small ones first, as many as fit the budget.

        A function of sizes and budget alone, so that a run made again does the same.
        """
        upstream, mode = self.resolved.loaded.upstream, self.store.mode
        sizes = {
            name: sum(
                bytes_per_utterance(upstream, mode, item.num_samples) for item in self.heard(name)
            )
            for name in self.resolved.tables
        }
        found, room = [], self.store_gb * GB
        for name in sorted(sizes, key=lambda name: (name == "train", sizes[name])):
            if sizes[name] <= room:
                found.append(name)
                room -= sizes[name]
        return tuple(found)

    def wanted(self) -> list[Utterance]:
        """The utterances of all splits that are kept."""
        return [item for name in self.kept() for item in self.heard(name)]

    def crops(self, split: str) -> list[list[Utterance]]:
        """What passes the upstream for each utterance of a split: itself, or crops of it."""
        rule, utterances = self.resolved.card.recipe.crops, self.resolved.tables[split].utterances
        if rule is None or split != "train":
            return [[item] for item in utterances]
        return [crops_of(item, rule) for item in utterances]

    def heard(self, split: str) -> list[Utterance]:
        """Everything that passes the upstream for a split."""
        return [crop for crops in self.crops(split) for crop in crops]

    def source(self, split: str) -> Source:
        """The features of one split."""
        crops, source = self.crops(split), self._source(split)
        return source if len(source) == len(crops) else cropped(crops, source)

    def _source(self, split: str) -> Source:
        """The features of everything that passes the upstream for a split."""
        if split in self.kept():
            return self.store.read(self.heard(split))
        upstream = self.resolved.loaded.upstream
        return Stream(upstream, self.heard(split), self.store.mode, self.store.engine)

    def passes(self) -> dict[str, int]:
        """How often the upstream runs over each split that is not kept.

        Once an epoch and once for the moments over `train`, at every evaluation over `dev`; means
        over time are so small that they stay in memory after one pass.
        """
        recipe, kept = self.resolved.card.recipe, self.kept()
        per_epoch = math.ceil(len(self.resolved.tables["train"].utterances) / recipe.batch_size)
        often = {
            "train": math.ceil(recipe.steps / per_epoch) + recipe.standardize,
            "dev": math.ceil(recipe.steps / recipe.eval_every),
        }
        pooled = self.store.mode == "pooled"
        return {
            name: 1 if pooled else often.get(name, 1)
            for name in self.resolved.tables
            if name not in kept
        }

    def moments(self) -> Moments | None:
        """Of the training features, when the recipe z-scores them; kept, for they take a pass."""
        if not self.resolved.card.recipe.standardize:
            return None
        keys = [item.key for item in self.heard("train")]
        name = hashlib.sha256(json.dumps([MOMENTS_REVISION, keys]).encode()).hexdigest()[:24]
        path = self.store.folder.with_name(f"{self.store.folder.name}-moments") / f"{name}.sealed"
        try:
            if path.exists():
                return Moments(*read_sealed(path))
        except InvalidDataError as error:
            warn(f"{error}; they are computed again")
        found = moments(self._source("train"))
        write_sealed(tuple(found), path)
        return found


def extract(features: Features) -> None:
    """Pass every utterance of the run that is to be kept, and is not, through the upstream.

    Shards in the store are read and compared with their digests first; a broken one is named,
    removed and made again. One process at a time does a pass; another that wants the same waits,
    and finds it done.

    Raises:
        MissingError, InvalidDataError: as `FeatureStore.extract`.
    """
    store = features.store
    with held(store.root / LOCKS, [f"pass {store.digest[:24]} {store.folder.name}"]):
        store.refresh()
        for line in store.drop_broken(features.wanted()):
            warn(f"store: {line}")
        _extract(features)


def _extract(features: Features) -> None:
    """Pass those utterances that are not kept."""
    store, upstream = features.store, features.resolved.loaded.upstream
    wanted = features.wanted()
    missing = store.missing(wanted)
    if not missing:
        return
    need = sum(bytes_per_utterance(upstream, store.mode, item.num_samples) for item in missing)
    removed = make_room(store.root, need, features.store_gb, store.shards_of(wanted))
    if removed:
        say(f"store: removed {removed / GB:.2f} GB of the least recently used features")
    seconds = sum(item.num_samples for item in missing) / 16_000
    with bar(total=math.ceil(seconds), label="upstream pass (audio)", unit="s") as progress:

        def on_utterance(item: Utterance) -> None:
            progress.update(item.num_samples / 16_000)

        store.extract(upstream, missing, on_utterance)
