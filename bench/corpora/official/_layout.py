"""The layout of an official corpus on disk, its sizes, and its sources."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from bench.errors import InvalidDataError, MissingError
from bench.paths import check_file
from bench.schema import Frozen
from bench.sound.manifests import Trial

# All letters that s3prl's heads of ASR and slot filling spell; every other one is `UNKNOWN`.
LETTERS, UNKNOWN = f" {string.ascii_uppercase}'", "<unk>"
ARCHIVES = (".tar.gz", ".tgz", ".zip", ".tar")


@dataclass(frozen=True)
class OfficialClip:
    """One utterance as a corpus lists it, before its sound is read.

    Attributes:
        id: unique within its table.
        path: of the file, relative to the corpus' folder.
        target: correct answer of a head.
        speaker, text: empty where the corpus has none.
        effect: a name in `bench.sound.sox`.
        start: first sample, after the effect.
        num_samples: number of samples; None reads to the end.
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
        """Identity of its sound within the corpus: path, effect and part."""
        return self.path, self.effect, self.start, self.num_samples


@dataclass(frozen=True)
class OfficialTable:
    """One table of an official corpus.

    Attributes:
        clips: its utterances, in order.
        trials: for speaker verification.
        min_samples: clips with fewer, after the effect, are left out.
        gap: the first part of the corpus that its lists name and the folder lacks, in a line for
            people; empty where nothing is missing.
    """

    clips: Sequence[OfficialClip]
    trials: Sequence[Trial] = ()
    min_samples: int = 1
    gap: str = ""


class FolderContent(NamedTuple):
    """The number of clips in a folder, by table, and the gaps of its tables, each once."""

    listed: dict[str, int]
    gaps: list[str]


def content_of(tables: Mapping[str, OfficialTable]) -> FolderContent:
    """Return the content of a folder from its tables."""
    gaps = dict.fromkeys(table.gap for table in tables.values() if table.gap)
    return FolderContent({name: len(table.clips) for name, table in tables.items()}, list(gaps))


class Size(Frozen):
    """The size of a table of the official corpus.

    Attributes:
        utterances: number that the corpus lists, before clips that are too short are left out. A
            folder with another number is not the official corpus.
        hours: of sound that the upstream reads.
    """

    utterances: int
    hours: float


class Archive(Frozen):
    """One file that may be downloaded without a request.

    Attributes:
        url: address.
        makes: path below the data folder that exists once it is unpacked (or stored).
        folder: below the data folder, where it is unpacked (or stored).
        sha256: of the file; None where none is published, then the one of the download is printed.
    """

    url: str
    makes: str
    folder: str = ""
    sha256: str | None = None


class HubRows(Frozen):
    """Rules to make a corpus' folder from rows of a data set on the Hugging Face hub.

    Attributes:
        splits: configuration and split there (`a+b` for two), by the relative folder to be made.
    """

    splits: dict[str, tuple[str, str]]


class HubArchives(Frozen):
    """Rules to make a corpus' folder from archives in a repository of the hub.

    Attributes:
        archives: the archive there and a path that the folder must contain (an archive may wrap
            it in other folders), by the relative folder to be made.
        beside: the file there, by the relative file to be made unless an archive had it.
    """

    archives: dict[str, tuple[str, str]]
    beside: dict[str, str] = Field(default_factory=dict)


class Layout(Frozen):
    """The layout of one official corpus: a YAML file beside its module, and the module's functions.

    Attributes:
        name: of the prepared manifests' folder.
        title: for people.
        folders: possible names of its folder below the data folder; "" is the data folder itself.
        signs: paths in the corpus' folder; one of them is enough to recognise it.
        about: source and licence, for people.
        sizes: of the official tables.
        sizes_from: source of the numbers of utterances, for people.
        hours_from: source of the hours, or how they are estimated, for people.
        tried: what the reader gave on real names of the corpus, for people.
        archives: files that `data fetch` may download.
        hub: name of the same corpus on the Hugging Face hub.
        from_hub: rules to make it from there; None where only a folder will do.
        read: returns the tables of the corpus' folder, of the files that are there. Raises
            MissingError where a table would be empty, InvalidDataError for a malformed list.
        write_rows: writes rows of the hub into a folder of `HubRows`. Raises KeyError, TypeError
            or ValueError where a row is not as expected.
        targets: examples, from which a plan builds the head without reading the corpus.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    signs: tuple[str, ...]
    about: str
    sizes: dict[str, Size]
    sizes_from: str
    hours_from: str
    tried: str
    archives: tuple[Archive, ...] = ()
    hub: str | None = None
    from_hub: HubRows | HubArchives | None = None
    read: Callable[[Path], Mapping[str, OfficialTable]]
    write_rows: Callable[[Path, Iterable[Mapping[str, Any]]], None] | None = None
    targets: tuple[Any, ...] = ("",)

    @property
    def where(self) -> str:
        """Its source in a line, for people."""
        if self.hub is None:
            return self.about
        hint = f"; --data hf:{self.hub} takes it from there" if self.from_hub else ""
        return f"{self.about} (on the Hugging Face hub: {self.hub}{hint})"

    def differences(self, content: FolderContent) -> list[str]:
        """Return a line for each way in which a folder is not the official corpus."""
        return content.gaps + [
            f"{name} has {number:,} utterances, the official corpus {self.sizes[name].utterances:,}"
            for name, number in content.listed.items()
            if number != self.sizes[name].utterances
        ]

    def find(self, data: Path) -> Path:
        """Return the corpus' folder: below a data folder, or that folder itself.

        Raises:
            MissingError: no folder has any of the signs.
            InvalidDataError: `data` is a file.
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
        """Return the expected names, and what may explain that they are not there."""
        expected = [name for name in self.folders if name] or list(self.signs)
        packed = [path.name for path in sorted(data.iterdir()) if path.name.endswith(ARCHIVES)]
        downloads = [name for name in packed if any(a.url.endswith(name) for a in self.archives)]
        text = f"expected a folder {' or '.join(expected)} with {' or '.join(self.signs)} in it"
        if downloads:
            return f"{text}, found {downloads[0]}, which is not unpacked yet"
        for name in expected:
            if (data / name).is_dir():
                inside = sorted(path.name for path in (data / name).iterdir())[:4]
                return f"{text}, found {name} with {', '.join(inside) or 'nothing'} in it"
        return text


def spelled(text: str) -> str:
    """Return a text as s3prl scores it: encoded and decoded, with a mark for unknown letters."""
    return "".join(letter if letter in LETTERS else UNKNOWN for letter in text)


def is_stray(path: Path) -> bool:
    """Return whether a computer added a file or folder: `._x.wav`, `.DS_Store`, `@eaDir`."""
    return path.name.startswith((".", "@", "__MACOSX"))


def listed(folder: Path, pattern: str) -> list[Path]:
    """Return the paths below a folder that match a pattern, sorted, without stray ones."""
    return [
        path
        for path in sorted(folder.glob(pattern))
        if not any(map(is_stray, (path, *path.parents[: pattern.count("/")])))
    ]


def need(path: Path, what: str) -> Path:
    """Return a path that must exist; `what` describes it in the error.

    Raises:
        MissingError: it does not exist.
    """
    if path.is_symlink() and not path.exists():
        check_file(path)
    if not path.exists():
        raise MissingError(f"{path}: {what} is not there: unpack or download the corpus again")
    return path


def read_lines(path: Path, what: str) -> list[str]:
    """Return the lines of a text file that must exist, without their ends.

    A byte-order mark, Windows line ends and blank lines at the end, which editors add, are left
    out. Only line ends separate lines: a text may hold other separators.

    Raises:
        MissingError: no such file.
        InvalidDataError: empty, or not text.
    """
    try:
        text = need(path, what).read_text(encoding="utf-8-sig").rstrip()
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"{path}: not UTF-8 text ({error.reason})") from error
    if not text:
        raise InvalidDataError(f"{path}: empty, {what} expected")
    return text.split("\n")


def present(
    root: Path, clips: Sequence[OfficialClip], named_by: str
) -> tuple[list[OfficialClip], str]:
    """Return the clips whose files exist, and the gap that the others leave.

    Args:
        root: the corpus' folder.
        clips: of one list.
        named_by: the list, for people.

    Raises:
        MissingError: no file exists, or a link whose file was not fetched.
    """
    paths = dict.fromkeys(clip.path for clip in clips)
    missing = {path: None for path in paths if not (root / path).is_file()}
    if not missing:
        return list(clips), ""
    first = next(iter(missing))
    if (root / first).is_symlink():
        check_file(root / first)
    share = f"{len(missing):,} of {len(paths):,} files are missing"
    gap = f"{first} is not there, though {named_by} names it ({share})"
    if len(missing) == len(paths):
        raise MissingError(f"{root}: {gap}: unpack or download the corpus again")
    return [clip for clip in clips if clip.path not in missing], gap
