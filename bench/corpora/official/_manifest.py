"""Manifests of an official folder: every sound is read once, for its length and identity.

The audio stays in its folder; the prepared folder holds tables and a link to it. Reading 340 hours
takes long, so the length and identity of each file are stored beside the tables. An interrupted
preparation continues, and a second one reads only files that are new or changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.official._hub import export, is_hub
from bench.corpora.official._layout import (
    FolderContent,
    Layout,
    OfficialClip,
    OfficialTable,
    content_of,
)
from bench.corpora.package import corpus_folder, recipe
from bench.corpora.package.corpus_folder import CorpusStatus
from bench.errors import InvalidDataError, MissingError
from bench.paths import check_file, disk_errors, write_text
from bench.progress import bar
from bench.schema import make_model, read_yaml
from bench.sound.audio import read_wav, samples_digest
from bench.sound.manifests import write_table, write_trials
from bench.sound.sox import EFFECTS

# The name carries the digest of the code that reads sound: recipes share the results.
SOUNDS = f"sounds-{recipe.code_digest('bench.sound.sox')[: corpus_folder.DIGEST_LETTERS]}.jsonl"
ClipKey = tuple[str, str, int, int | None]  # `OfficialClip.sound`
LINK = "audio"


class SoundIdentity(NamedTuple):
    """Number and sha256 of a clip's samples, after its effect."""

    num_samples: int
    key: str


class OfficialCorpus:
    """An official corpus, as the functions that its module offers.

    Attributes:
        layout: of its folder.
    """

    def __init__(self, module: str, *, like: Layout | None = None, **code: Any) -> None:
        """Read the layout of a corpus.

        Args:
            module: file of the corpus' module; the YAML file beside it has the same stem.
            like: layout of which the keys are taken that the file does not have.
            code: the fields of `Layout` that are no data: `read`, `write_rows`, `targets`.
        """
        path = Path(module).with_suffix(".yaml")
        values = (dict(like) if like else {}) | read_yaml(path) | code
        self.layout = make_model(Layout, values, str(path))

    def folder(self, home: Path) -> Path:
        """Return the folder of the manifests that the present code makes."""
        digest = recipe.code_digest(self.layout.read.__module__)
        return corpus_folder.place(home, self.layout.name, digest)

    def prepare(
        self,
        home: Path,
        *,
        deb_dir: Path | None = None,
        data: Path | None = None,
        partial: bool = True,
    ) -> Path:
        """Make the manifests unless they are complete.

        Args:
            home: the folder of everything that can be made again.
            deb_dir: not used; other corpora need it.
            data: folder of unpacked corpora, or of this corpus, or `hf:NAME` for the hub; None for
                the folder of the last preparation.
            partial: accept a part of the official corpus.

        Raises:
            MissingError: no folder was ever named, or a file in it is missing.
            InvalidDataError: a file in it is not as expected; not the whole corpus, unless
                `partial`. What was prepared before stays.
        """
        del deb_dir
        target = self.folder(home)
        mark = corpus_folder.read_mark(target)
        if data is not None and is_hub(data):
            data = export(self.layout, data, home)
        root = self.last_root(home) if data is None else self.layout.find(data).resolve()
        title = self.layout.title
        if root is None:
            raise MissingError(f"{title}: name its folder with --data DIR. {self.layout.where}")
        is_same, is_whole = mark.get("root") == str(root), not self.differences(home)
        if is_same and (is_whole or (data is None and partial)):
            if not root.is_dir():
                raise MissingError(f"{root}: {title} was removed: name it with --data DIR")
            return target
        parts = self.layout.read(root)
        differences = [] if partial else self.layout.differences(content_of(parts))
        if differences:
            raise InvalidDataError(
                f"{title} in {root}: {differences[0]}: unpack it again ('slim-superb "
                "data status --track superb' says more); --limit N runs on the present part, as a "
                "smoke test"
            )
        with corpus_folder.alone(target):
            self._make(target, root, parts)
        return target

    def _make(self, target: Path, root: Path, parts: Mapping[str, OfficialTable]) -> None:
        """Write the tables and the link, then the mark; read all sounds before anything changes."""
        sounds = scan(root, [clip for part in parts.values() for clip in part.clips], target)
        tables = {name: table_rows(part, sounds, self.layout.name) for name, part in parts.items()}
        empty = [name for name, rows in tables.items() if not rows]
        if empty:
            raise InvalidDataError(f"{root}: no usable utterance for {empty[0]}")
        (target / corpus_folder.MARK).unlink(missing_ok=True)
        link = target / LINK
        with disk_errors(link):
            link.unlink(missing_ok=True)
            link.symlink_to(root, target_is_directory=True)
        distinct: set[tuple[str, int]] = set()
        for name, rows in tables.items():
            write_table(target, name, rows)
            if parts[name].trials:
                write_trials(target, name, parts[name].trials)
            distinct |= {(row["key"], row["num_samples"]) for row in rows}
        seconds = sum(samples for _, samples in distinct) / SAMPLE_RATE_HZ
        mark = {
            "root": str(root),
            **content_of(parts)._asdict(),
            "counts": {name: len(rows) for name, rows in tables.items()},
            "hours": round(seconds / 3600, 3),
        }
        write_text(target / corpus_folder.MARK, json.dumps(mark, indent=2) + "\n")

    def status(self, home: Path) -> CorpusStatus:
        """Return the state of the manifests."""
        target = self.folder(home)
        mark = corpus_folder.read_mark(target)
        return CorpusStatus(
            name=self.layout.name,
            prepared=bool(mark),
            num_utterances=sum(mark.get("counts", {}).values()),
            hours=float(mark.get("hours", 0.0)),
            size_bytes=corpus_folder.folder_bytes(target),
            problems=tuple(self.differences(home)) if mark else (),
        )

    def last_root(self, home: Path) -> Path | None:
        """Return the official folder of the last preparation, by this recipe or else by another."""
        target = self.folder(home)
        others = [path / corpus_folder.MARK for path in corpus_folder.other_recipes(target)]
        marks = [path for path in others if path.exists()]
        newest_first = sorted(marks, key=lambda path: -path.stat().st_mtime)
        for path in (target / corpus_folder.MARK, *newest_first):
            root = corpus_folder.read_mark(path.parent).get("root")
            if root is not None:
                return Path(root)
        return None

    def differences(self, home: Path) -> list[str]:
        """Return a line for each way in which the prepared folder is not the official corpus."""
        mark = corpus_folder.read_mark(self.folder(home))
        if not mark:
            return []
        content = FolderContent(mark["listed"], mark["gaps"])
        where = f"{self.layout.title} in {mark['root']}"
        return [f"{where}: {line}" for line in self.layout.differences(content)]

    def validate(self, folder: Path) -> list[str]:
        """Return a line for each sound that changed since the manifests were made."""
        root, unchanged = folder / LINK, dict[str, bool]()
        for about in _read_sounds(folder):  # a path may have entries of several preparations
            path = json.loads(about)[0]
            unchanged[path] = unchanged.get(path, False) or _is_unchanged(root, about)
        return [
            f"{root / path}: changed since the manifests were made"
            for path, is_unchanged in unchanged.items()
            if not is_unchanged
        ]


def table_rows(
    part: OfficialTable, sounds: Mapping[ClipKey, SoundIdentity], source: str
) -> list[dict[str, Any]]:
    """Return the rows of one table; clips that are too short are left out."""
    return [
        {
            "id": clip.id,
            "path": f"{LINK}/{clip.path}",
            "start": clip.start,
            "num_samples": sounds[clip.sound].num_samples,
            "target": clip.target,
            "speaker": clip.speaker,
            "source": source,
            "text": clip.text,
            "key": sounds[clip.sound].key,
            "effect": clip.effect,
        }
        for clip in part.clips
        if sounds[clip.sound].num_samples >= part.min_samples
    ]


def listen(root: Path, clip: OfficialClip) -> SoundIdentity:
    """Read the length and identity of one clip.

    Raises:
        MissingError: no such file.
        InvalidDataError: not usable sound, or shorter than the clip.
    """
    wav = read_wav(root / clip.path)
    if clip.effect:
        wav = EFFECTS[clip.effect](wav)
    end = None if clip.num_samples is None else clip.start + clip.num_samples
    if end is not None and end > wav.size:
        raise InvalidDataError(f"{root / clip.path}: {end} samples expected, found {wav.size}")
    wav = wav[clip.start : end]
    return SoundIdentity(wav.size, samples_digest(wav) if wav.size else "")


def scan(root: Path, clips: Sequence[OfficialClip], target: Path) -> dict[ClipKey, SoundIdentity]:
    """Return the sounds of clips; read only those that no earlier preparation read.

    Raises:
        MissingError: no such file.
        InvalidDataError: not usable sound, or shorter than the clip.
    """
    stored = _read_sounds(target)
    sounds = {
        about: sound
        for folder in corpus_folder.other_recipes(target)
        for about, sound in _read_sounds(folder).items()
    } | stored
    distinct = {clip.sound: clip for clip in clips}
    about = {key: _about(root, clip) for key, clip in distinct.items()}
    new = [clip for key, clip in distinct.items() if about[key] not in sounds]
    shared = [text for text in about.values() if text in sounds and text not in stored]
    with (
        bar(total=len(new), label="reading the corpus", unit="files") as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        disk_errors(target / SOUNDS),
        (target / SOUNDS).open("a", encoding="utf-8") as file,
    ):
        file.writelines(json.dumps([text, *sounds[text]]) + "\n" for text in shared)
        for clip, sound in zip(new, pool.map(lambda clip: listen(root, clip), new), strict=True):
            sounds[about[clip.sound]] = sound
            file.write(json.dumps([about[clip.sound], *sound]) + "\n")
            progress.update(1)
    return {key: sounds[text] for key, text in about.items()}


def _about(root: Path, clip: OfficialClip) -> str:
    """Return the state of a clip's file and its part of it as text.

    Raises:
        MissingError: no such file, or a link whose file was not fetched.
        InvalidDataError: not a regular file.
    """
    stat = check_file(root / clip.path, "audio file")
    part = [clip.path, stat.st_size, stat.st_mtime_ns, clip.effect, clip.start, clip.num_samples]
    return json.dumps(part)


def _is_unchanged(root: Path, about: str) -> bool:
    """Return whether the file of a line of `SOUNDS` still has its size and time."""
    path, size, time_ns, *_ = json.loads(about)
    try:
        stat = (root / path).stat()
    except OSError:
        return False
    return bool(stat.st_size == size and stat.st_mtime_ns == time_ns)


def _read_sounds(target: Path) -> dict[str, SoundIdentity]:
    """Read the stored sounds; a line that was cut off is left out."""
    sounds: dict[str, SoundIdentity] = {}
    if not (target / SOUNDS).exists():
        return sounds
    for line in (target / SOUNDS).read_text(encoding="utf-8").splitlines():
        try:
            about, num_samples, key = json.loads(line)
        except ValueError:
            continue
        sounds[about] = SoundIdentity(int(num_samples), str(key))
    return sounds
