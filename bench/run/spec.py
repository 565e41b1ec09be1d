"""The specification of a run, and everything it resolves to before the first computation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.api import SAMPLE_RATE_HZ, Utterance
from bench.config import TaskCard
from bench.errors import InvalidDataError, UsageError
from bench.identity import card_digest, heads_key, run_key, table_digest
from bench.load.loader import Loaded
from bench.records.origin import Inputs
from bench.records.record import UNVERIFIED
from bench.registry import OWN_TRACK, corpus_module, task_card
from bench.seeds import derive_seed
from bench.session import Session
from bench.sound.manifests import Trial, read_table, read_trials

SMOKE_STEPS = 2_000  # the most updates of a smoke test: the recipes of track superb take days
SMOKE_EVALUATIONS = 4  # of a smoke test, on dev


@dataclass(frozen=True)
class RunSpec:
    """The specification of one run.

    Attributes:
        upstream: `NAME[@VARIANT][+untrained[:SEED]]`.
        task, track: names.
        seed: of the head's initialisation, the order of batches and dropout.
        lr: one learning rate instead of the card's grid.
        shuffle_labels: permute the training targets: the control that a probe must beat. Dev is
            not permuted, which favours the control.
        limit: use only so many utterances of a split (a smoke test; no result).
        steps: train a head for at most so many updates (a smoke test; no result).
    """

    upstream: str
    task: str
    track: str = "quick"
    seed: int = 0
    lr: float | None = None
    shuffle_labels: bool = False
    limit: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: expected 0 or more")
        if self.lr is not None and not 0 < self.lr < float("inf"):
            raise UsageError(f"lr {self.lr}: expected a number above 0")
        if self.limit is not None and self.limit < 2:
            raise UsageError(f"limit {self.limit}: expected 2 or more")
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"steps {self.steps}: expected 1 or more")

    def content(self) -> dict[str, object]:
        """Return the fields for the key of the run; `steps`, newer than others, only where set."""
        fields = {**asdict(self), "ceiling": False}  # gone, but in the keys of the first records
        if self.steps is None:
            del fields["steps"]
        return fields

    def run_name(self) -> str:
        """Return the stem of the record's file: task, seed and every option of the run."""
        parts = [f"{self.task}-s{self.seed}"]
        parts += [f"lr{self.lr:g}"] if self.lr is not None else []
        parts += ["shuffled"] if self.shuffle_labels else []
        parts += [f"limit{self.limit}"] if self.limit is not None else []
        parts += [f"steps{self.steps}"] if self.steps is not None else []
        return "-".join(parts)


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
        """Seconds of audio, each sound once."""
        return seconds_of(list({item.key: item for item in self.utterances}.values()))


@dataclass(frozen=True)
class Resolved:
    """A run with everything that it depends on.

    Attributes:
        spec: the specification, with the name of the upstream that was really loaded.
        card: of the task.
        loaded: the upstream, its provenance and digest.
        tables: by split or condition.
        labels: source of the targets, as the card has it. `unverified` where an official corpus
            has another number of utterances than it was published with.
        left_out: bad rows of a user's corpus that are in no table.
    """

    spec: RunSpec
    card: TaskCard
    loaded: Loaded
    tables: dict[str, Table]
    labels: str
    left_out: int = 0

    def inputs(self) -> Inputs:
        """Return the digests of everything the result depends on."""
        return Inputs(
            upstream_sha256=self.loaded.digest,
            fingerprint=self.loaded.fingerprint,
            checkpoint_sha256=self.loaded.checkpoint_sha256,
            upstream_card_sha256=card_digest(self.loaded.card),
            task_card_sha256=card_digest(self.card),
            manifests={name: table.sha256 for name, table in self.tables.items()},
            left_out=self.left_out,
        )

    def key(self, engine: Mapping[str, str]) -> str:
        """Return the key of the run: runs with equal keys are the same run.

        Args:
            engine: of `bench.identity.engine_settings`.
        """
        return run_key(self.spec.content(), self.inputs().model_dump(), engine)

    def heads_key(self, engine: Mapping[str, str]) -> str:
        """Return the key of what the run writes while it is not done; `engine` as in `key`."""
        return heads_key(self.key(engine), self.loaded.fingerprint)

    def learning_rates(self) -> tuple[float, ...]:
        """Return the card's learning rates, or the one of the specification."""
        return self.card.recipe.lr_grid if self.spec.lr is None else (self.spec.lr,)


def run_card(spec: RunSpec) -> TaskCard:
    """Return the task card that a run is trained by: with fewer updates for a smoke test.

    Raises:
        UsageError: no such task or track, or an option of training for a task that trains nothing.
    """
    card = task_card(spec.task, spec.track)
    options = {"--lr": spec.lr, "--shuffle-labels": spec.shuffle_labels, "--steps": spec.steps}
    if not card.recipe.steps and any(options.values()):
        raise UsageError(f"task {card.name} trains nothing: no {', no '.join(options)}")
    recipe, steps = card.recipe, spec.steps or SMOKE_STEPS
    if (spec.steps is None and spec.limit is None) or recipe.steps <= steps:
        return card
    eval_every = max(1, min(recipe.eval_every, steps // SMOKE_EVALUATIONS))
    recipe = recipe.model_copy(update={"steps": steps, "eval_every": eval_every})
    return card.model_copy(update={"recipe": recipe})


def labels_of(card: TaskCard, home: Path) -> str:
    """Return the source of a run's targets: the card's, unless an official corpus is not whole."""
    modules = [corpus_module(name) for name in card.corpora]
    if any(getattr(m, "OFFICIAL", False) and m.differences(home) for m in modules):
        return UNVERIFIED
    return card.labels


def _limited(
    utterances: Sequence[Utterance], trials: Sequence[Trial], limit: int
) -> tuple[list[Utterance], list[Trial]]:
    """Return about `limit` utterances; with trials, those of the first pairs of each label."""
    if trials:
        half = max(1, limit // 2)
        same, different = ([t for t in trials if t.label == label] for label in (1, 0))
        pairs = same[:half] + different[:half]
        needed = {identifier for t in pairs for identifier in (t.enrolment, t.test)}
        return [item for item in utterances if item.id in needed], pairs
    step = max(1, len(utterances) // limit)  # a table may be sorted by speaker or class
    return list(utterances[::step])[:limit], []


def _shuffled(utterances: Sequence[Utterance], seed: int) -> list[Utterance]:
    """Return the utterances with permuted targets."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "shuffled labels"))
    order = torch.randperm(len(utterances), generator=generator).tolist()
    return [
        replace(item, target=utterances[other].target)
        for item, other in zip(utterances, order, strict=True)
    ]


def prepare_corpora(card: TaskCard, session: Session, *, partial: bool = True) -> None:
    """Prepare what a task needs of its corpora and what is not prepared yet.

    Args:
        card: of the task.
        session: gives `home`, `deb_dir`, and `data` (None: the folder of the last time).
        partial: accept another number of utterances than an official corpus has.

    Raises:
        UsageError: `data` for a task without an official corpus.
        MissingError, InvalidDataError: as the `prepare` of the corpora; a part of an official
            corpus, unless `partial`.
    """
    for name in card.corpora:
        module = corpus_module(name)
        if not getattr(module, "OFFICIAL", False):
            if session.data is not None:
                raise UsageError(
                    f"--data is for the official corpora of track superb (--track superb), not "
                    f"for {name} of track {card.track}"
                )
            needed = needed_tables(name, module, [card])
            module.prepare(session.home, deb_dir=session.deb_dir, **needed)
        else:
            module.prepare(session.home, data=session.data, partial=partial)


def needed_tables(name: str, module: Any, cards: Iterable[TaskCard]) -> dict[str, list[str]]:
    """Return the tables that tasks need of a corpus, as the argument of its `prepare` and `status`.

    Empty for a corpus that is always prepared as a whole (without `BY_TABLE`).
    """
    if not getattr(module, "BY_TABLE", False):
        return {}
    parts = {part for card in cards for split in card.tables for part in card.parts(split)}
    return {"tables": sorted(table for corpus, table in parts if corpus == name)}


def comes_by_table(card: TaskCard) -> bool:
    """Return whether a corpus of the task may hold the tables of other tasks only."""
    return any(getattr(corpus_module(name), "BY_TABLE", False) for name in card.corpora)


def folders_are_known(card: TaskCard, home: Path) -> bool:
    """Return whether all corpora of a task are official ones, prepared once from a folder."""
    modules = [corpus_module(name) for name in card.corpora]
    return all(
        getattr(module, "OFFICIAL", False) and module.CORPUS.last_root(home) for module in modules
    )


def read_split(card: TaskCard, split: str, home: Path) -> tuple[list[Utterance], list[Trial]]:
    """Read the utterances and trials of one split, from all its manifests.

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
    """Read the manifests of a task, limited and shuffled as the run says.

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
        tables[split] = Table(tuple(utterances), tuple(trials), table_digest(utterances, trials))
    return tables


def resolve_run(spec: RunSpec, card: TaskCard, loaded: Loaded, home: Path) -> Resolved:
    """Resolve a run whose corpora are prepared.

    Raises:
        MissingError, InvalidDataError: the corpus is not prepared or is damaged.
    """
    named = replace(spec, upstream=loaded.name.text())
    tables, module = read_tables(card, home, spec), corpus_module(card.corpus)
    left_out = module.left_out(home) if card.track == OWN_TRACK else 0
    return Resolved(named, card, loaded, tables, labels_of(card, home), left_out)
