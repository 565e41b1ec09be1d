"""Noise from Debian packages: environment, music, and speech for babble; seen and unseen apart.

Recipes may train on `*-seen`. `*-unseen` is for tests only: it comes from other packages, with
other places, music, languages and voices. All sources are much smaller than MUSAN (durations: the
`about` of each source and docs/conditions.md).

A source is fetched when it is first used. Clips become 16 kHz mono (channels averaged); level and
bandwidth stay as they are.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from bench.api import SAMPLE_RATE_HZ
from bench.corpora.package import corpus_folder, recipe
from bench.corpora.package.clip_sound import is_silent
from bench.corpora.package.debian import Package, fetch, read
from bench.errors import InvalidDataError, MissingError, UsageError, UserError, did_you_mean
from bench.paths import write_text
from bench.schema import read_yaml
from bench.sound.audio import Wav, read_wav, resample, samples_digest, write_wav

NAME = "noise-v1"
MARK = "source.json"
SOURCES_FILE = Path(__file__).with_suffix(".yaml")
MIN_SECONDS, MAX_SECONDS = 1.0, 600.0


@dataclass(frozen=True)
class NoiseSource:
    """One source of noise in Debian packages.

    Attributes:
        about: description with its duration, for people.
        packages: its packages; `wanted` of a package selects the clips.
    """

    about: str
    packages: tuple[Package, ...]


SOURCES = {
    name: NoiseSource(source["about"], tuple(Package(**package) for package in source["packages"]))
    for name, source in read_yaml(SOURCES_FILE).items()
}


@dataclass(frozen=True)
class PreparedSource:
    """A noise source on disk.

    Attributes:
        files: its clips, by name.
        sha256: identity of their samples and names.
        seconds: of sound.
    """

    files: tuple[Path, ...]
    sha256: str
    seconds: float


def folder(home: Path) -> Path:
    """Return the folder of the sources that the present recipe makes."""
    return corpus_folder.place(home, NAME, recipe.code_digest(__name__, SOURCES_FILE))


def prepare(
    home: Path, *, deb_dir: Path | None = None, sources: Iterable[str] = tuple(SOURCES)
) -> Path:
    """Make the sources that are not prepared.

    Args:
        home: the folder of everything that can be made again.
        deb_dir: a folder with the .deb files, for systems without apt.
        sources: names of the sources.

    Raises:
        UsageError: no such source.
        MissingError: a package cannot be fetched, no space, no permission.
        InvalidDataError: a package is corrupt, or holds no usable sound.
    """
    for name in sources:
        if name not in SOURCES:
            raise UsageError(f"unknown noise source {name!r}: {did_you_mean(name, SOURCES)}")
        if _is_prepared(home, name):
            continue
        with corpus_folder.alone(folder(home)):
            if not _is_prepared(home, name):  # another process may have made it meanwhile
                _make(home, name, deb_dir)
    return folder(home)


def _is_prepared(home: Path, name: str) -> bool:
    try:
        opened(home, name)
    except MissingError:
        return False
    return True


def opened(home: Path, name: str) -> PreparedSource:
    """Return a prepared source.

    Raises:
        MissingError: not prepared, or a clip of it was removed.
    """
    place = folder(home) / name
    missing = f"no noise in {place}: a condition that needs it prepares it"
    try:
        mark = json.loads((place / MARK).read_text(encoding="utf-8"))
        files = tuple(place / clip for clip in mark["clips"])
        source = PreparedSource(files, str(mark["sha256"]), float(mark["seconds"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingError(missing) from error
    if not all(path.exists() for path in files):
        raise MissingError(missing)
    return source


def _make(home: Path, name: str, deb_dir: Path | None) -> None:
    """Decode the clips of one source, then write its mark."""
    place = folder(home) / name
    clips: dict[str, str] = {}
    dropped, samples = 0, 0
    for package in SOURCES[name].packages:
        deb = fetch(package, home / "packages", deb_dir)
        for path, content in sorted(read(package, deb).items()):
            wav = decode(content, path)
            if wav is None or not _usable(wav):
                dropped += 1
                continue
            clip = f"{len(clips):04d}-{Path(path).stem.replace(' ', '_')}.wav"
            write_wav(place / clip, wav)
            key = samples_digest(read_wav(place / clip))
            if key in clips.values():
                (place / clip).unlink()
                continue
            clips[clip] = key
            samples += wav.size
    if not clips:
        raise InvalidDataError(f"noise source {name}: its packages hold no usable sound")
    mark = {
        "sha256": hashlib.sha256(json.dumps(clips).encode()).hexdigest(),
        "seconds": round(samples / SAMPLE_RATE_HZ, 1),
        "dropped": dropped,
        "clips": clips,
    }
    write_text(place / MARK, json.dumps(mark, indent=1) + "\n")


def _usable(wav: Wav) -> bool:
    """Return whether a clip lasts 1 s to 10 min and is not silent."""
    return MIN_SECONDS <= wav.size / SAMPLE_RATE_HZ <= MAX_SECONDS and not is_silent(wav)


def decode(content: bytes, name: str) -> Wav | None:
    """Decode a file to (S,) at 16 kHz; None if it is not sound (a few are not).

    Raises:
        MissingError: a G.722 file, and PyAV is not installed.
    """
    if name.endswith(".g722"):
        wav = _decode_g722(content)
        return None if wav is None else np.clip(wav, -1.0, 32_767 / 32_768)
    try:
        samples, rate_hz = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError:
        return None
    if not samples.size:
        return None
    mono = resample(samples.mean(axis=1, dtype=np.float32), int(rate_hz))
    clipped: Wav = np.clip(mono, -1.0, 32_767 / 32_768).astype(np.float32)
    return clipped


def _decode_g722(content: bytes) -> Wav | None:
    """Decode G.722 without a header (64 kbit/s, 16 kHz) to (S,)."""
    try:
        import av
    except ImportError as error:
        raise MissingError(
            "these recordings are G.722, which needs PyAV: pip install 'slim-superb[conditions]'"
        ) from error
    try:
        with av.open(io.BytesIO(content), mode="r", format="g722") as file:
            blocks = [frame.to_ndarray().reshape(-1) for frame in file.decode(audio=0)]
    except av.error.FFmpegError:
        return None
    if not blocks:
        return None
    wav: Wav = np.concatenate(blocks).astype(np.float32)
    return wav / np.float32(32_768.0)


def status(home: Path) -> corpus_folder.CorpusStatus:
    """Return the state of all sources together."""
    prepared: list[PreparedSource] = []
    problems: list[str] = []
    for name in SOURCES:
        try:
            prepared.append(opened(home, name))
        except MissingError as error:
            problems.append(str(error))
    return corpus_folder.CorpusStatus(
        name=NAME,
        prepared=not problems,
        num_utterances=sum(len(item.files) for item in prepared),
        hours=round(sum(item.seconds for item in prepared) / 3600, 3),
        size_bytes=sum(path.stat().st_size for item in prepared for path in item.files),
        problems=tuple(problems),
    )


def validate(sources: Path) -> list[str]:
    """Return a line for every clip of a folder of sources that is missing or altered."""
    problems = []
    for mark_file in sorted(sources.glob(f"*/{MARK}")):
        for clip, key in json.loads(mark_file.read_text(encoding="utf-8"))["clips"].items():
            try:
                if samples_digest(read_wav(mark_file.parent / clip)) != key:
                    problems.append(f"{mark_file.parent.name}/{clip}: altered")
            except UserError as error:
                problems.append(f"{mark_file.parent.name}/{clip}: {error}")
    return problems
