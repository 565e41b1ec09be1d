"""The test set of one condition: which utterances, with which trials, and how they sound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from bench.api import Utterance
from bench.conditions.catalogue import Condition
from bench.conditions.distorter import Distorter, make_distorter
from bench.config import TaskCard
from bench.features.passes import Sound, clean_sound
from bench.records.record import Record
from bench.registry import corpus_module, task_card
from bench.run.spec import RunSpec, Table, prepare_corpora, read_tables
from bench.session import Session
from bench.sound.audio import Wav
from bench.sound.manifests import Trial, digest, read_table, read_trials

TEST_SIDE = "@test"


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


class References(NamedTuple):
    """What is predicted and judged under a condition, without its sound.

    Attributes:
        utterances: the distorted side of trials has ids of its own where enrolments stay clean.
        trials: of speaker verification.
        sha256: identity of the table.
    """

    utterances: tuple[Utterance, ...]
    trials: tuple[Trial, ...]
    sha256: str


def references(
    condition: Condition, record: Record, home: Path, tables: Mapping[str, Table] | None = None
) -> References:
    """The utterances and trials of one condition; the corpora must be prepared.

    Args:
        condition: which one.
        record: whose task, track and limits.
        home: folder of corpora.
        tables: of the record's task, when they are read already.

    Raises:
        MissingError, InvalidDataError: a corpus is not prepared or is damaged.
    """
    card = task_card(record.task, record.track)
    if condition.corpus is not None:
        corpus: Path = corpus_module(condition.corpus).folder(home)
        name = f"{record.track}/{dict(condition.tables)[card.name]}"
        utterances, trials = tuple(read_table(corpus, name)), tuple(read_trials(corpus, name))
        return References(utterances, trials, digest(utterances, trials))
    if tables is None:
        tables = read_tables(card, home, spec_of(record))
    table = tables[condition.table or "clean"]
    if condition.test_only:
        return _with_clean_enrolments(table)
    return References(table.utterances, table.trials, table.sha256)


def _with_clean_enrolments(table: Table) -> References:
    """Enrolments as they are, the other side of every trial once more under an id of its own."""
    enrolments = {trial.enrolment for trial in table.trials}
    tests = {trial.test for trial in table.trials}
    clean = [item for item in table.utterances if item.id in enrolments]
    moved = [replace(item, id=item.id + TEST_SIDE) for item in table.utterances if item.id in tests]
    trials = tuple(trial._replace(test=trial.test + TEST_SIDE) for trial in table.trials)
    return References((*clean, *moved), trials, table.sha256)


def condition_set(condition: Condition, record: Record, session: Session) -> ConditionSet:
    """The utterances of one condition, and how they sound; corpora and noise are fetched.

    Raises:
        MissingError, InvalidDataError: a corpus or noise cannot be had.
    """
    card = task_card(record.task, record.track)
    if condition.corpus is None:
        prepare_corpora(card, session)
    else:
        corpus_module(condition.corpus).prepare(session.home, deb_dir=session.deb_dir)
    found = references(condition, record, session.home)
    if not condition.steps:
        return ConditionSet(found.utterances, found.trials, clean_sound, found.sha256)
    distorter = _distorter(condition, card, session)

    def renamed(item: Utterance) -> Utterance:
        if condition.test_only and not item.id.endswith(TEST_SIDE):
            return item
        return replace(distorter.renamed(_itself(item)), id=item.id)

    def sound(item: Utterance) -> Wav:
        if condition.test_only and not item.id.endswith(TEST_SIDE):
            return clean_sound(item)
        return distorter(_itself(item))

    sha256 = _identity(found, distorter)
    return ConditionSet(tuple(map(renamed, found.utterances)), found.trials, sound, sha256)


def identified(
    condition: Condition, record: Record, session: Session, tables: Mapping[str, Table]
) -> References:
    """The utterances of one condition under the identity that its records name, without sound.

    Args:
        condition: which one.
        record: whose task, track and limits.
        session: where things are; the corpora of the task must be prepared.
        tables: of the record's task.

    Raises:
        MissingError, InvalidDataError: another corpus, or noise, cannot be had.
    """
    if condition.corpus is not None:
        corpus_module(condition.corpus).prepare(session.home, deb_dir=session.deb_dir)
    found = references(condition, record, session.home, tables)
    if not condition.steps:
        return found
    distorter = _distorter(condition, task_card(record.task, record.track), session)
    return found._replace(sha256=_identity(found, distorter))


def _distorter(condition: Condition, card: TaskCard, session: Session) -> Distorter:
    return make_distorter(
        condition,
        card.corpus,
        home=session.home,
        deb_dir=session.deb_dir,
        noise_dir=session.noise_dir,
    )


def _identity(found: References, distorter: Distorter) -> str:
    """Of a distorted test set: of its table, of what distorts it, and of which side is."""
    identity = json.dumps([found.sha256, distorter.sha256(), distorter.condition.test_only])
    return hashlib.sha256(identity.encode()).hexdigest()


def _itself(item: Utterance) -> Utterance:
    """An utterance under its own id, which decides how it is distorted."""
    return replace(item, id=item.id.removesuffix(TEST_SIDE))
