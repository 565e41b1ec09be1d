"""From an official folder to manifests: every sound is read once, to know its length and identity.

The audio stays where it is; the prepared folder holds tables and a link to it. Reading 340 hours
takes a while, so what was found of a file is kept beside the tables: an interrupted preparation
goes on, and a second one reads only files that are new or changed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.corpora.official._hub import export, is_hub
from bench.corpora.official._layout import Clip, Layout, Part
from bench.corpora.package import corpus_folder, recipe
from bench.corpora.package.corpus_folder import Status
from bench.errors import InvalidDataError, MissingError
from bench.paths import disk_errors, write_text
from bench.progress import bar
from bench.sound.audio import read_wav, samples_digest
from bench.sound.manifests import write_table, write_trials
from bench.sound.sox import EFFECTS

# The file of sounds carries the digest of the code that reads them: recipes share what was read.
SOUNDS = f"sounds-{recipe.code_digest('bench.sound.sox')[: corpus_folder.DIGEST_LETTERS]}.jsonl"
Asked = tuple[str, str, int, int | None]  # `Clip.sound`
LINK = "audio"


class Sound(NamedTuple):
    """What is known of a clip's sound: samples after its effect, and the sha256 of them."""

    num_samples: int
    key: str


@dataclass(frozen=True)
class OfficialCorpus:
    """A corpus module's verbs, from its layout: `folder`, `prepare`, `status`, `validate`.

    Attributes:
        layout: where what lies.
    """

    layout: Layout

    def folder(self, home: Path) -> Path:
        """Return the folder of the manifests that the present code makes."""
        digest = recipe.code_digest(self.layout.read.__module__)
        return corpus_folder.place(home, self.layout.name, digest)

    def prepare(self, home: Path, *, deb_dir: Path | None = None, data: Path | None = None) -> Path:
        """Make the manifests, or return at once when they are there.

        Args:
            home: the folder of everything that can be made again.
            deb_dir: not used.
            data: folder of unpacked corpora, or this corpus' own, or `hf:NAME` for one that is
                made from the hub; None for the one of last time.

        Raises:
            MissingError: no folder was ever named, or something in it is not there.
            InvalidDataError: something in it is not what it must be.
        """
        del deb_dir
        target = self.folder(home)
        mark = corpus_folder.read_mark(target)
        if data is not None and is_hub(data):
            data = export(self.layout, data, home)
        root = _last_root(target) if data is None else self.layout.find(data).resolve()
        if root is None:
            raise MissingError(
                f"{self.layout.title}: name the folder that it lies in with --data DIR. "
                f"{self.layout.where}"
            )
        if mark.get("root") == str(root) and (data is None or not self.differences(home)):
            if not root.is_dir():
                raise MissingError(f"{root}: {self.layout.title} is gone: name it with --data DIR")
            return target
        with corpus_folder.alone(target):
            self._make(target, root)
        return target

    def _make(self, target: Path, root: Path) -> None:
        """Tables and the link; the mark last."""
        (target / corpus_folder.MARK).unlink(missing_ok=True)
        parts = self.layout.read(root)
        link = target / LINK
        with disk_errors(link):
            link.unlink(missing_ok=True)
            link.symlink_to(root, target_is_directory=True)
        sounds = scan(root, [clip for part in parts.values() for clip in part.clips], target)
        counts, seconds, heard = {}, 0.0, set()
        for name, part in parts.items():
            rows = table_rows(part, sounds, self.layout.name)
            if not rows:
                raise InvalidDataError(f"{root}: no usable utterance for {name}")
            write_table(target, name, rows)
            if part.trials:
                write_trials(target, name, part.trials)
            counts[name] = len(rows)
            heard |= {(row["key"], row["num_samples"]) for row in rows}
        seconds = sum(samples for _, samples in heard) / 16_000
        content = {
            "root": str(root),
            "counts": counts,
            "hours": round(seconds / 3600, 3),
        }
        write_text(target / corpus_folder.MARK, json.dumps(content, indent=2) + "\n")

    def status(self, home: Path) -> Status:
        """What there is of the corpus."""
        target = self.folder(home)
        mark = corpus_folder.read_mark(target)
        return Status(
            name=self.layout.name,
            prepared=bool(mark),
            num_utterances=sum(mark.get("counts", {}).values()),
            hours=float(mark.get("hours", 0.0)),
            size_bytes=corpus_folder.folder_bytes(target),
            problems=tuple(self.differences(home)) if mark else (),
        )

    def differences(self, home: Path) -> list[str]:
        """How the prepared corpus differs from the official one, a line each."""
        mark = corpus_folder.read_mark(self.folder(home))
        found = mark.get("counts", {})
        return [
            f"{self.layout.title} in {mark['root']}: {name} has {found[name]} utterances, the "
            f"official corpus {size.utterances}"
            for name, size in self.layout.sizes.items()
            if size.exact and name in found and found[name] != size.utterances
        ]

    def validate(self, folder: Path) -> list[str]:
        """Sounds that are not what the manifests were made from, a line each."""
        root = folder / LINK
        known = _kept(folder)
        return [
            f"{root / json.loads(about)[0]}: changed since the manifests were made"
            for about in known
            if not _is_there(root, about)
        ]


def _last_root(target: Path) -> Path | None:
    """Return the official folder of the last preparation, by this recipe or else by another."""
    marks = [path / corpus_folder.MARK for path in corpus_folder.other_recipes(target)]
    newest_first = sorted(
        (path for path in marks if path.exists()), key=lambda path: -path.stat().st_mtime
    )
    for path in (target / corpus_folder.MARK, *newest_first):
        root = corpus_folder.read_mark(path.parent).get("root")
        if root is not None:
            return Path(root)
    return None


def table_rows(part: Part, sounds: Mapping[Asked, Sound], source: str) -> list[dict[str, Any]]:
    """The rows of one table; clips that are too short are left out."""
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


def listen(root: Path, clip: Clip) -> Sound:
    """Read one clip.

    Raises:
        MissingError, InvalidDataError: as `bench.sound.audio.read_wav`.
    """
    wav = read_wav(root / clip.path)
    if clip.effect:
        wav = EFFECTS[clip.effect](wav)
    end = None if clip.num_samples is None else clip.start + clip.num_samples
    if end is not None and end > wav.size:
        raise InvalidDataError(f"{root / clip.path}: {end} samples expected, found {wav.size}")
    wav = wav[clip.start : end]
    return Sound(wav.size, samples_digest(wav) if wav.size else "")


def scan(root: Path, clips: Sequence[Clip], target: Path) -> dict[Asked, Sound]:
    """The sounds of clips, those that are known from last time without reading them.

    Raises:
        MissingError, InvalidDataError: as `listen`.
    """
    ours = _kept(target)
    known = {
        about: sound
        for folder in corpus_folder.other_recipes(target)
        for about, sound in _kept(folder).items()
    } | ours
    wanted = {clip.sound: clip for clip in clips}
    about = {asked: _about(root, clip) for asked, clip in wanted.items()}
    new = [clip for asked, clip in wanted.items() if about[asked] not in known]
    shared = [text for text in about.values() if text in known and text not in ours]
    with (
        bar(total=len(new), label="reading the corpus", unit="files") as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
        disk_errors(target / SOUNDS),
        (target / SOUNDS).open("a", encoding="utf-8") as file,
    ):
        file.writelines(json.dumps([text, *known[text]]) + "\n" for text in shared)
        for clip, sound in zip(new, pool.map(lambda clip: listen(root, clip), new), strict=True):
            known[about[clip.sound]] = sound
            file.write(json.dumps([about[clip.sound], *sound]) + "\n")
            progress.update(1)
    return {asked: known[text] for asked, text in about.items()}


def _about(root: Path, clip: Clip) -> str:
    """What a clip's sound depends on, as text: its file as it is now, and the part of it."""
    stat = (root / clip.path).stat()
    part = [clip.path, stat.st_size, stat.st_mtime_ns, clip.effect, clip.start, clip.num_samples]
    return json.dumps(part)


def _is_there(root: Path, about: str) -> bool:
    """Whether the file that a line of `SOUNDS` speaks of is still the same."""
    path, size, time_ns, *_ = json.loads(about)
    try:
        stat = (root / path).stat()
    except OSError:
        return False
    return bool(stat.st_size == size and stat.st_mtime_ns == time_ns)


def _kept(target: Path) -> dict[str, Sound]:
    """What was found last time; a line that was cut off is left out."""
    found: dict[str, Sound] = {}
    if not (target / SOUNDS).exists():
        return found
    for line in (target / SOUNDS).read_text(encoding="utf-8").splitlines():
        try:
            about, num_samples, key = json.loads(line)
        except ValueError:
            continue
        found[about] = Sound(int(num_samples), str(key))
    return found
