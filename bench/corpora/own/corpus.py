"""A user's corpus as every other one: prepared, with a status, checked.

The prepared folder holds manifests, `splits.tsv`, `bad-rows.tsv` and a link to the shared sounds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.own.card import OwnTaskCard, place_of
from bench.corpora.own.data_sets import read_datasets
from bench.corpora.own.layouts import read_files, read_kaldi
from bench.corpora.own.rows import BadRow, DataRow, Listing, check_rows
from bench.corpora.own.sounds import (
    Converted,
    band_edge_hz,
    convert,
    describe_sounds,
    sounds_folder,
    wav_path,
)
from bench.corpora.own.splits import SPLITS, describe, describe_repeats, trials_of, with_splits
from bench.corpora.own.tables import read_tables
from bench.corpora.package import corpus_folder, recipe
from bench.corpora.package.corpus_folder import CorpusStatus
from bench.errors import InvalidDataError, UserError
from bench.identity import key_of
from bench.paths import disk_errors, write_text
from bench.progress import say, warn
from bench.registry import OWN_TRACK
from bench.sound.manifests import Trial, write_table, write_trials

READERS = {
    "files": read_files,
    "table": read_tables,
    "kaldi": read_kaldi,
    "datasets": read_datasets,
}
AUDIO, SPLITS_FILE, BAD_ROWS = "audio", "splits.tsv", "bad-rows.tsv"
MAX_SHOWN = 10  # bad rows on the terminal
FOR_READERS = {"title", "license", "version", "like", "recipe", "head_conf"}  # not of the data


class Ready(NamedTuple):
    """The rows of a corpus with splits and trials.

    Attributes:
        rows: usable rows.
        trials: by split; empty except for `asv`.
        bad: rows that cannot be used.
        notes: what was done or seen, a line each.
    """

    rows: list[DataRow]
    trials: dict[str, list[Trial]]
    bad: list[BadRow]
    notes: list[str]


class OwnCorpus:
    """The corpus of one task card of a user.

    Args:
        name: of the card.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def folder(self, home: Path) -> Path:
        """Return the folder of the manifests that the present code makes."""
        return corpus_folder.place(home, f"own.{self.name}", recipe.code_digest(__name__))

    def listing(self) -> Listing:
        """Return the rows that the card lists, without reading sound.

        Raises:
            UserError: an invalid card, or data that are not as it says.
        """
        place = place_of(self.name)
        return check_rows(READERS[place.card.layout](place), place.card)

    def _key(self, listing: Listing) -> str:
        """Return the identity of a listing and of the card's keys that decide manifests."""
        return key_of([listing.digest(), place_of(self.name).card.model_dump(exclude=FOR_READERS)])

    def is_current(self, home: Path) -> bool:
        """Return whether the manifests are those of the card and the data as they are now."""
        mark = corpus_folder.read_mark(self.folder(home))
        return bool(mark) and mark.get("listing") == self._key(self.listing())

    def prepare(self, home: Path, *, deb_dir: Path | None = None) -> Path:
        """Make the manifests unless they are current; say what was seen.

        Args:
            home: the folder of everything that can be made again.
            deb_dir: not used; other corpora need it.

        Raises:
            MissingError: no such data, no space or no permission.
            InvalidDataError: bad rows where the card refuses them, or too little data.
        """
        del deb_dir
        target, listing = self.folder(home), self.listing()
        key = self._key(listing)
        if corpus_folder.read_mark(target).get("listing") == key:
            return target
        with corpus_folder.alone(target):
            if corpus_folder.read_mark(target).get("listing") != key:  # not by who was waited for
                self._make(home, listing, key)
        return target

    def _make(self, home: Path, listing: Listing, key: str) -> None:
        """Write the tables and the link, then the mark."""
        card, target = place_of(self.name).card, self.folder(home)
        _refuse(card, listing.bad, target)
        sounds = convert(listing.rows, home)
        ready = self._ready(listing, sounds)
        _refuse(card, ready.bad, target)
        _link(target / AUDIO, Path("..", sounds_folder(home).name, AUDIO))
        (target / corpus_folder.MARK).unlink(missing_ok=True)
        lines = [f"{row.id}\t{row.split}" for row in ready.rows]
        write_text(target / SPLITS_FILE, "".join(f"{line}\n" for line in lines))
        for split in SPLITS:
            rows = [row for row in ready.rows if row.split == split]
            write_table(target, split, [_table_row(row, sounds, self.name) for row in rows])
            write_trials(target, split, ready.trials.get(split, []))
        clips = {clip: sound for clip, sound in sounds.items() if not isinstance(sound, str)}
        used = [clips[row.clip] for row in ready.rows]
        repeats = describe_repeats(ready.rows, {clip: s.key for clip, s in clips.items()})
        about = [*describe(ready.rows, card), *describe_sounds(used), *ready.notes, *repeats]
        mark = {
            "listing": key,
            "counts": dict(Counter(row.split for row in ready.rows)),
            "hours": round(sum(s.num_samples for s in used) / SAMPLE_RATE_HZ / 3600, 4),
            "left_out": len(ready.bad),
            "band_hz": band_edge_hz(used),
            "about": about,
        }
        write_text(target / corpus_folder.MARK, json.dumps(mark, indent=2) + "\n")
        say(f"{self.name}: prepared in {target}", *(f"  {line}" for line in about))
        for line in repeats:
            warn(f"{self.name}: {line}")
        if ready.bad:
            warn(f"{self.name}: {len(ready.bad)} bad rows left out ({target / BAD_ROWS})")

    def _ready(self, listing: Listing, sounds: Mapping[str, Converted | str] | None) -> Ready:
        """Return the usable rows of a listing with splits and trials.

        Args:
            listing: of the card.
            sounds: by clip; None takes every sound for usable.
        """
        place, bad, notes = place_of(self.name), list(listing.bad), list(listing.notes)
        rows = list(listing.rows)
        if sounds is not None:
            problems = {clip: text for clip, text in sounds.items() if isinstance(text, str)}
            bad += [BadRow(r.where, problems[r.clip]) for r in rows if r.clip in problems]
            rows = [row for row in rows if row.clip not in problems]
        listed = with_splits(rows, place)
        bad, notes = bad + listed.bad, notes + listed.notes
        trials: dict[str, list[Trial]] = {}
        for split in ("dev", "test") if place.card.task == "asv" else ():
            members = [row for row in listed.rows if row.split == split]
            trials[split], lines = trials_of(members, split, place)
            bad += lines.bad
            notes.append(f"{split}: {len(trials[split])} trials")
        return Ready(listed.rows, trials, bad, notes)

    def status(self, home: Path) -> CorpusStatus:
        """Return the state of the manifests; their data may have changed or be invalid."""
        target = self.folder(home)
        mark, problems = corpus_folder.read_mark(target), []
        try:
            if mark and not self.is_current(home):
                problems.append("card or data changed since: prepare it again")
        except UserError as error:
            problems.append(str(error))
        return CorpusStatus(
            name=f"{OWN_TRACK}/{self.name}",
            prepared=bool(mark) and not problems,
            num_utterances=sum(mark.get("counts", {}).values()),
            hours=float(mark.get("hours", 0.0)),
            size_bytes=corpus_folder.folder_bytes(target),
            problems=tuple(problems),
        )

    def about(self, home: Path) -> list[str]:
        """Return what was seen in preparation, or in the listing where nothing is prepared.

        Raises:
            UserError: nothing is prepared, and the data are not as the card says.
        """
        mark = corpus_folder.read_mark(self.folder(home))
        if mark:
            return [str(line) for line in mark["about"]]
        ready = self._ready(self.listing(), None)
        return [*describe(ready.rows, place_of(self.name).card), *ready.notes, *_shown(ready.bad)]

    def left_out(self, home: Path) -> int:
        """Return the number of bad rows that the manifests leave out."""
        return int(corpus_folder.read_mark(self.folder(home)).get("left_out", 0))

    def band_hz(self, home: Path) -> float | None:
        """Return the upper edge of the band where every file has less than 16 kHz, else None."""
        band = corpus_folder.read_mark(self.folder(home)).get("band_hz")
        return None if band is None else float(band)

    def validate(self, folder: Path) -> list[str]:
        """Return a line for each sound of the manifests that is missing."""
        from bench.sound.manifests import read_table

        rows = [row for split in SPLITS for row in read_table(folder, split)]
        return [f"{row.path}: missing" for row in rows if not row.path.exists()]


def _refuse(card: OwnTaskCard, bad: Sequence[BadRow], target: Path) -> None:
    """Write the list of bad rows; show the first and raise where the card refuses them.

    Raises:
        InvalidDataError: there are bad rows, and the card does not leave them out.
    """
    file = target / BAD_ROWS
    write_text(file, "".join(f"{item.where}\t{item.what}\n" for item in bad))
    if bad and card.on_bad_row == "refuse":
        for line in _shown(bad):
            warn(f"  {line}")
        raise InvalidDataError(
            f"task {card.name}: {len(bad)} bad rows, all listed in {file}: mend them, or let the "
            "card say on_bad_row: leave_out"
        )


def _shown(bad: Sequence[BadRow]) -> list[str]:
    """Return the first bad rows as lines, and the number of the others."""
    lines = [f"bad row {item.where}: {item.what}" for item in bad[:MAX_SHOWN]]
    more = len(bad) - MAX_SHOWN
    return [*lines, f"... and {more} more bad rows"] if more > 0 else lines


def _link(link: Path, to: Path) -> None:
    """Make or replace a link to a folder."""
    with disk_errors(link):
        link.unlink(missing_ok=True)
        link.symlink_to(to, target_is_directory=True)


def _table_row(row: DataRow, sounds: Mapping[str, Converted | str], name: str) -> dict[str, Any]:
    """Return the row of a manifest."""
    sound = sounds[row.clip]
    assert not isinstance(sound, str)  # such rows are bad
    return {
        "id": row.id,
        "path": wav_path(sound.key),
        "start": 0,
        "num_samples": sound.num_samples,
        "target": row.target,
        "speaker": row.speaker,
        "source": f"{OWN_TRACK}/{name}",
        "text": row.text,
        "key": sound.key,
    }
