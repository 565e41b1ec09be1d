"""Gain and silence removal against the real SoX 14.4.2: what it gave, and itself where it is."""

import hashlib
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from bench.api import Utterance
from bench.errors import InvalidDataError
from bench.features.passes import clean_sound
from bench.sound.sox import PERIOD, WINDOW, gain, gain_and_silence, whole_sound

# Levels around the threshold of 0.1 %, which is 46 after 3 dB down.
LEVELS = (0, 1, 8, 20, 30, 33, 36, 40, 46, 47, 50, 100, 1_000, 9_000)
# By seed: samples left by `sox a.wav b.raw gain -3.0 silence 1 0.1 0.1% -1 0.1 0.1%` and the first
# digits of the sha256 of its 32-bit output.
GOLDEN = {
    0: (26_300, "2716168d37de7293"),
    1: (11_020, "d4c61b977a2550e6"),
    2: (29_780, "af97a199178bc06b"),
    3: (15_651, "5231625b0fabe8e3"),
    4: (28_285, "bfe8409c043c62f9"),
    5: (6_219, "fe61dc4c33e60e3d"),
    6: (5_866, "2702408bfb22cd2a"),
    7: (8_454, "3586ddffb6940736"),
}


def sound(seed: int) -> np.ndarray:
    """Pieces of noise of random levels and lengths (S,), 16 bits."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(rng.integers(3, 12)):
        size, level = int(rng.integers(100, 9_000)), int(rng.choice(LEVELS))
        parts.append(np.round(level * rng.standard_normal(size)))
    return np.clip(np.concatenate(parts), -32_768, 32_767).astype(np.int16)


def as_sox(wav: np.ndarray) -> np.ndarray:
    """What we give, as SoX's 32-bit output; the last 8 bits are lost in single precision."""
    return (wav.astype(np.float64) * 2**31).astype(np.int64)


def ours(seed: int) -> np.ndarray:
    return gain_and_silence(sound(seed).astype(np.float32) / 32_768)


@pytest.mark.parametrize("seed", GOLDEN)
def test_what_sox_left_of_some_sounds(seed):
    count, digest = GOLDEN[seed]
    found = ours(seed)
    single = (found.astype(np.float64) * 2**31).astype("<i8")
    assert found.size == count
    assert hashlib.sha256(single.tobytes()).hexdigest()[:16] == digest


@pytest.mark.skipif(shutil.which("sox") is None, reason="SoX is not installed (Debian's sox)")
@pytest.mark.parametrize("seed", range(100, 112))
def test_the_real_program_bit_by_bit(seed, tmp_path):
    path, raw = tmp_path / "a.wav", tmp_path / "b.raw"
    soundfile.write(path, sound(seed), 16_000, subtype="PCM_16")
    for effects, effect in (
        ("gain -3.0", gain),
        ("channels 1 rate 16000 gain -3.0 silence 1 0.1 0.1% -1 0.1 0.1%", gain_and_silence),
    ):
        command = ["sox", path, "-t", "raw", "-e", "signed", "-b", "32", raw, *effects.split()]
        subprocess.run(command, check=True, capture_output=True)
        expected = np.fromfile(raw, np.int32)
        found = effect(sound(seed).astype(np.float32) / 32_768)
        np.testing.assert_array_equal(as_sox(found), as_sox((expected / 2**31).astype(np.float32)))


def test_the_rule_by_hand():
    loud, quiet = np.full(3 * PERIOD, 0.5, np.float32), np.zeros(2 * PERIOD, np.float32)
    assert gain_and_silence(quiet).size == 0
    assert gain_and_silence(loud[: PERIOD - 1]).size == 0  # too short to begin
    found = gain_and_silence(np.concatenate([quiet, loud, quiet, loud]))
    # The level falls a window after the sound, and rises with its first sample.
    assert found.size == 2 * loud.size + WINDOW - 1
    np.testing.assert_allclose(found[:10], 0.5 * 10**-0.15, rtol=1e-6)
    short = np.concatenate([loud, quiet[: PERIOD - WINDOW], loud])
    assert gain_and_silence(short).size == short.size  # a pause below 0.1 s stays


def test_an_utterance_is_cut_after_its_effect(tmp_path):
    path = tmp_path / "a.wav"
    pcm = np.concatenate([np.zeros(4_000), 8_000 * np.ones(8_000)]).astype(np.int16)
    soundfile.write(path, pcm, 16_000, subtype="PCM_16")
    item = Utterance("a", path, 10, 100, "", "", "", "k", effect="gain-silence")
    assert whole_sound(item).size == 8_000
    np.testing.assert_array_equal(clean_sound(item), whole_sound(item)[10:110])
    with pytest.raises(InvalidDataError, match="unknown effect 'echo'"):
        whole_sound(Utterance("a", path, 0, 1, "", "", "", "k", effect="echo"))
