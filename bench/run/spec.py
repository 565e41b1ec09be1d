"""What a run is asked to do, and what it resolves to: everything before the first computation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.config import Recipe, TaskCard, UpstreamCard
from bench.errors import InvalidDataError, UsageError
from bench.load.loader import Loaded
from bench.records.record import PROTOCOL, Inputs
from bench.registry import BORDER, corpus_module, task_card
from bench.schema import Frozen
from bench.seeds import derive_seed
from bench.session import Session
from bench.sound.manifests import Trial, digest, read_table, read_trials


@dataclass(frozen=True)
class RunSpec:
    """One run as asked for.

    Attributes:
        upstream: `NAME[@VARIANT][+untrained[:SEED]]`.
        task, track: names.
        seed: of the head's initialisation, the order of batches and dropout.
        lr: instead of the card's grid.
        shuffle_labels: permute the training targets: the control that a probe must beat. Dev stays
            true, which favours the control.
        ceiling: replace the protocol's head by a small encoder trained end to end, on the features
            of a filter bank: whether the task can be learned at all. No result.
        limit: keep only so many utterances a split (a smoke test; no result).
    """

    upstream: str
    task: str
    track: str = "quick"
    seed: int = 0
    lr: float | None = None
    shuffle_labels: bool = False
    ceiling: bool = False
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: expected 0 or more")
        if self.lr is not None and not 0 < self.lr < float("inf"):
            raise UsageError(f"lr {self.lr}: expected a number above 0")
        if self.limit is not None and self.limit < 2:
            raise UsageError(f"limit {self.limit}: expected 2 or more")


def seconds_of(utterances: Sequence[Utterance]) -> float:
    """Return the seconds of audio in some utterances."""
    return sum(item.num_samples for item in utterances) / SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Table:
    """One manifest of a run, after its limit and its shuffling of labels.

    Attributes:
        utterances: in manifest order.
        trials: pairs for speaker verification, else empty.
        sha256: identity of the content.
    """

    utterances: tuple[Utterance, ...]
    trials: tuple[Trial, ...]
    sha256: str

    @property
    def seconds(self) -> float:
        """Seconds of audio."""
        return seconds_of(self.utterances)


@dataclass(frozen=True)
class Resolved:
    """A run with everything that it depends on at hand.

    Attributes:
        spec: as asked for, the upstream under the name that was really loaded.
        card: of the task.
        loaded: the upstream, its provenance and digest.
        tables: by split or condition.
    """

    spec: RunSpec
    card: TaskCard
    loaded: Loaded
    tables: dict[str, Table]

    def inputs(self) -> Inputs:
        """Digests of everything the result depends on."""
        return Inputs(
            upstream_sha256=self.loaded.digest,
            checkpoint_sha256=self.loaded.checkpoint_sha256,
            upstream_card_sha256=card_digest(self.loaded.card),
            task_card_sha256=card_digest(self.card),
            manifests={name: table.sha256 for name, table in self.tables.items()},
        )

    def digest(self) -> str:
        """Identity of the run (sha256): equal digests are the same run."""
        content = {
            "protocol": PROTOCOL,
            "spec": asdict(self.spec),
            "inputs": self.inputs().model_dump(),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def learning_rates(self) -> tuple[float, ...]:
        """The grid: the card's, or the one rate that was asked for."""
        return self.card.recipe.lr_grid if self.spec.lr is None else (self.spec.lr,)

    def run_name(self) -> str:
        """Stem of the record's file: task and seed, and whatever makes the run a special one."""
        parts = [f"{self.card.name}-s{self.spec.seed}"]
        parts += [f"lr{self.spec.lr:g}"] if self.spec.lr is not None else []
        parts += ["shuffled"] if self.spec.shuffle_labels else []
        parts += ["ceiling"] if self.spec.ceiling else []
        parts += [f"limit{self.spec.limit}"] if self.spec.limit is not None else []
        return "-".join(parts)


def ceiling_card(card: TaskCard) -> TaskCard:
    """The task with a small encoder trained end to end in place of the protocol's linear head.

    Raises:
        UsageError: not a classification task.
    """
    if card.metrics[0] != "accuracy":
        raise UsageError(f"task {card.name}: only classification has a ceiling of its own")
    recipe = card.recipe.model_copy(
        update={"lr_grid": (1e-3,), "steps": card.recipe.steps, "eval_every": 100}
    )
    return card.model_copy(
        update={
            "head": BORDER["ceiling head"],
            "head_conf": {},
            "features": "frames",
            "recipe": recipe,
        }
    )


# A smoke test of a recipe of more updates than this makes only so many.
SMOKE_STEPS = 2_000


def limited_card(card: TaskCard) -> TaskCard:
    """The task as a run with `limit` trains it: full recipes of track superb take days."""
    recipe = card.recipe
    if recipe.steps <= SMOKE_STEPS:
        return card
    update = {"steps": SMOKE_STEPS, "eval_every": min(recipe.eval_every, SMOKE_STEPS // 4)}
    return card.model_copy(update={"recipe": recipe.model_copy(update=update)})


def run_card(spec: RunSpec) -> TaskCard:
    """Return the task card that a run is trained by: that of the ceiling or of a limit where set.

    Raises:
        UsageError: no such task or track, or a ceiling of a task that is no classification.
    """
    card = task_card(spec.task, spec.track)
    card = ceiling_card(card) if spec.ceiling else card
    return card if spec.limit is None else limited_card(card)


def explored_steps(recipe: Recipe, num_rates: int) -> int:
    """Return the updates at each learning rate before the best is trained in full; 0: none."""
    if recipe.explore is None or num_rates == 1:
        return 0
    return max(1, round(recipe.steps * recipe.explore))


# What a card says for people: a better wording is not another experiment. Nor are learning rates
# that only a user who asks for them gets.
WORDS = {"title", "notes", "paper", "license", "deviations", "source", "labels"}
WORDS |= {"reported", "macs_rule", "differs", "lr_presets"}
# Nor what only says where to look: the tap by its other name, the page where the file is found,
# about how large it is, which other files hold the same (a record has the digest of the one used),
# which commands train it again.
NOT_HASHED: Any = {"checkpoint": {"page", "size_mb", "known_sha256", "made_by"}}
EXCLUDED: Any = dict.fromkeys(sorted(WORDS | {"paper_tap"}), True) | NOT_HASHED

# Keys that came after the first records: left out where a card does not use them.
LATER: dict[str, Any] = {"builder": None, "args": {}}


def card_digest(card: Frozen) -> str:
    """Identity of what a card makes happen: sha256 of its canonical JSON without the words."""
    content = card.model_dump(mode="json", exclude=EXCLUDED)
    if isinstance(card, UpstreamCard) and card.checkpoint is not None and card.checkpoint.made_by:
        content["checkpoint"]["shipped"] = True  # it was, when its records were made
    kept = {key: value for key, value in content.items() if LATER.get(key, ...) != value}
    text = json.dumps(kept, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _limited(
    utterances: Sequence[Utterance], trials: Sequence[Trial], limit: int
) -> tuple[list[Utterance], list[Trial]]:
    """The first `limit` utterances; for trials, those that the first pairs of each kind need."""
    if trials:
        half = max(1, limit // 2)
        kept = [t for t in trials if t.label == 1][:half] + [t for t in trials if not t.label][
            :half
        ]
        needed = {identifier for t in kept for identifier in (t.enrolment, t.test)}
        return [item for item in utterances if item.id in needed], kept
    step = max(1, len(utterances) // limit)  # spread over the table: speakers and classes come on
    return list(utterances[::step])[:limit], []


def _shuffled(utterances: Sequence[Utterance], seed: int) -> list[Utterance]:
    """The utterances with their targets permuted."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "shuffled labels"))
    order = torch.randperm(len(utterances), generator=generator).tolist()
    return [
        replace(item, target=utterances[other].target)
        for item, other in zip(utterances, order, strict=True)
    ]


def prepare_corpora(card: TaskCard, session: Session, *, partial: bool = True) -> None:
    """Prepare what a task needs, unless it is there.

    Args:
        card: of the task.
        session: gives `home`, `deb_dir`, and `data` (None for the folder of last time).
        partial: part of an official corpus is enough.

    Raises:
        UsageError: `data` for a task that has no official corpus.
        MissingError, InvalidDataError: as the `prepare` of the corpora; part of an official corpus
            where all of it is needed.
    """
    for name in card.corpora:
        module = corpus_module(name)
        if not getattr(module, "OFFICIAL", False):
            if session.data is not None:
                raise UsageError(f"--data is for official corpora; {name} is none (track superb)")
            module.prepare(session.home, deb_dir=session.deb_dir)
            continue
        module.prepare(session.home, data=session.data)
        differences = [] if partial else module.differences(session.home)
        if differences:
            raise InvalidDataError(
                f"{differences[0]}: unpack it again ('slim-superb data status --track "
                f"{card.track}' says more); --limit N runs on what there is, as a smoke test"
            )


def read_split(card: TaskCard, split: str, home: Path) -> tuple[list[Utterance], list[Trial]]:
    """The utterances and trials of one split, from all manifests that make it up.

    Raises:
        MissingError, InvalidDataError: a corpus is not prepared or is damaged, or two of them use
            one id.
    """
    utterances: list[Utterance] = []
    trials: list[Trial] = []
    for name, table in card.parts(split):
        corpus: Path = corpus_module(name).folder(home)
        utterances += read_table(corpus, table)
        trials += read_trials(corpus, table)
    if len({item.id for item in utterances}) < len(utterances):
        raise InvalidDataError(f"task {card.name}, {split}: two of its manifests share an id")
    return utterances, trials


def read_tables(card: TaskCard, home: Path, spec: RunSpec) -> dict[str, Table]:
    """The manifests of a task, as one run sees them.

    Raises:
        MissingError, InvalidDataError: the corpus is not prepared or is damaged.
    """
    tables = {}
    for split in card.tables:
        utterances, trials = read_split(card, split, home)
        if spec.limit is not None:
            utterances, trials = _limited(utterances, trials, spec.limit)
        if spec.shuffle_labels and split == "train":
            utterances = _shuffled(utterances, spec.seed)
        tables[split] = Table(tuple(utterances), tuple(trials), digest(utterances, trials))
    return tables


def resolve_run(spec: RunSpec, card: TaskCard, loaded: Loaded, home: Path) -> Resolved:
    """Bring together what a run depends on; the corpus must be prepared.

    Raises:
        MissingError, InvalidDataError: the corpus is not prepared or is damaged.
    """
    named = replace(spec, upstream=loaded.name.text())
    return Resolved(named, card, loaded, read_tables(card, home, spec))
