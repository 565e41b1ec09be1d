"""Noise and impulse responses from published corpora in their official folders.

`--noise-dir DIR` names a folder that holds any of them. Nothing is copied or converted on disk. A
file of another format than its corpus has is an error that names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.api import SAMPLE_RATE_HZ
from bench.distortions._noise import Noise, NoiseClip, check_clip
from bench.errors import InvalidDataError, MissingError
from bench.identity import noise_digest
from bench.load.file_digests import file_digests
from bench.sound.audio import Wav, check_peak, open_sound, resample
from bench.sound.lengths import check_length, check_read


@dataclass(frozen=True)
class Pack:
    """A corpus, or a part of one, in its official folder.

    Attributes:
        about: description for people.
        patterns: globs below `--noise-dir`, one for each kind of clip.
        rate_hz: sampling rate of its files; None where they differ.
        channels: of its files, of which the first is used; None where they differ.
    """

    about: str
    patterns: tuple[str, ...]
    rate_hz: int | None = SAMPLE_RATE_HZ
    channels: int | None = 1


PACKS = {
    "musan": Pack(
        "MUSAN (Snyder et al. 2015): music, noise and speech",
        ("musan/music/**/*.wav", "musan/noise/**/*.wav", "musan/speech/**/*.wav"),
    ),
    "musan-speech": Pack("the speech of MUSAN, for babble", ("musan/speech/**/*.wav",)),
    "wham-tr": Pack(
        "WHAM! noise (Wichern et al. 2019), train", ("wham_noise/tr/*.wav",), channels=2
    ),
    "wham-cv": Pack("WHAM! noise, validation", ("wham_noise/cv/*.wav",), channels=2),
    "wham-tt": Pack("WHAM! noise, test", ("wham_noise/tt/*.wav",), channels=2),
    "fsd50k-eval": Pack(
        "FSD50K (Fonseca et al. 2022), evaluation", ("FSD50K.eval_audio/*.wav",), 44_100
    ),
    "dns-noise": Pack(
        "noise of the DNS Challenge 4, full band", ("noise_fullband/**/*.wav",), 48_000
    ),
    "dns-rirs": Pack(
        "impulse responses of the DNS Challenge 4", ("impulse_responses/**/*.wav",), None, None
    ),
    "rirs-real": Pack(
        "RIRS_NOISES (Ko et al. 2017), measured responses",
        ("RIRS_NOISES/real_rirs_isotropic_noises/*.wav",),
        channels=None,
    ),
    "rirs-simulated": Pack(
        "RIRS_NOISES, simulated responses", ("RIRS_NOISES/simulated_rirs/**/*.wav",)
    ),
    "folder": Pack("a folder `folder/` of your own: WAV files", ("folder/**/*.wav",), None, None),
}


def open_pack(name: str, home: Path, noise_dir: Path | None) -> Noise:
    """Open a corpus of `PACKS` as noise.

    Its identity is that of the names and contents of its files, each of which is read once.

    Args:
        name: of the corpus.
        home: folder of the files' digests (`bench.load.file_digests`).
        noise_dir: folder of noise corpora.

    Raises:
        MissingError: no `--noise-dir`, no such folder, or a pattern that no file in it matches.
        InvalidDataError: a file that is no sound.
    """
    pack = PACKS[name]
    expected = " and ".join(pack.patterns)
    if noise_dir is None:
        raise MissingError(
            f"noise {name} ({pack.about}): give the folder that holds {expected} with --noise-dir"
        )
    if not noise_dir.is_dir():
        raise MissingError(f"--noise-dir {noise_dir}: no such folder")
    groups, contents = [], []
    for pattern in pack.patterns:
        files = sorted(path for path in noise_dir.glob(pattern) if path.is_file())
        if not files:
            raise MissingError(f"noise {name}: no {pattern} in {noise_dir}")
        groups.append(tuple(NoiseClip(str(p), partial(read_clip, p, pack)) for p in files))
        names = [path.relative_to(noise_dir).as_posix() for path in files]
        contents += list(zip(names, file_digests(files, home, _check_header), strict=True))
    return Noise(name, tuple(groups), noise_digest(name, contents))


def _check_header(path: Path) -> None:
    """Read the header of a file.

    Raises:
        InvalidDataError: as `open_sound`.
    """
    with open_sound(path):
        pass


def read_clip(path: Path, pack: Pack) -> Wav:
    """Read the first channel of a file, (S,) at 16 kHz.

    Raises:
        InvalidDataError: not sound, another rate or number of channels than its corpus has, shorter
            than 10 ms, or silent.
    """
    with open_sound(path) as file:
        rate_hz, channels = int(file.samplerate), int(file.channels)
        if pack.rate_hz not in (None, rate_hz):
            raise InvalidDataError(f"{path}: noise at {rate_hz} Hz, {pack.rate_hz} Hz expected")
        if pack.channels not in (None, channels):
            raise InvalidDataError(
                f"{path}: noise with {channels} channel(s), {pack.channels} expected"
            )
        check_length(file, path)
        samples = file.read(dtype="float32", always_2d=True)
        check_read(samples[:, 0], file.frames, file)
    check_peak(samples, path)
    return check_clip(resample(samples[:, 0].copy(), rate_hz), str(path))
