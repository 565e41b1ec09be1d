"""Noise sources by name: from Debian packages, from folders, and unions of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench.conditions.noise_folders import PACKS, open_pack
from bench.corpora.noise import packaged
from bench.distortions._noise import Noise, NoiseClip, check_clip
from bench.errors import MissingError, UsageError, did_you_mean
from bench.identity import noise_union_digest
from bench.progress import say
from bench.sound.audio import Wav, low_pass, read_wav

CACHE_BYTES = 600_000_000
ClipKey = tuple[str, str, float | None]  # identity of the source, name of the clip, band in Hz


@dataclass
class ClipCache:
    """Clips that were read and filtered, up to `CACHE_BYTES`; the oldest are dropped first."""

    clips: dict[ClipKey, Wav] = field(default_factory=dict)
    size: int = 0

    def get(self, key: ClipKey, load: Callable[[], Wav]) -> Wav:
        """Return a clip (S,), low-passed to a band; `load` reads it if it is not cached."""
        if key not in self.clips:
            wav, band_hz = load(), key[2]
            wav = wav if band_hz is None else low_pass(wav, edge_hz=band_hz)
            wav.setflags(write=False)
            while self.clips and self.size + wav.nbytes > CACHE_BYTES:
                self.size -= self.clips.pop(next(iter(self.clips))).nbytes
            self.clips[key] = wav
            self.size += wav.nbytes
        return self.clips[key]


_CACHE = ClipCache()


def source_names() -> dict[str, str]:
    """Return the description of every source by its name."""
    packages = {name: source.about for name, source in packaged.SOURCES.items()}
    return packages | {name: f"--noise-dir: {pack.about}" for name, pack in PACKS.items()}


def check_source(text: str) -> list[str]:
    """Return the parts of `NAME[+NAME...]`.

    Raises:
        UsageError: a part is not the name of a source.
    """
    parts = text.split("+")
    for part in parts:
        if part not in source_names():
            raise UsageError(f"unknown noise source {part!r}: {did_you_mean(part, source_names())}")
    return parts


def find_noise(
    text: str,
    *,
    home: Path,
    deb_dir: Path | None = None,
    noise_dir: Path | None = None,
    band_hz: float | None = None,
) -> Noise:
    """Return the source of a name; fetch its packages if it is not prepared.

    Args:
        text: `NAME[+NAME...]`; every kind of clip of all parts is equally likely.
        home: folder of everything that can be made again.
        deb_dir: folder of Debian packages, without apt.
        noise_dir: folder of noise corpora.
        band_hz: low-pass edge for the clips: the bandwidth of the corpus they are added to.

    Raises:
        UsageError: no such source.
        MissingError: a package cannot be fetched, or a folder is not there.
        InvalidDataError: a package is corrupt or holds no usable sound.
    """
    parts = [_one(part, home, deb_dir, noise_dir) for part in check_source(text)]
    groups = tuple(
        tuple(
            NoiseClip(clip.name, partial(_CACHE.get, (part.sha256, clip.name, band_hz), clip.load))
            for clip in group
        )
        for part in parts
        for group in part.groups
    )
    return Noise(text, groups, noise_union_digest(part.sha256 for part in parts))


def _one(name: str, home: Path, deb_dir: Path | None, noise_dir: Path | None) -> Noise:
    if name in PACKS:
        return open_pack(name, home, noise_dir)
    try:
        source = packaged.opened(home, name)
    except MissingError:
        say(f"fetching noise: {name} ({packaged.SOURCES[name].about})")
        packaged.prepare(home, deb_dir=deb_dir, sources=[name])
        source = packaged.opened(home, name)
    clips = tuple(NoiseClip(str(path), partial(_read, path)) for path in source.files)
    return Noise(name, (clips,), source.sha256)


def _read(path: Path) -> Wav:
    return check_clip(read_wav(path), str(path))
