"""The test set of one condition: which utterances, with which trials, and how they sound."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from bench.api import Utterance
from bench.audio import Wav
from bench.condition_file import Condition
from bench.data import Trial, digest, read_table, read_trials
from bench.distort import Distorter, make_distorter
from bench.passes import Sound, clean_sound
from bench.record import Record
from bench.registry import corpus_module, task_card
from bench.spec import RunSpec, Table, read_tables

TEST_SIDE = "@test"


@dataclass(frozen=True)
class Sources:
    """Where things are found.

    Attributes:
        home: folder of corpora, weights and features.
        deb_dir: folder of Debian packages, without apt.
        noise_dir: folder of noise corpora.
        weights: checkpoint file instead of the published one.
    """

    home: Path
    deb_dir: Path | None = None
    noise_dir: Path | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class ConditionSet:
    """One condition's test set, ready to pass the upstream.

    Attributes:
        utterances: with keys of their own where they are distorted.
        trials: of speaker verification.
        sound: gives samples.
        sha256: identity of what is measured.
    """

    utterances: tuple[Utterance, ...]
    trials: tuple[Trial, ...]
    sound: Sound
    sha256: str


def spec_of(record: Record) -> RunSpec:
    """The run of a record (but for a learning rate of its own)."""
    return RunSpec(
        record.upstream,
        record.task,
        record.track,
        record.seed,
        shuffle_labels=record.labels_shuffled,
        ceiling=record.ceiling,
        limit=record.limit,
    )


def condition_set(condition: Condition, record: Record, sources: Sources) -> ConditionSet:
    """The utterances of one condition, and how they sound."""
    card = task_card(record.task, record.track)
    if condition.corpus is not None:
        module = corpus_module(condition.corpus)
        corpus = module.prepare(sources.home, deb_dir=sources.deb_dir)
        name = f"{record.track}/{dict(condition.tables)[card.name]}"
        utterances, trials = tuple(read_table(corpus, name)), tuple(read_trials(corpus, name))
        return ConditionSet(utterances, trials, clean_sound, digest(utterances, trials))
    folder: Path = corpus_module(card.corpus).folder(sources.home)
    tables = read_tables(card, folder, spec_of(record))
    table = tables[condition.table or "clean"]
    if condition.table is not None:
        return ConditionSet(table.utterances, table.trials, clean_sound, table.sha256)
    distorter = make_distorter(
        condition,
        card.corpus,
        home=sources.home,
        deb_dir=sources.deb_dir,
        noise_dir=sources.noise_dir,
    )
    identity = json.dumps([table.sha256, distorter.sha256(), condition.test_only])
    sha256 = hashlib.sha256(identity.encode()).hexdigest()
    if condition.test_only:
        return _with_clean_enrolments(table, distorter, sha256)
    renamed = tuple(distorter.renamed(item) for item in table.utterances)
    return ConditionSet(renamed, table.trials, distorter, sha256)


def _with_clean_enrolments(table: Table, distorter: Distorter, sha256: str) -> ConditionSet:
    """Enrolments as they are, the other side of every trial distorted, under an id of its own."""
    by_id = {item.id: item for item in table.utterances}
    enrolments = {trial.enrolment for trial in table.trials}
    tests = {trial.test for trial in table.trials}
    clean = [by_id[name] for name in by_id if name in enrolments]
    distorted = [distorter.renamed(by_id[name]) for name in by_id if name in tests]
    keys = {item.key for item in distorted}

    def sound(item: Utterance) -> Wav:
        return distorter(item) if item.key in keys else clean_sound(item)

    moved = [replace(item, id=item.id + TEST_SIDE) for item in distorted]
    trials = tuple(trial._replace(test=trial.test + TEST_SIDE) for trial in table.trials)

    def sound_by_id(item: Utterance) -> Wav:
        return sound(replace(item, id=item.id.removesuffix(TEST_SIDE)))

    return ConditionSet((*clean, *moved), trials, sound_by_id, sha256)
