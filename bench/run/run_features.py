"""The features of a run: splits that are stored, splits that are streamed, the upstream pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.config import Recipe
from bench.errors import InvalidDataError, UsageError
from bench.features.crops import cropped, crops_of
from bench.features.inventory import make_room
from bench.features.locks import LOCKS, held
from bench.features.rows import MOMENTS_REVISION, Source, moments
from bench.features.store import FeatureStore, bytes_per_utterance
from bench.features.stream import Stream
from bench.features.tensor_file import read_sealed, write_sealed
from bench.features.weighted_sum import Moments
from bench.identity import moments_key, pass_lock
from bench.progress import bar, say, warn
from bench.run.spec import Resolved, seconds_of
from bench.session import GB, STORE_GB, Session


def explored_steps(recipe: Recipe, num_rates: int) -> int:
    """Return the updates at each learning rate before the best is trained in full; 0: none."""
    part = recipe.explore or (1.0 if recipe.selection_seeds else 0.0)
    if num_rates == 1 or not part:
        return 0
    return max(1, round(recipe.steps * part))


@dataclass(frozen=True)
class Features:
    """The features of a run, each split from the store or streamed from the upstream.

    Attributes:
        resolved: the run.
        store: the store of its upstream and mode.
        store_gb: budget of the whole store, in units of 10^9 bytes.
    """

    resolved: Resolved
    store: FeatureStore
    store_gb: float = STORE_GB

    def stored(self) -> tuple[str, ...]:
        """Return the splits whose features are stored: as many as fit the budget, small ones first.

        This depends on sizes and budget alone, so that a repeated run does the same. `train` is
        last.
        """
        upstream, mode = self.resolved.loaded.upstream, self.store.mode
        sizes = {
            name: sum(
                bytes_per_utterance(upstream, mode, item.num_samples) for item in self.heard(name)
            )
            for name in self.resolved.tables
        }
        splits, room = [], self.store_gb * GB
        for name in sorted(sizes, key=lambda name: (name == "train", sizes[name])):
            if sizes[name] <= room:
                splits.append(name)
                room -= sizes[name]
        return tuple(splits)

    def wanted(self) -> list[Utterance]:
        """Return the utterances of all stored splits."""
        return [item for name in self.stored() for item in self.heard(name)]

    def crops(self, split: str) -> list[list[Utterance]]:
        """Return the sounds that pass the upstream for each utterance: itself, or its crops."""
        rule, utterances = self.resolved.card.recipe.crops, self.resolved.tables[split].utterances
        if rule is None or split != "train":
            return [[item] for item in utterances]
        return [crops_of(item, rule) for item in utterances]

    def heard(self, split: str) -> list[Utterance]:
        """Return all sounds that pass the upstream for a split."""
        return [crop for crops in self.crops(split) for crop in crops]

    def source(self, split: str) -> Source:
        """Return the features of one split."""
        crops, source = self.crops(split), self._source(split)
        return source if len(source) == len(crops) else cropped(crops, source)

    def _source(self, split: str) -> Source:
        """Return the features of all sounds of a split."""
        if split in self.stored():
            return self.store.read(self.heard(split))
        if any(item.part for item in self.heard(split)):
            raise UsageError(
                f"task {self.resolved.card.name}: its features are parts of utterances, which must "
                f"be stored: set --store-gb higher than {self.store_gb:g}"
            )
        upstream = self.resolved.loaded.upstream
        return Stream(upstream, self.heard(split), self.store.mode, self.store.engine)

    def seconds_of_pass(self, split: str) -> float:
        """Return the seconds of audio in one epoch: one crop of each utterance of a split."""
        crops = self.heard(split)
        num_utterances = len(self.resolved.tables[split].utterances)
        return seconds_of(crops) * num_utterances / len(crops)

    def passes(self, num_seeds: int) -> dict[str, int]:
        """Return the number of upstream passes over each streamed split.

        `train` passes once an epoch and once for the moments, `dev` at every evaluation, a test
        set for every seed; the heads of a grid share their passes. Means over time of whole
        utterances are one group (`bench.probe.schedule`), which stays in memory for all epochs.
        """
        recipe, stored = self.resolved.card.recipe, self.stored()
        per_epoch = math.ceil(len(self.resolved.tables["train"].utterances) / recipe.batch_size)
        part = explored_steps(recipe, len(self.resolved.learning_rates()))
        trainings = [steps for steps in (part, recipe.steps) if steps]
        one_group = self.store.mode == "pooled" and recipe.crops is None
        epochs = sum(1 if one_group else math.ceil(steps / per_epoch) for steps in trainings)
        counts = {
            "train": epochs + recipe.standardize,
            "dev": sum(math.ceil(steps / recipe.eval_every) for steps in trainings),
        }
        return {
            name: counts.get(name, num_seeds) for name in self.resolved.tables if name not in stored
        }

    def moments_file(self) -> Path:
        """Return the file of the moments of the training features."""
        heard = self.heard("train")
        keys = (f"{item.key} {item.part}" if item.part else item.key for item in heard)
        name = moments_key(MOMENTS_REVISION, keys)
        folder = self.store.folder
        return folder.with_name(f"{folder.name}-moments") / f"{name}.sealed"

    def moments(self) -> Moments | None:
        """Return the moments of the training features, or None where the recipe has no z-scores.

        They are written to disk, because they take a pass.
        """
        if not self.resolved.card.recipe.standardize:
            return None
        path = self.moments_file()
        try:
            if path.exists():
                return Moments(*read_sealed(path))
        except InvalidDataError as error:
            warn(f"{error}; they are computed again")
        computed = moments(self._source("train"))
        write_sealed(tuple(computed), path)
        return computed


def features_of(resolved: Resolved, session: Session) -> Features:
    """Return the features of a run, in the store of a session."""
    loaded, engine = resolved.loaded, session.engine
    name, mode = loaded.name.text(), resolved.card.features
    store = FeatureStore(session.features, loaded.key, mode, engine=engine, name=name)
    return Features(resolved, store, session.store_gb)


def extract(features: Features) -> None:
    """Pass every utterance of the stored splits that is missing in the store.

    Shards in the store are first read and compared with their digests; a broken shard is named,
    removed and computed again. One process at a time does a pass; a second process waits, and then
    has nothing left to do.

    Raises:
        MissingError, InvalidDataError: as `FeatureStore.extract`.
    """
    store = features.store
    with held(store.root / LOCKS, [pass_lock(store.folder)]):
        store.refresh()
        for line in store.drop_broken(features.wanted()):
            warn(f"store: {line}")
        _extract(features)


def _extract(features: Features) -> None:
    """Pass the utterances of the stored splits that are missing in the store."""
    store, upstream = features.store, features.resolved.loaded.upstream
    wanted = features.wanted()
    missing = store.missing(wanted)
    if not missing:
        return
    need = store.missing_bytes(upstream, missing)
    removed = make_room(store.root, need, features.store_gb, store.shards_of(wanted))
    if removed:
        say(f"store: removed {removed / GB:.2f} GB of the least recently used features")
    total = math.ceil(seconds_of(missing))
    with bar(total=total, label="upstream pass (audio)", unit="s") as progress:

        def on_utterance(item: Utterance) -> None:
            progress.update(item.num_samples / SAMPLE_RATE_HZ)

        store.extract(upstream, missing, on_utterance)
