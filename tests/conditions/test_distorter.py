"""The sound of an utterance under a condition, sample by sample, with no corpus and no store."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from bench.api import Utterance
from bench.conditions import distorter as module
from bench.conditions.catalogue import Condition, condition
from bench.conditions.distorter import Distorter, draw, fit, make_distorter, to_16_bits
from bench.distortions import coloured
from bench.distortions._effects import EffectStep
from bench.distortions._noise import Noise, NoiseClip
from bench.errors import InvalidDataError, UsageError
from bench.seeds import derive_seed

RATE = 16_000
WHITE = EffectStep("coloured", (("snr_db", 5.0),))
UNCHANGED = EffectStep("gain", (("gain_db", 0.0),))


def chain(*steps, name="chain"):
    return Condition(name, "for tests", 1, tuple(steps))


def tone(num_samples=8_000, hz=400.0):
    return (0.25 * np.sin(2 * np.pi * hz * np.arange(num_samples) / RATE)).astype(np.float32)


def sound(*steps, name="chain", identifier="a", wav=None, band_hz=None):
    distort = Distorter(chain(*steps, name=name), {}, band_hz).distort
    return distort(tone() if wav is None else wav, identifier)


def utterance(path, start=0, num_samples=8_000):
    return Utterance("u", path, start, num_samples, "x", "s", "toy", "0" * 64)


@pytest.fixture
def beep(tmp_path):
    """A file of two seconds, silent except from sample 12,000 to 16,000."""
    wav = np.zeros(2 * RATE, dtype=np.float32)
    wav[12_000:16_000] = tone(4_000)
    soundfile.write(tmp_path / "beep.wav", wav, RATE, subtype="PCM_16")
    return tmp_path / "beep.wav"


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_a_window_moves_with_the_speed(beep, factor):
    """The beep is cut out of the faster recording at its new place, and in its new length."""
    distort = Distorter(chain(EffectStep("speed", (("factor", factor),))), {}, None)
    cut = distort(utterance(beep, 12_000, 4_000))
    assert cut.size == round(4_000 / factor)
    inside = cut[100:-100]
    assert np.sqrt(np.mean(inside**2)) == pytest.approx(0.25 / np.sqrt(2), rel=0.05)
    whole = distort(utterance(beep, 0, 2 * RATE))
    start = round(12_000 / factor)
    np.testing.assert_array_equal(cut, whole[start : start + cut.size])
    silence = distort(utterance(beep, 17_000, 4_000))
    assert np.abs(silence).max() < 1e-3


def test_a_window_of_one_sample_keeps_one(beep):
    distort = Distorter(chain(EffectStep("speed", (("factor", 2.0),))), {}, None)
    assert distort(utterance(beep, 13_000, 1)).size == 1


def test_the_whole_recording_is_distorted_and_then_cut(beep):
    distort = Distorter(chain(WHITE), {}, None)
    whole = distort(utterance(beep, 0, 2 * RATE))
    np.testing.assert_array_equal(distort(utterance(beep, 12_000, 4_000)), whole[12_000:16_000])


def test_a_draw_depends_on_name_utterance_and_position():
    first = sound(WHITE)
    np.testing.assert_array_equal(first, sound(WHITE))
    others = [
        sound(WHITE, name="other"),
        sound(WHITE, identifier="b"),
        sound(UNCHANGED, WHITE),  # the second step draws other noise than the first
    ]
    assert len({wav.tobytes() for wav in (first, *others)}) == 4


def test_two_equal_steps_of_a_chain_draw_different_noise():
    """Equal noise twice would have four times the power of one step's, not twice."""
    mild = EffectStep("coloured", (("snr_db", 20.0),))
    wav = tone(RATE)
    once, twice = (sound(*[mild] * n, wav=wav).astype(np.float64) - wav for n in (1, 2))
    assert np.mean(twice**2) / np.mean(once**2) == pytest.approx(2.0, rel=0.1)
    added = twice - once
    correlation = np.mean(added * once) / np.sqrt(np.mean(added**2) * np.mean(once**2))
    assert abs(correlation) < 0.1


def test_test_only_sounds_as_its_condition_does():
    np.testing.assert_array_equal(sound(WHITE), sound(WHITE, name="chain@test-only"))


def test_noise_is_that_of_the_derived_seed():
    """The committed scores rest on these seeds: another derivation makes other sounds."""
    wav = tone()
    rng = np.random.default_rng(derive_seed("condition", "chain", "a", 0))
    expected = to_16_bits(fit(coloured.distort(wav, rng, snr_db=5.0)))
    np.testing.assert_array_equal(sound(WHITE, wav=wav), expected)


def test_the_input_is_not_changed_and_steps_follow_each_other():
    wav = tone()
    before = wav.copy()
    out = sound(
        EffectStep("gain", (("gain_db", -6.0),)), EffectStep("gain", (("gain_db", -14.0),)), wav=wav
    )
    np.testing.assert_array_equal(wav, before)
    assert wav.flags.writeable
    np.testing.assert_allclose(out, 0.1 * wav, atol=1 / 32_768)


def spectrum_above(wav, hz):
    power = np.abs(np.fft.rfft(wav.astype(np.float64))) ** 2
    return power[np.fft.rfftfreq(wav.size, 1 / RATE) > hz].sum() / power.sum()


CLIPPING = EffectStep("clip", (("below_peak_db", 20.0),))


def test_what_an_effect_adds_above_the_band_of_the_corpus_is_removed():
    wav = tone(hz=900.0)
    assert spectrum_above(sound(CLIPPING, wav=wav), 4_200) > 1e-3
    limited = sound(CLIPPING, wav=wav, band_hz=4_000.0)
    assert spectrum_above(limited, 4_200) < 1e-5
    assert limited.size == wav.size
    both = sound(CLIPPING, UNCHANGED, wav=wav, band_hz=4_000.0)
    assert spectrum_above(both, 4_200) < 1e-5
    np.testing.assert_array_equal(both, sound(UNCHANGED, CLIPPING, wav=wav, band_hz=4_000.0))


def test_effects_that_keep_the_band_are_not_filtered():
    wav = tone(hz=6_000.0)
    out = sound(UNCHANGED, wav=wav, band_hz=4_000.0)
    np.testing.assert_array_equal(out, to_16_bits(wav))


def test_noise_has_the_band_of_the_corpus_unless_a_step_names_one():
    wav = tone()
    assert spectrum_above(sound(WHITE, wav=wav) - wav, 4_100) > 0.3
    assert spectrum_above(sound(WHITE, wav=wav, band_hz=4_000.0) - wav, 4_100) < 1e-4
    named = EffectStep("coloured", (("band_hz", 2_000.0), ("snr_db", 5.0)))
    assert spectrum_above(sound(named, wav=wav, band_hz=4_000.0) - wav, 2_100) < 1e-4


def hum(name):
    samples = tone(RATE, hz={"hum": 1_000.0, "whistle": 3_000.0}[name])
    digest = hashlib.sha256(name.encode()).hexdigest()
    return Noise(name, ((NoiseClip(f"{name}.wav", lambda: samples),),), digest)


NOISES = {name: hum(name) for name in ("hum", "whistle")}
BESIDE = EffectStep("noise", (("noise", {"one_of": ["hum", "whistle"]}), ("snr_db", 0.0)))


def test_a_source_of_noise_is_drawn_by_name_for_each_utterance():
    distort = Distorter(chain(BESIDE), NOISES, None).distort
    wav, tops = tone(RATE), set()
    for number in range(12):
        added = distort(wav, f"u{number}").astype(np.float64) - 0.5 * wav
        spectrum = np.abs(np.fft.rfft(added))
        spectrum[:600] = 0.0  # the speech itself, at 400 Hz
        tops.add(int(np.argmax(spectrum) * RATE / wav.size))
    assert tops == {1_000, 3_000}


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [({"from": 0.2, "to": 0.6}, 0.2, 0.6), ({"from": -5, "to": 5}, -5, 5)],
)
def test_an_interval_is_drawn_evenly(value, least, most):
    rng = np.random.default_rng(0)
    drawn = [draw(value, rng) for _ in range(4_000)]
    assert least <= min(drawn) and max(drawn) <= most
    assert all(isinstance(number, float) for number in drawn)
    quarters = np.histogram(drawn, bins=4, range=(least, most))[0] / len(drawn)
    np.testing.assert_allclose(quarters, 0.25, atol=0.03)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"from": 10, "to": 19, "step": 1}, list(range(10, 20))),
        ({"from": 0.1, "to": 0.4, "step": 0.1}, [0.1, 0.2, 0.3, 0.4]),
        ({"from": 5, "to": 5, "step": 2}, [5]),
        ({"one_of": ["a", "b", "c"]}, ["a", "b", "c"]),
    ],
)
def test_a_grid_or_a_list_is_drawn_evenly(value, expected):
    rng = np.random.default_rng(0)
    drawn = [draw(value, rng) for _ in range(3_000)]
    assert sorted(set(drawn)) == expected
    for number in expected:
        assert drawn.count(number) / len(drawn) == pytest.approx(1 / len(expected), abs=0.03)


def test_what_is_no_mapping_is_taken_as_written():
    rng = np.random.default_rng(0)
    assert [draw(value, rng) for value in (3.0, "pink", True)] == [3.0, "pink", True]
    assert rng.random() == np.random.default_rng(0).random()  # and draws nothing


@pytest.mark.parametrize(
    ("wav", "expected"),
    [
        ([0.5, -0.25], [0.5, -0.25]),
        ([32_767 / 32_768, -32_767 / 32_768], [32_767 / 32_768, -32_767 / 32_768]),
        ([1.0, -0.5], [32_767 / 32_768, -0.5 * 32_767 / 32_768]),
        ([0.5, -2.0], [0.25 * 32_767 / 32_768, -32_767 / 32_768]),
    ],
)
def test_only_what_exceeds_full_scale_is_scaled(wav, expected):
    fitted = fit(np.array(wav, dtype=np.float32))
    assert fitted.dtype == np.float32
    np.testing.assert_allclose(fitted, expected, rtol=1e-6)


def test_samples_are_rounded_to_the_nearest_of_16_bits():
    steps = np.array([0.0, 0.4, 0.6, -0.4, -0.6, 32_766.7, 40_000.0, -32_768.4, -40_000.0])
    expected = np.array([0, 0, 1, 0, -1, 32_767, 32_767, -32_768, -32_768]) / 32_768
    rounded = to_16_bits((steps / 32_768).astype(np.float32))
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded, expected.astype(np.float32))


def test_the_identity_covers_condition_noise_and_band():
    plain = Distorter(chain(BESIDE), NOISES, 4_000.0)
    assert (
        plain.sha256() == Distorter(chain(BESIDE), dict(reversed(NOISES.items())), 4_000.0).sha256()
    )
    content = [
        plain.condition.sha256(),
        {name: NOISES[name].sha256 for name in ("hum", "whistle")},
        4_000.0,
    ]
    assert plain.sha256() == hashlib.sha256(json.dumps(content).encode()).hexdigest()
    louder = NOISES | {"hum": replace(NOISES["hum"], sha256="1" * 64)}
    others = [
        Distorter(chain(BESIDE, name="other"), NOISES, 4_000.0),
        Distorter(chain(BESIDE, UNCHANGED), NOISES, 4_000.0),
        Distorter(chain(BESIDE), louder, 4_000.0),
        Distorter(chain(BESIDE), NOISES, None),
    ]
    assert len({item.sha256() for item in (plain, *others)}) == 5


def test_a_key_covers_the_utterance_the_sound_and_the_libraries(beep, monkeypatch):
    item = utterance(beep)
    faster = EffectStep("speed", (("factor", 1.25),))

    def key(changed=item, *steps):
        return Distorter(chain(*(steps or (faster,))), {}, None).renamed(changed).key

    renamed = Distorter(chain(faster), {}, None).renamed(item)
    assert renamed == replace(item, key=renamed.key)
    keys = [
        key(),
        key(replace(item, id="v")),
        key(replace(item, key="1" * 64)),
        key(item, UNCHANGED),
        key(item, faster, WHITE),
    ]
    asked = []

    def version(name):
        asked.append(name)
        return "99"

    monkeypatch.setattr(module, "_version", version)
    keys.append(key())
    assert asked == ["soxr"]
    assert len(set(keys)) == 6
    assert key(item, WHITE, faster) not in keys
    assert asked == ["soxr", "scipy", "soxr"]


def test_a_library_that_is_not_installed_is_a_version_too():
    assert module._version("numpy") == np.__version__
    assert module._version("no-such-distribution") == "not installed"


def test_a_distorter_has_the_band_of_its_corpus_and_its_noises(tmp_path, monkeypatch):
    calls = []

    def find_noise(name, **options):
        calls.append((name, options))
        return NOISES["hum"]

    monkeypatch.setattr(module, "find_noise", find_noise)
    folders = {"home": tmp_path, "deb_dir": tmp_path / "deb", "noise_dir": tmp_path / "noise"}
    chosen = condition("environment-5db")
    distorter = make_distorter(chosen, "games", **folders)
    assert (distorter.condition, distorter.band_hz) == (chosen, 4_000.0)
    assert distorter.noises == {"environment-seen": NOISES["hum"]}
    assert calls == [("environment-seen", folders | {"band_hz": 4_000.0})]
    assert make_distorter(condition("white-5db"), "elsewhere", home=tmp_path).band_hz is None
    with pytest.raises(UsageError, match="condition drascula: another test set"):
        make_distorter(condition("drascula"), "games", home=tmp_path)


def test_an_error_names_the_condition_and_the_utterance(beep):
    silent = np.zeros(RATE, dtype=np.float32)
    hush = Noise("hum", ((NoiseClip("hush.wav", lambda: silent),),), "0" * 64)
    step = EffectStep("noise", (("noise", "hum"), ("snr_db", 0.0)))
    with pytest.raises(InvalidDataError, match=r"^condition chain, u: .*silent"):
        Distorter(chain(step), {"hum": hush}, None)(utterance(beep))
    with pytest.raises(InvalidDataError, match="u under chain"):
        Distorter(chain(UNCHANGED), {}, None)(utterance(beep, 5 * RATE, 10))
