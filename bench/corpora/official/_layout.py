"""How an official corpus lies on a disk, what is known of it, and where people get it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import InvalidDataError, MissingError
from bench.sound.manifests import Trial

ARCHIVES = (".tar.gz", ".tgz", ".zip", ".tar")


@dataclass(frozen=True)
class Clip:
    """One utterance as a corpus names it, before its sound was read.

    Attributes:
        id: unique within its table.
        path: of the file, relative to the corpus' folder.
        target: what a head should answer.
        speaker, text: where the corpus says them.
        effect: a name in `bench.sound.sox`.
        start: first sample, after the effect.
        num_samples: how many; None takes all that is there.
    """

    id: str
    path: str
    target: Any
    speaker: str = ""
    text: str = ""
    effect: str = ""
    start: int = 0
    num_samples: int | None = None

    @property
    def sound(self) -> tuple[str, str, int, int | None]:
        """What its sound depends on, beside the file: path, effect and part."""
        return self.path, self.effect, self.start, self.num_samples


@dataclass(frozen=True)
class Part:
    """One table.

    Attributes:
        clips: its utterances, in order.
        trials: for speaker verification.
        min_samples: clips with fewer, after the effect, are left out.
    """

    clips: Sequence[Clip]
    trials: Sequence[Trial] = ()
    min_samples: int = 1


@dataclass(frozen=True)
class Size:
    """How large a table of the real corpus is.

    Attributes:
        utterances: how many.
        hours: of sound that the upstream hears.
        targets: some that occur, for a plan that builds the head without reading anything.
        exact: the count is known; a folder with another one is not the official corpus.
    """

    utterances: int
    hours: float
    targets: tuple[Any, ...] = ("",)
    exact: bool = True


@dataclass(frozen=True)
class Archive:
    """One file that may be downloaded without asking anyone.

    Attributes:
        url: where from.
        makes: what lies in the data folder once it is there; a file that is not unpacked, else
            what unpacking it makes.
        folder: below the data folder, where it is unpacked (or put).
        sha256: of the file; None where nobody published one: what is found is then said.
    """

    url: str
    makes: str
    folder: str = ""
    sha256: str | None = None


@dataclass(frozen=True)
class HubRows:
    """How a corpus' folder is made from rows of a data set on the Hugging Face hub.

    Attributes:
        splits: folder to be made (relative) to configuration and split there (`a+b` for two).
        write: writes the rows of one split into such a folder. Raises KeyError, TypeError or
            ValueError where a row is not as expected.
    """

    splits: Mapping[str, tuple[str, str]]
    write: Callable[[Path, Iterable[Mapping[str, Any]]], None]


@dataclass(frozen=True)
class HubArchives:
    """How a corpus' folder is made from archives that lie in a repository of the hub.

    Attributes:
        archives: folder to be made (relative) to the archive there, and what is known to lie in
            that folder: an archive may have other folders around it.
        beside: file to be made (relative), unless an archive had it, to the file there.
        shared: name of the folder where two layouts are one corpus; that of the layout else.
    """

    archives: Mapping[str, tuple[str, str]]
    beside: Mapping[str, str] = field(default_factory=dict)
    shared: str = ""


@dataclass(frozen=True)
class Layout:
    """One corpus.

    Attributes:
        name: of the prepared manifests' folder.
        title: for people.
        folders: what its folder may be called below the data folder; "" is the data folder itself.
        signs: what lies in the corpus' folder; one of them is enough to recognise it.
        about: where people get it, and under which licence.
        read: from the corpus' folder to its tables. Raises MissingError, InvalidDataError naming
            the first thing that is not as it should be.
        sizes: of the real tables.
        archives: what `data fetch` may download.
        hub: the same corpus on the Hugging Face hub, for people.
        from_hub: how it is made from there; None where it must be a folder.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    signs: tuple[str, ...]
    about: str
    read: Callable[[Path], Mapping[str, Part]]
    sizes: Mapping[str, Size]
    archives: tuple[Archive, ...] = field(default=())
    hub: str | None = None
    from_hub: HubRows | HubArchives | None = None

    @property
    def where(self) -> str:
        """Where people get it, in a line."""
        if self.hub is None:
            return self.about
        hint = f"; --data hf:{self.hub} takes it from there" if self.from_hub else ""
        return f"{self.about} (on the Hugging Face hub: {self.hub}{hint})"

    def find(self, data: Path) -> Path:
        """The corpus' folder, below a data folder or that folder itself.

        Raises:
            MissingError: nothing there that looks like it, with what was found instead.
            InvalidDataError: a file, not a folder.
        """
        if not data.exists():
            raise MissingError(f"--data {data}: no such folder")
        if not data.is_dir():
            raise InvalidDataError(
                f"--data {data}: a file, a folder of unpacked corpora expected: unpack it first"
            )
        for name in (*self.folders, ""):
            if any((data / name / sign).exists() for sign in self.signs):
                return data / name
        raise MissingError(
            f"{data}: {self.title} is not there: {self._instead(data)}. {self.where}"
        )

    def _instead(self, data: Path) -> str:
        """What was expected, and what may explain that it is not there."""
        wanted = [name for name in self.folders if name] or list(self.signs)
        packed = [path.name for path in sorted(data.iterdir()) if path.name.endswith(ARCHIVES)]
        ours = [name for name in packed if any(a.url.endswith(name) for a in self.archives)]
        text = f"expected a folder {' or '.join(wanted)} with {' or '.join(self.signs)} in it"
        if ours:
            return f"{text}, found {ours[0]}, which is not unpacked yet"
        for name in wanted:
            if (data / name).is_dir():
                inside = sorted(path.name for path in (data / name).iterdir())[:4]
                return f"{text}, found {name} with {', '.join(inside) or 'nothing'} in it"
        return text


def need(path: Path, what: str) -> Path:
    """Return a path that must exist.

    Raises:
        MissingError: it does not; says what it is.
    """
    if not path.exists():
        raise MissingError(f"{path}: {what} is not there: unpack or download the corpus again")
    return path


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file that must be there, without their ends.

    Raises:
        MissingError: no such file.
        InvalidDataError: empty, or not text.
    """
    try:
        lines = need(path, what).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"{path}: not UTF-8 text ({error.reason})") from error
    if not any(line.strip() for line in lines):
        raise InvalidDataError(f"{path}: empty, {what} expected")
    return lines


def need_all(root: Path, clips: Sequence[Clip], named_by: str) -> None:
    """See that every file is there.

    Raises:
        MissingError: the first that is not, how many are not, and what names them.
    """
    paths = dict.fromkeys(clip.path for clip in clips)
    missing = [path for path in paths if not (root / path).is_file()]
    if missing:
        raise MissingError(
            f"{root / missing[0]}: not there, though {named_by} names it ({len(missing)} of "
            f"{len(paths)} files are missing): unpack or download the corpus again"
        )
