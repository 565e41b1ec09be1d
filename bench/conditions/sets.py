"""The test set of one condition: its utterances, its trials, and how they sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from bench.api import Utterance
from bench.conditions.catalogue import Condition
from bench.conditions.distorter import Distorter, make_distorter
from bench.config import TaskCard
from bench.features.passes import Sound, clean_sound
from bench.identity import condition_set_digest, table_digest
from bench.paths import disk_errors
from bench.records.record import Record
from bench.registry import corpus_module, task_card
from bench.run.artifacts import spec_of
from bench.run.spec import Table, prepare_corpora, read_tables
from bench.session import Session
from bench.sound.audio import Wav
from bench.sound.manifests import read_table, read_trials

TEST_SIDE = "@test"
PART = "#"
FULL_SCALE = 32_768.0


@dataclass(frozen=True)
class ConditionSet(Table):
    """The test set of one condition, ready to pass the upstream.

    Its distorted utterances have keys of their own; `sha256` also covers the distortion.

    Attributes:
        sound: returns the samples of an utterance.
    """

    sound: Sound


def references(
    condition: Condition, record: Record, home: Path, tables: Mapping[str, Table] | None = None
) -> Table:
    """Return the utterances and trials of one condition; the corpora must be prepared.

    The distorted side of trials has new ids where enrolments stay clean.

    Args:
        condition: any of the catalogue.
        record: gives task, track and limits.
        home: folder of corpora.
        tables: of the record's task; None reads them.

    Raises:
        MissingError, InvalidDataError: a corpus is not prepared or is damaged.
    """
    card = task_card(record.task, record.track)
    if condition.corpus is not None:
        corpus: Path = corpus_module(condition.corpus).folder(home)
        name = f"{record.track}/{dict(condition.tables)[card.name]}"
        utterances, trials = tuple(read_table(corpus, name)), tuple(read_trials(corpus, name))
        return Table(utterances, trials, table_digest(utterances, trials))
    if tables is None:
        tables = read_tables(card, home, spec_of(record))
    table = tables[condition.table or "clean"]
    if condition.test_only:
        return _with_clean_enrolments(table)
    return table


def _with_clean_enrolments(table: Table) -> Table:
    """Return the enrolments, and the test sides of all trials under ids that end in `@test`."""
    enrolments = {trial.enrolment for trial in table.trials}
    tests = {trial.test for trial in table.trials}
    clean = [item for item in table.utterances if item.id in enrolments]
    moved = [replace(item, id=item.id + TEST_SIDE) for item in table.utterances if item.id in tests]
    trials = tuple(trial._replace(test=trial.test + TEST_SIDE) for trial in table.trials)
    return Table((*clean, *moved), trials, table.sha256)


def condition_set(condition: Condition, record: Record, session: Session) -> ConditionSet:
    """Return the test set of one condition; corpora and noise are fetched.

    Raises:
        MissingError: a corpus or noise is not available.
        InvalidDataError: a corpus or noise is damaged.
    """
    card = task_card(record.task, record.track)
    if condition.corpus is None:
        prepare_corpora(card, session)
    else:
        corpus_module(condition.corpus).prepare(session.home, deb_dir=session.deb_dir)
    table = references(condition, record, session.home)
    if not condition.steps:
        return ConditionSet(table.utterances, table.trials, table.sha256, clean_sound)
    distorter = _distorter(condition, card, session)

    def renamed(item: Utterance) -> Utterance:
        if condition.test_only and not item.id.endswith(TEST_SIDE):
            return item
        return replace(distorter.renamed(_with_plain_id(item)), id=item.id)

    def sound(item: Utterance) -> Wav:
        if condition.test_only and not item.id.endswith(TEST_SIDE):
            return clean_sound(item)
        return distorter(_with_plain_id(item))

    sha256 = _identity(table, distorter)
    return ConditionSet(tuple(map(renamed, table.utterances)), table.trials, sha256, sound)


def identified(
    condition: Condition, record: Record, session: Session, tables: Mapping[str, Table]
) -> Table:
    """Return the utterances of one condition with the identity that records name, without sound.

    Args:
        condition: any of the catalogue.
        record: gives task, track and limits.
        session: where things are; the corpora of the task must be prepared.
        tables: of the record's task.

    Raises:
        MissingError: another corpus, or noise, is not available.
        InvalidDataError: another corpus, or noise, is damaged.
    """
    if condition.corpus is not None:
        corpus_module(condition.corpus).prepare(session.home, deb_dir=session.deb_dir)
    table = references(condition, record, session.home, tables)
    if not condition.steps:
        return table
    distorter = _distorter(condition, task_card(record.task, record.track), session)
    return replace(table, sha256=_identity(table, distorter))


def _distorter(condition: Condition, card: TaskCard, session: Session) -> Distorter:
    return make_distorter(
        condition,
        card.corpus,
        home=session.home,
        deb_dir=session.deb_dir,
        noise_dir=session.noise_dir,
    )


def _identity(table: Table, distorter: Distorter) -> str:
    """Return the sha256 of a distorted test set: its table, its distortion, and the sides of it."""
    test_only = distorter.condition.test_only
    return condition_set_digest(table.sha256, distorter.sha256(), test_only=test_only)


def _with_plain_id(item: Utterance) -> Utterance:
    """Return an utterance under its plain id, which decides how it is distorted.

    Parts of a line (`LINE#NUMBER`) are cut out of the same distorted line.
    """
    return replace(item, id=item.id.removesuffix(TEST_SIDE).partition(PART)[0])


@dataclass(frozen=True)
class SharedPass:
    """Features and distorted sound that the heads scored under one condition share.

    Attributes:
        root: folder of the feature store.
        sounds: distorted sound by key of the utterance; None where there is only one head.
    """

    root: Path
    sounds: dict[str, npt.NDArray[np.int16] | Wav] | None

    def once(self, sound: Sound) -> Sound:
        """Return the same sound, computed once an utterance; an hour takes 115 MB of memory."""
        cache = self.sounds
        if cache is None:
            return sound

        def cached(item: Utterance) -> Wav:
            if item.key not in cache:
                cache[item.key] = _packed(sound(item))
            return _unpacked(cache[item.key])

        return cached


@contextmanager
def shared_pass(home: Path, *, keep_features: bool, alone: bool) -> Iterator[SharedPass]:
    """Open the shared pass of one condition; features that are not kept are deleted at the end.

    Args:
        home: folder of everything that can be computed again.
        keep_features: write features into the store of `home`, not into a temporary folder.
        alone: only one head is scored, so sound is not cached.

    Raises:
        UserError: the disk is full or cannot be written to.
    """
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=home, prefix=".features-") as temporary:
            root = home / "features" if keep_features else Path(temporary)
            yield SharedPass(root, None if alone else {})


def _packed(wav: Wav) -> npt.NDArray[np.int16] | Wav:
    """Return samples (S,) in 16 bits where that loses nothing, as in all distorted sound."""
    rounded = np.round(wav * FULL_SCALE)
    if np.abs(rounded).max() >= FULL_SCALE or not np.array_equal(rounded / FULL_SCALE, wav):
        return wav
    return rounded.astype(np.int16)


def _unpacked(packed: npt.NDArray[np.int16] | Wav) -> Wav:
    """Return samples (S,) as float32."""
    if packed.dtype == np.float32:
        return packed.astype(np.float32, copy=False)
    return (packed / FULL_SCALE).astype(np.float32)
