"""Speech Commands v0.01 (Warden 2017): single words, for keyword spotting with twelve classes.

Layout: `speech_commands_v0.01/WORD/*.wav` and `_background_noise_/*.wav`, and separately
`speech_commands_test_set_v0.01/CLASS/*.wav`. Words are split by Google's hash of the speaker, not
by the lists in the archive. Words that the hash assigns to the test are discarded, because the test
set is the other archive (as in s3prl). All other words are `_unknown_`.

Long recordings of noise are `_silence_`: SUPERB takes a random second of one at every access. Here
`TRAIN_PIECES` or `DEV_PIECES` seconds of each recording are drawn once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.official._layout import OfficialClip, OfficialTable, is_stray, listed, need
from bench.corpora.official._manifest import OfficialCorpus
from bench.errors import InvalidDataError, MissingError
from bench.seeds import derive_seed
from bench.sound.audio import open_sound

TRAIN_FOLDER, TEST_FOLDER = "speech_commands_v0.01", "speech_commands_test_set_v0.01"
NOISE_FOLDER = "_background_noise_"
KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
UNKNOWN, SILENCE = "_unknown_", "_silence_"
CLASSES = (*KEYWORDS, UNKNOWN, SILENCE)
MAX_PER_CLASS = 2**27 - 1  # as in Google's script
PIECE = SAMPLE_RATE_HZ
TRAIN_PIECES, DEV_PIECES = 100, 20
NOISES = 6


def split_of(file_name: str) -> str:
    """Return `dev`, `test` (discarded) or `train` from the hash of the speaker in a file name."""
    speaker = file_name.split("_nohash_")[0]
    number = int(hashlib.sha1(speaker.encode("utf-8")).hexdigest(), 16) % (MAX_PER_CLASS + 1)
    percent = number * (100.0 / MAX_PER_CLASS)
    return "dev" if percent < 10 else "test" if percent < 20 else "train"


def read(root: Path) -> Mapping[str, OfficialTable]:
    """Read the tables of a folder with both archives in it.

    Raises:
        MissingError: an archive, or all keywords or classes of it, are missing.
        InvalidDataError: an archive of another version, or a damaged recording of noise.
    """
    words, gap = _words(need(root / TRAIN_FOLDER, "the training archive of Speech Commands"))
    tables: dict[str, list[OfficialClip]] = {"train": [], "dev": [], "test": []}
    for word, path in words:
        split = split_of(path.name)
        if split != "test":
            tables[split].append(_clip(root, path, word if word in KEYWORDS else UNKNOWN))
    tables["test"], test_gap = _test(root)
    noises = listed(root / TRAIN_FOLDER / NOISE_FOLDER, "*.wav")
    if not noises:
        gap = gap or f"{TRAIN_FOLDER}/{NOISE_FOLDER}: no recordings of noise, {NOISES} expected"
    for split, count in (("train", TRAIN_PIECES), ("dev", DEV_PIECES)):
        tables[split] += [piece for path in noises for piece in _pieces(root, path, split, count)]
    gaps = {"train": gap, "test": test_gap}
    return {
        f"ks/{name}": OfficialTable(clips, gap=gaps.get(name, "")) for name, clips in tables.items()
    }


def _words(folder: Path) -> tuple[list[tuple[str, Path]], str]:
    """Return the recordings of all words, and a gap where a keyword or all others are missing."""
    recordings = {path.name: listed(path, "*.wav") for path in sorted(folder.iterdir())
             if path.is_dir() and not is_stray(path) and path.name != NOISE_FOLDER}  # fmt: skip
    missing = [word for word in KEYWORDS if not recordings.get(word)]
    gap = ""
    if missing:
        gap = f"{folder.name}/{missing[0]}: no recordings of {missing[0]!r} (*.wav)"
    elif not set(recordings) - set(KEYWORDS):
        gap = f"{folder.name}: only the ten keywords, other words expected ({UNKNOWN})"
    if len(missing) == len(KEYWORDS):
        raise MissingError(f"{folder.parent}: {gap} nor of any other keyword")
    if "backward" in recordings:
        raise InvalidDataError(
            f"{folder}: holds 'backward', a word of version 0.02; SUPERB is defined on 0.01"
        )
    return [(word, path) for word, paths in recordings.items() for path in paths], gap


def _test(root: Path) -> tuple[list[OfficialClip], str]:
    folder = need(root / TEST_FOLDER, "the separate test archive of Speech Commands")
    clips, gap = [], ""
    for name in CLASSES:
        paths = listed(folder / name, "*.wav")
        if not paths and not gap:
            gap = (
                f"{TEST_FOLDER}/{name}: no recordings (*.wav); the test archive has "
                f"{len(CLASSES)} folders, one a class"
            )
        clips += [_clip(root, path, name) for path in paths]
    if not clips:
        raise MissingError(f"{root}: {gap}: unpack it again")
    return clips, gap


def _clip(root: Path, path: Path, target: str) -> OfficialClip:
    relative = path.relative_to(root).as_posix()
    speaker = path.name.split("_nohash_")[0] if "_nohash_" in path.name else ""
    identifier = "/".join(path.with_suffix("").parts[-2:])
    return OfficialClip(identifier, relative, target, speaker=speaker, effect="gain")


def _pieces(root: Path, path: Path, split: str, count: int) -> list[OfficialClip]:
    """Draw seconds of one long recording of noise, by its name.

    Raises:
        InvalidDataError: not readable as sound, or shorter than a second.
    """
    with open_sound(path) as file:
        frames = int(file.frames)
    if frames < PIECE:
        raise InvalidDataError(f"{path}: {frames} samples, at least {PIECE} expected")
    relative = path.relative_to(root).as_posix()
    starts = [derive_seed("noise", split, path.name, n) % (frames - PIECE + 1)
              for n in range(count)]  # fmt: skip
    return [
        OfficialClip(f"{SILENCE}/{path.stem}-{split}-{n}", relative, SILENCE, effect="gain",
             start=start, num_samples=PIECE)
        for n, start in enumerate(starts)
    ]  # fmt: skip


def write_hub(folder: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of `google/speech_commands` to the paths of the archives.

    Raises:
        KeyError: a row lacks its sound or path.
        TypeError: the sound or path of a row is empty.
        ValueError: a path that is not WORD/FILE.wav.
    """
    for row in rows:
        place = PurePosixPath(row["file"])
        if len(place.parts) != 2 or place.suffix != ".wav" or ".." in place.parts:
            raise ValueError(f"WORD/FILE.wav expected, found {str(place)[:60]!r}")
        path = folder / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(row["audio"]["bytes"])


CORPUS = OfficialCorpus(__file__, read=read, write_rows=write_hub, targets=CLASSES)
OFFICIAL = True
folder, prepare, status = CORPUS.folder, CORPUS.prepare, CORPUS.status
validate, differences = CORPUS.validate, CORPUS.differences
