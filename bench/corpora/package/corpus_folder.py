"""The folder of a prepared corpus: its name, its lock, its mark of completeness, its status.

The name carries the digest of the recipe (`games-v1-0123456789ab`), so checkouts with different
recipes share one home and none of them touches a folder of another. `corpus.json` is the mark. It
is written last, and removed first where files are missing, so a folder that has it is complete: it
has the tables that the mark names, or all where it names none.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.corpora.package import corpus_files, recipe
from bench.errors import MissingError
from bench.paths import disk_errors, write_text

MARK = "corpus.json"
TABLES = "tables"  # key of the mark of a part
DIGEST_LETTERS = 12

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CorpusStatus:
    """The state of a corpus on disk.

    Attributes:
        name: of the corpus.
        prepared: it is complete and made by the present recipe.
        num_utterances: clips in it.
        hours: of sound.
        size_bytes: on disk.
        problems: what a quick look finds wrong, a line each (`validate` reads every file).
    """

    name: str
    prepared: bool
    num_utterances: int
    hours: float
    size_bytes: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class CorpusSummary:
    """The content of a corpus that was just written.

    Attributes:
        seconds: duration of each clip.
        dropped: number of dropped clips by rule.
        sounds: identity of what the clips were decoded from and of the code that did it. Folders
            with the same one share the files of clips. Empty where nothing is shared.
    """

    seconds: Sequence[float]
    dropped: Mapping[str, int]
    sounds: str = ""


@dataclass(frozen=True)
class PackagedCorpus:
    """A corpus made of Debian packages, as the functions that its module offers.

    Attributes:
        name: first part of the folder's name.
        module: dotted name of the module whose code is the recipe.
        needed_bytes: free space that making it takes.
        make: writes audio, tables and notices into a folder. Its arguments are that folder, the
            folder of downloaded packages, and the user's folder of packages or None.
        make_part: adds the tables that its fourth argument names, with their clips, and keeps the
            others. None where the corpus is always made as a whole.
        data: files beside the code that decide the content.
    """

    name: str
    module: str
    needed_bytes: int
    make: Callable[[Path, Path, Path | None], CorpusSummary]
    make_part: Callable[[Path, Path, Path | None, Collection[str]], CorpusSummary] | None = None
    data: tuple[Path, ...] = ()

    def folder(self, home: Path) -> Path:
        """Return the folder of the corpus that the present recipe makes."""
        return place(home, self.name, self._recipe())

    def prepare(
        self, home: Path, *, deb_dir: Path | None = None, tables: Collection[str] | None = None
    ) -> Path:
        """Make what the corpus lacks; continue an interrupted run.

        Args:
            home: the folder of everything that can be made again.
            deb_dir: a folder with the .deb files, for systems without apt.
            tables: names of the tables that are needed; None is all.

        Returns:
            the corpus folder.

        Raises:
            MissingError: a package cannot be fetched, no space, no permission.
            InvalidDataError: a package is corrupt or lacks the expected content.
        """
        target = self.folder(home)
        if not self._has(target, tables):
            with alone(target):
                if not self._has(target, tables):  # another process may have made it meanwhile
                    self._make(target, home / "packages", deb_dir, tables)
        return target

    def status(self, home: Path, *, tables: Collection[str] | None = None) -> CorpusStatus:
        """Return the state of the corpus, or of some of its tables, after a quick look."""
        target = self.folder(home)
        mark, size = read_mark(target), folder_bytes(target)
        problems = list(corpus_files.missing(target)) if mark else []
        prepared = self._has(target, tables)
        if size and not prepared and not problems:
            problems.append(f"{target}: not complete; prepare it again")
        return CorpusStatus(
            name=self.name,
            prepared=prepared,
            num_utterances=int(mark.get("num_utterances", 0)),
            hours=float(mark.get("hours", 0.0)),
            size_bytes=size,
            problems=tuple(problems),
        )

    def validate(self, folder: Path) -> list[str]:
        """Return everything that is wrong with a prepared corpus, one line each.

        Finds files that are missing, truncated, silent, duplicated, altered or not of the corpus,
        and rows of manifests that point beyond a file.
        """
        return corpus_files.problems(folder)

    def _recipe(self) -> str:
        return recipe.code_digest(self.module, *self.data)

    def _has(self, target: Path, tables: Collection[str] | None) -> bool:
        """Return whether the folder has these tables, or all, and no file is missing."""
        mark = read_mark(target)
        if mark.get("recipe") != self._recipe() or any(corpus_files.missing(target)):
            return False
        return TABLES not in mark or (tables is not None and set(tables) <= set(mark[TABLES]))

    def _make(
        self, target: Path, packages: Path, deb_dir: Path | None, tables: Collection[str] | None
    ) -> None:
        """Make the tables that are lacking, or the whole corpus, then the digests and the mark.

        Tables are added to an undamaged part under its mark, which stays true: who reads them
        notices nothing, and a preparation that fails takes nothing away.
        """
        check_space(target, self.needed_bytes)
        present: set[str] = set()
        if self._has(target, ()):
            present = set(read_mark(target)[TABLES])
        else:
            with disk_errors(target):
                (target / MARK).unlink(missing_ok=True)
        part: dict[str, list[str]] = {}
        if tables is None or self.make_part is None:
            summary = self.make(target, packages, deb_dir)
        else:
            summary = self.make_part(target, packages, deb_dir, set(tables) - present)
            part = {TABLES: sorted(present.union(tables))}
        corpus_files.write_digests(target)
        mark = {
            "name": self.name,
            "recipe": self._recipe(),
            "num_utterances": len(summary.seconds),
            "hours": round(sum(summary.seconds) / 3600, 3),
            "dropped": dict(summary.dropped),
            "sounds": summary.sounds,
            **part,
        }
        write_text(target / MARK, json.dumps(mark, indent=2) + "\n")


def place(home: Path, name: str, digest: str) -> Path:
    """Return the folder of a corpus by the digest of its recipe."""
    return home / "corpora" / f"{name}-{digest[:DIGEST_LETTERS]}"


def other_recipes(target: Path) -> list[Path]:
    """Return the folders of the same corpus that other recipes, or older versions, made."""
    name = target.name[: -DIGEST_LETTERS - 1]
    pattern = re.compile(rf"{re.escape(name)}(-[0-9a-f]{{{DIGEST_LETTERS}}})?")
    return [
        path
        for path in sorted(target.parent.glob(f"{name}*"))
        if path != target and path.is_dir() and pattern.fullmatch(path.name)
    ]


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder; links to folders are not followed."""
    paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths)


@contextmanager
def alone(target: Path) -> Iterator[None]:
    """Make the folder and hold its lock, which the system releases when the process ends.

    Raises:
        MissingError: no space or no permission.
    """
    with disk_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        with (target / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.warning("%s: another process prepares it; waiting", target)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def check_space(target: Path, needed_bytes: int) -> None:
    """Check the free space.

    Raises:
        MissingError: less than `needed_bytes` on the disk.
    """
    free = shutil.disk_usage(target).free
    if free + folder_bytes(target) < needed_bytes:
        raise MissingError(
            f"no space on the disk for {target}: {needed_bytes // 1_000_000} MB needed, "
            f"{free // 1_000_000} MB free"
        )


def share_clips(target: Path, sounds: str, wanted: set[str]) -> None:
    """Link the clips that other recipes decoded from the same sounds by the same code.

    Args:
        target: the corpus.
        sounds: as in `CorpusSummary`.
        wanted: paths of the clips in the corpus.
    """
    for other in other_recipes(target):
        if read_mark(other).get("sounds") == sounds:
            corpus_files.link_audio(other, target, wanted)


def read_mark(target: Path) -> dict[str, Any]:
    """Return what `corpus.json` of a folder says; empty where there is none."""
    try:
        mark = json.loads((target / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return mark if isinstance(mark, dict) else {}
