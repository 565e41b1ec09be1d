"""Training clips: tables of corpora, folders of audio and patterns of folders."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from glob import has_magic
from pathlib import Path

import torch
from torch import Tensor

from bench.api import Utterance
from bench.errors import MissingError, UsageError, one_line
from bench.identity import key_of
from bench.load.file_digests import file_digests
from bench.progress import warn
from bench.registry import corpus_module
from bench.sound.audio import check_format, open_sound, read_wav
from bench.sound.lengths import check_length
from bench.sound.manifests import read_table
from bench.sound.sox import whole_sound

# Endings of files that libsndfile reads.
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".nist", ".sph"),
)
LEFT_OUT = "left-out.txt"
LISTED = 10  # files left out that are named on the terminal
NOT_TRAINING = re.compile(r"(dev|valid|eval|test)([-_.].*)?", re.IGNORECASE)


def read_part(clip: Utterance, start: int, num_samples: int) -> Tensor:
    """Read samples (num_samples,) of a clip from `start`, with its effect as in evaluation."""
    begin = clip.start + start
    if clip.effect:
        return torch.from_numpy(whole_sound(clip)[begin : begin + num_samples])
    return torch.from_numpy(read_wav(clip.path, start=begin, num_samples=num_samples))


def find_clips(
    data: str, home: Path, folder: Path | None = None, corpora: Path | None = None
) -> list[Utterance]:
    """Return the clips of `CORPUS:TABLE`, of a folder of audio or of a pattern of folders.

    A clip is identified by its name and its content; unchanged files are not read again
    (`bench.load.file_digests`).

    Links to files and folders are followed, each file once. Hidden files and folders (a name that
    begins with a dot) and files of other endings are left out, which is said.

    Args:
        data: as above.
        home: folder of the corpora.
        folder: where the file `LEFT_OUT` grows, which names every file that is left out; None to
            name the first ones only.
        corpora: folder of official corpora, to prepare the corpus from; None for the folder that
            it was last prepared from.

    Raises:
        UsageError: `corpora` for a corpus that is not official, or a folder that holds a dev or
            test set beside training data.
        MissingError: no such folder, or no audio in it.
        InvalidDataError: audio that is not 16 kHz mono.
    """
    corpus, colon, table = data.partition(":")
    if colon:
        module = corpus_module(corpus)
        if getattr(module, "OFFICIAL", False):
            module.prepare(home, data=corpora)
            for difference in module.differences(home)[:1]:
                warn(f"{difference}: the training has the present part only")
        elif corpora is not None:
            raise UsageError(
                f"--data {corpora}: the recipe's task has the embedded corpus {corpus}, which "
                f"needs no folder: leave --data out"
            )
        else:
            module.prepare(home, deb_dir=None)
        return read_table(module.folder(home), table)
    clips, left_out, seen = [], [], set[Path]()
    for place, root in _folders(data):
        for path in _files(place):
            is_hidden = any(part.startswith(".") for part in path.relative_to(place).parts)
            real = path.resolve() if path.exists() else path  # a link to nothing is refused below
            if is_hidden or path.suffix.lower() not in AUDIO_SUFFIXES or real in seen:
                reason = "hidden" if is_hidden else "twice" if real in seen else "no audio"
                left_out.append(f"{path} ({reason})")
                continue
            seen.add(real)
            clips.append(_clip(path, root))
    if not clips:
        raise MissingError(f"{data}: no audio files ({', '.join(AUDIO_SUFFIXES)}) in that folder")
    if left_out:
        _say_left_out(data, left_out, folder)
    digests = file_digests([clip.path for clip in clips], home)
    return [
        replace(clip, key=key_of([clip.id, digest]))
        for clip, digest in zip(clips, digests, strict=True)
    ]


def _files(place: Path) -> list[Path]:
    """Return the files in a folder and below, sorted; linked folders are followed, each once."""
    files, entered = [], set[Path]()
    for top, folders, names in os.walk(place, followlinks=True):
        entered.add(Path(top).resolve())
        folders[:] = sorted(name for name in folders if Path(top, name).resolve() not in entered)
        entered |= {Path(top, name).resolve() for name in folders}
        files += [Path(top, name) for name in names]  # also pipes, which are refused by name
    return sorted(files)


def _say_left_out(data: str, left_out: Sequence[str], folder: Path | None) -> None:
    """Name the files that are left out."""
    names = ", ".join(left_out[:LISTED])
    if folder is not None:
        with (folder / LEFT_OUT).open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.writelines(f"{line}\n" for line in left_out)
    more = f" and {len(left_out) - LISTED} more" if len(left_out) > LISTED else ""
    where = f"; all in {folder / LEFT_OUT}" if more and folder is not None else ""
    warn(f"{data}: {len(left_out)} files are left out: {one_line(names, 1_000)}{more}{where}")


def _folders(data: str) -> list[tuple[Path, Path]]:
    """Return folders of audio, each with the folder that the ids of its clips are relative to.

    Raises:
        UsageError: a folder inside is named like a dev or test set.
    """
    folder = Path(data)
    if has_magic(data):
        top = Path(folder.anchor)
        paths = sorted(path for path in top.glob(str(folder.relative_to(top))) if path.is_dir())
        return [(path, path.parent) for path in paths]
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir() and NOT_TRAINING.fullmatch(path.name):
            raise UsageError(
                f"{folder}: holds {path.name!r}, which is not training data; name the folders "
                f"to train on, such as --data '{folder / 'train*'}'"
            )
    return [(folder, folder)]


def _clip(path: Path, folder: Path) -> Utterance:
    """Return a whole file as an utterance, still without a key."""
    with open_sound(path) as file:
        check_format(file, path)
        check_length(file, path)
        num_samples = file.frames
    name = path.relative_to(folder).as_posix()
    return Utterance(
        id=name,
        path=path,
        start=0,
        num_samples=num_samples,
        target=None,
        speaker="",
        source=folder.name,
        key="",
    )
