"""Every effect, measured on real speech: what was asked for is what comes out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import correlate, welch

from bench import paths
from bench.conditions.catalogue import condition
from bench.corpora.embedded import games
from bench.distortions._effects import effect_module, effect_names
from bench.distortions._filter import window_fir
from bench.distortions._noise import Noise, NoiseClip, check_clip, join, segment
from bench.distortions._room import convolve, reverberation_time, room_response
from bench.distortions.band_reject import mel, reject
from bench.errors import InvalidDataError, UsageError
from bench.sound.audio import read_wav
from bench.sound.manifests import read_table

pytestmark = pytest.mark.corpus
RATE = 16_000


@pytest.fixture(scope="module")
def speech():
    """Six lines of the corpus, 1.5 s and longer."""
    rows = read_table(games.prepare(paths.home()), "quick/asr/test")
    return [read_wav(row.path) for row in rows if row.num_samples > 24_000][:6]


@pytest.fixture(scope="module")
def other(speech):
    """Noise to draw from: other speech, backwards."""
    wavs = [wav[::-1].copy() for wav in speech[3:]]
    clips = tuple(NoiseClip(f"c{i}", lambda wav=wav: wav) for i, wav in enumerate(wavs))
    return Noise("backwards", (clips,), "0" * 64)


def params(name, noise):
    """An example of every effect; a new one has to be measured below, too."""
    examples = {
        "babble": {"snr_db": 5.0, "noise": noise},
        "band_reject": {"width_mel": 300.0, "band_hz": 4_000.0},
        "clip": {"below_peak_db": 12.0},
        "coloured": {"snr_db": 5.0},
        "g722": {},
        "gain": {"gain_db": -10.0},
        "gsm": {},
        "low_pass": {"edge_hz": 1_000.0},
        "mp3": {"bitrate_kbps": 16},
        "mulaw": {},
        "noise": {"snr_db": 5.0, "noise": noise},
        "opus": {"bitrate_kbps": 8},
        "packet_loss": {"loss_rate": 0.1},
        "pitch": {"cents": 200.0},
        "response": {"noise": noise},
        "reverb": {"rt60_s": 0.3},
        "speed": {"factor": 1.25},
        "telephone": {},
    }
    assert set(examples) == set(effect_names())
    return examples[name]


def rng(seed=0):
    return np.random.default_rng(seed)


def decibels(ratio):
    return 10 * np.log10(ratio)


def power(wav):
    return float(np.mean(np.square(wav, dtype=np.float64)))


@pytest.mark.parametrize("name", effect_names())
def test_an_effect_is_pure(name, speech, other):
    module, wav = effect_module(name), speech[0].copy()
    wav.setflags(write=False)
    first = module.distort(wav, rng(), **params(name, other))
    np.testing.assert_array_equal(wav, speech[0])
    np.testing.assert_array_equal(first, module.distort(wav, rng(), **params(name, other)))
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert not np.array_equal(first[: wav.size], wav[: first.size])
    assert first.size == wav.size or not getattr(module, "KEEPS_LENGTH", True)


@pytest.mark.parametrize("name", effect_names())
def test_silence_stays_silence(name, other):
    silence = np.zeros(8_000, dtype=np.float32)
    out = effect_module(name).distort(silence, rng(), **params(name, other))
    assert np.abs(out).max() < 1e-3  # the least step of a codec is not none


@pytest.mark.parametrize("name", effect_names())
def test_a_sound_of_a_few_samples_is_taken(name, other):
    short = rng().standard_normal(300).astype(np.float32) * 0.1
    out = effect_module(name).distort(short, rng(), **params(name, other))
    assert np.isfinite(out).all()
    assert out.size in (300, 240)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5, 20.0])
@pytest.mark.parametrize("name", ["noise", "babble", "coloured"])
def test_the_ratio_of_powers_is_the_one_asked_for(name, snr_db, speech, other):
    for seed, wav in enumerate(speech[:3]):
        asked = params(name, other) | {"snr_db": snr_db}
        mixed = effect_module(name).distort(wav, rng(seed), **asked)
        found = decibels(power(wav) / power(mixed.astype(np.float64) - wav))
        assert abs(found - snr_db) < 0.01


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), "loud"])
def test_a_ratio_that_is_no_number_is_refused(bad, speech):
    with pytest.raises(UsageError, match=r"snr_db .* finite number"):
        effect_module("coloured").distort(speech[0], rng(), snr_db=bad)


@pytest.mark.parametrize(("colour", "slope_db"), [("white", 0.0), ("pink", -3.0), ("brown", -6.0)])
def test_colours_have_their_slope_and_their_band(colour, slope_db, speech):
    wav = np.concatenate(speech)
    mixed = effect_module("coloured").distort(
        wav, rng(), snr_db=0.0, colour=colour, band_hz=4_000.0
    )
    hertz, density = welch(mixed - wav, RATE, nperseg=2_048)
    octaves = [density[(hertz >= low) & (hertz < 2 * low)].mean() for low in (250, 500, 1_000)]
    found = np.diff(decibels(np.array(octaves)))
    assert np.abs(found - slope_db).max() < 1.0
    assert decibels(density[hertz > 4_100].max() / density[hertz < 3_900].max()) < -50


def test_pink_noise_is_shaped_in_the_frequency_domain_by_one_draw():
    """Its values belong to committed scores: for 4,752 samples 4,800 are drawn, 2^6 3 5^2.

    10 Hz and 4 kHz are frequencies of such a spectrum, and belong to the noise.
    """
    wav = rng(5).uniform(-0.5, 0.5, 4_752).astype(np.float32)
    out = effect_module("coloured").distort(wav, rng(6), snr_db=3.0, colour="pink", band_hz=4e3)
    hertz = np.fft.rfftfreq(4_800, 1 / RATE)
    weight = np.where((hertz > 4_000) | (hertz < 10), 0, np.maximum(hertz, 20) ** -0.5)
    noise = np.fft.irfft(np.fft.rfft(rng(6).standard_normal(4_800)) * weight)[:4_752]
    scaled = noise * np.sqrt(power(wav) / 10**0.3 / power(noise))
    assert out - wav == pytest.approx(scaled, abs=1e-6)


def schroeder(response):
    """T30, written apart from the code under test."""
    left = decibels(np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1] + 1e-30)
    left -= left[0]
    inside = np.flatnonzero((left <= -5) & (left >= -35))
    slope, _ = np.polyfit(inside / RATE, left[inside], 1)
    return -60 / slope


@pytest.mark.parametrize("rt60_s", [0.2, 0.4, 0.8, 1.2])
def test_rooms_have_the_reverberation_time_asked_for(rt60_s):
    for number in range(3):
        found = schroeder(room_response(rt60_s, "test", number))
        assert abs(found / rt60_s - 1) < 0.1, (number, found)


@pytest.mark.parametrize(
    ("rt60_s", "number", "num_samples", "strongest"),
    [
        (0.5, 0, 14_221, [(136, 0.3938), (320, 0.3494), (135, 0.3148), (205, 0.2895)]),
        (1.3, 0, 44_285, [(96, 0.3550), (178, 0.2339), (219, 0.1721), (278, 0.1526)]),
        # In these two the microphone is drawn beyond a wall and moved back.
        (0.5, 10, 12_702, [(27, 0.4900), (1, -0.3017), (26, 0.2522), (124, 0.1975)]),
        (0.5, 42, 15_354, [(26, 0.5065), (43, 0.3574), (58, 0.2936), (99, 0.1988)]),
    ],
)
def test_committed_scores_were_made_in_these_rooms(rt60_s, number, num_samples, strongest):
    """The sizes, the places and the walls of some rooms, by their strongest reflections."""
    response = room_response.__wrapped__(rt60_s, "test", number)
    assert response.size == num_samples
    places = np.argsort(-np.abs(response))[1:5]
    assert [(place, response[place]) for place in places.tolist()] == [
        (place, pytest.approx(height, abs=2e-4)) for place, height in strongest
    ]
    assert schroeder(response) == pytest.approx(rt60_s, rel=0.006)
    assert reverberation_time(response) == pytest.approx(rt60_s, rel=0.006)


def test_families_of_rooms_share_none():
    one, two = room_response(0.2, "seen", 0), room_response(0.2, "unseen", 0)
    assert one.size != two.size or not np.allclose(one, two)
    assert one[0] == np.abs(one).max() == 1.0  # direct sound first: words stay in their places


def test_speech_in_a_room_is_the_convolution_at_the_power_that_it_had():
    wav = rng(4).uniform(-0.5, 0.5, 500).astype(np.float32)
    response = np.zeros(300, dtype=np.float32)
    response[[0, 40, 299]] = 1.0, -0.5, 0.25
    wet = np.convolve(wav.astype(float), response)[:500]
    found = convolve(wav, response)
    assert found.dtype == np.float32
    assert found == pytest.approx(wet * np.sqrt(power(wav) / power(wet)), abs=1e-6)
    assert power(found) == pytest.approx(power(wav), rel=1e-5)
    silent = np.zeros(500, dtype=np.float32)
    assert np.array_equal(convolve(silent, response), silent)


@pytest.mark.parametrize("bad", [0.0, 5.0, float("nan"), "long"])
def test_impossible_rooms_are_refused(bad):
    with pytest.raises(UsageError, match="rt60_s"):
        room_response(bad, "test", 0)


def response_db(effect, low, high):
    """Gain of an effect on white noise, in decibels, between two frequencies."""
    noise = rng(3).standard_normal(8 * RATE).astype(np.float32) * 0.1
    hertz, before = welch(noise, RATE, nperseg=4_096)
    _, after = welch(effect(noise), RATE, nperseg=4_096)
    here = (hertz >= low) & (hertz <= high)
    return decibels(after[here].mean() / before[here].mean())


def test_a_filter_has_no_delay_and_passes_within_120_hz():
    pulse = np.zeros(2 * RATE, dtype=np.float32)
    pulse[RATE] = 1.0
    out = window_fir(pulse, [1_000.0, 3_000.0], keep="bandpass")
    around = out[RATE - 1_000 : RATE + 1_001]
    assert np.argmax(np.abs(out)) == RATE
    assert around == pytest.approx(around[::-1], abs=1e-7)
    assert out.size == pulse.size
    hertz = np.fft.rfftfreq(out.size, 1 / RATE)
    gain_db = decibels(np.abs(np.fft.rfft(out.astype(float))) ** 2 + 1e-20)
    passes = (hertz >= 1_060) & (hertz <= 2_940)
    assert np.abs(gain_db[passes]).max() < 0.01
    assert gain_db[(hertz <= 940) | (hertz >= 3_060)].max() < -85
    assert gain_db[hertz == 1_000] == pytest.approx(-6, abs=0.1)
    assert np.array_equal(window_fir(pulse[RATE : RATE + 1], [500.0], keep="lowpass").shape, [1])


def test_low_pass_and_telephone_have_their_edges():
    def low(wav):
        return effect_module("low_pass").distort(wav, rng(), edge_hz=1_000.0)

    telephone = effect_module("telephone").distort
    assert abs(response_db(low, 100, 930)) < 0.1
    assert abs(response_db(low, 995, 1_005) + 6) < 1
    assert response_db(low, 1_080, 8_000) < -60
    assert abs(response_db(lambda wav: telephone(wav, rng()), 380, 3_320)) < 0.1
    assert response_db(lambda wav: telephone(wav, rng()), 0, 220) < -40
    assert response_db(lambda wav: telephone(wav, rng()), 3_480, 8_000) < -60


def test_the_official_band_is_as_wide_as_the_published_codes():
    """Up to half of 27 of 256 equal parts of the mel scale to 8 kHz, as WavAugment draws it."""
    (step,) = condition("official-seen-band").steps
    (drawn,) = (value for name, value in step.params if name == "width_mel")
    assert drawn == {"from": 0.0, "to": pytest.approx(mel(8_000.0) * 27 / 2 / 256, abs=0.3)}
    noise = rng().standard_normal(RATE).astype(np.float32)
    for width_mel in (1e-6, drawn["to"]):
        out = effect_module("band_reject").distort(noise, rng(), width_mel=width_mel)
        assert np.isfinite(out).all() and out.shape == noise.shape


def test_band_rejection_removes_its_band_and_no_more():
    assert response_db(lambda wav: reject(wav, 1_000, 1_500), 1_080, 1_420) < -60
    assert abs(response_db(lambda wav: reject(wav, 1_000, 1_500), 100, 920)) < 0.1
    assert abs(response_db(lambda wav: reject(wav, 1_000, 1_500), 1_580, 7_900)) < 0.1


@pytest.mark.parametrize("cents", [-400, -100, 100, 200, 400])
def test_pitch_is_shifted_by_the_cents_asked_for(cents, speech):
    """The long-term spectrum of speech moves along a logarithmic frequency axis."""
    wav = np.concatenate(speech)
    shifted = effect_module("pitch").distort(wav, rng(), cents=float(cents))
    steps = np.arange(-2_400, 2_400, 5)  # cents around 500 Hz
    curves = []
    for sound in (wav, shifted):
        hertz, density = welch(sound, RATE, nperseg=1_024)
        curve = np.interp(500 * 2 ** (steps / 1_200), hertz, np.log(density + 1e-12))
        curves.append((curve - curve.mean()) * np.hanning(steps.size))
    lags = correlate(curves[1], curves[0], mode="full")
    found = 5 * (int(np.argmax(lags)) - (steps.size - 1))
    assert abs(found - cents) <= 25
    tone = np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE).astype(np.float32)
    moved = effect_module("pitch").distort(tone, rng(), cents=float(cents))[4_000:-4_000]
    spectrum = np.abs(np.fft.rfft(moved * np.hanning(moved.size), 2**18))
    peak = np.argmax(spectrum) * RATE / 2**18
    assert abs(1_200 * np.log2(peak / 440) - cents) < 5


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 1.0])
def test_packets_are_lost_at_the_rate_asked_for(rate, speech):
    lost = total = 0
    for seed, wav in enumerate(speech * 5):
        noisy = wav + np.float32(1e-3)  # no sample of it is 0
        out = effect_module("packet_loss").distort(noisy, rng(seed), loss_rate=rate)
        packets = [out[at : at + 320] for at in range(0, out.size, 320)]
        gone = sum(not packet.any() for packet in packets)
        assert abs(gone - rate * len(packets)) <= 1
        lost, total = lost + gone, total + len(packets)
    assert abs(lost / total - rate) < 0.005


def test_clipping_and_gain_are_as_deep_as_asked(speech):
    wav = speech[0]
    clipped = effect_module("clip").distort(wav, rng(), below_peak_db=12.0)
    assert decibels(np.abs(clipped).max() ** 2 / np.abs(wav).max() ** 2) == pytest.approx(-12)
    quieter = effect_module("gain").distort(wav, rng(), gain_db=-20.0)
    assert decibels(power(quieter) / power(wav)) == pytest.approx(-20, abs=1e-3)


@pytest.mark.parametrize("below_peak_db", [0.0, 0.5])
def test_clipping_at_the_peak_changes_nothing_and_a_little_below_it_little(below_peak_db):
    wav = rng(2).uniform(-0.5, 0.5, 400).astype(np.float32)
    clipped = effect_module("clip").distort(wav, rng(), below_peak_db=below_peak_db)
    limit = np.abs(wav).max() * 10 ** (-below_peak_db / 20)
    assert clipped == pytest.approx(np.minimum(np.abs(wav), limit) * np.sign(wav), abs=1e-7)
    assert (np.abs(clipped) < np.abs(wav)).any() == (below_peak_db > 0)


@pytest.mark.parametrize("packet_ms", [1.0, 100.0])
def test_a_packet_has_the_length_asked_for_and_the_last_one_may_be_lost(packet_ms):
    size = round(16 * packet_ms)
    wav, whole = np.ones(10 * size + 3, dtype=np.float32), 0
    for seed in range(20):
        out = effect_module("packet_loss").distort(
            wav, rng(seed), loss_rate=0.5, packet_ms=packet_ms
        )
        packets = [out[at : at + size] for at in range(0, out.size, size)]
        assert {len(set(packet.tolist())) for packet in packets} == {1}
        assert sum(not packet.any() for packet in packets) in (5, 6)
        whole += not packets[-1].any()
    assert 0 < whole < 20


@pytest.mark.parametrize("factor", [1.1, 1.5])
def test_speed_shortens_and_raises(factor, speech):
    out = effect_module("speed").distort(speech[0], rng(), factor=factor)
    assert abs(out.size - speech[0].size / factor) <= 2


CODECS = {
    "mulaw": {},
    "gsm": {},
    "g722": {},
    "opus": {"bitrate_kbps": 8},
    "mp3": {"bitrate_kbps": 16},
}


@pytest.mark.parametrize("name", CODECS)
def test_codecs_keep_words_in_their_places(name, speech):
    """No delay is left: the best alignment of 2 s of speech with itself is none."""
    for wav in speech[:2]:
        coded = effect_module(name).distort(wav, rng(), **CODECS[name])
        match = correlate(coded, wav, mode="full", method="fft")
        assert abs(int(np.argmax(match)) - (wav.size - 1)) <= 8  # half a millisecond
        assert np.corrcoef(coded, wav)[0, 1] > 0.75


def test_codecs_have_their_bandwidth():
    def through(name, **options):
        return lambda wav: effect_module(name).distort(wav, rng(), **options)

    for name in ("mulaw", "gsm"):  # 8 kHz inside
        assert response_db(through(name), 4_200, 8_000) < -50
    assert abs(response_db(through("mulaw"), 500, 3_500)) < 1
    assert abs(response_db(through("g722"), 4_500, 6_500)) < 3
    assert response_db(through("opus", bitrate_kbps=6), 4_500, 8_000) < -20
    assert response_db(through("mp3", bitrate_kbps=8), 5_500, 8_000) < -20


def test_short_noise_is_repeated_with_cross_fades_and_never_stretched():
    time = np.arange(2_000) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 1_000 * time)).astype(np.float32)
    found = segment(tone, 5 * RATE, rng())
    assert found.size == 5 * RATE
    hertz, density = welch(found, RATE, nperseg=4_096)
    assert abs(hertz[np.argmax(density)] - 1_000) < 5
    assert np.abs(np.diff(found)).max() < 1.5 * np.abs(np.diff(tone)).max()  # no click at a join
    assert np.sqrt(power(found[4_000:4_500])) > 0.1  # and no hole
    assert join([tone, tone], 3_000).size == 3_000


def test_clips_are_joined_by_a_cosine_and_a_sine_over_half_of_the_shorter_one():
    one, two = np.full(4_000, 0.5, dtype=np.float32), np.full(1_000, 0.25, dtype=np.float32)
    angle = np.linspace(0, np.pi / 2, 500)
    fade = 0.5 * np.cos(angle) + 0.25 * np.sin(angle)
    expected = np.concatenate([one[:3_500], fade, two[500:]])
    assert join([one, two], 9_000) == pytest.approx(expected, abs=1e-6)
    assert join([two, one], 9_000)[500:1_000] == pytest.approx(fade[::-1], abs=1e-6)
    assert join([one, one], 9_000).size == 8_000 - 800  # 50 ms at most


@pytest.mark.parametrize(
    ("wav", "message"),
    [(np.ones(100), "at least 10 ms"), (np.zeros(4_000), "silent")],
)
def test_useless_noise_is_refused(wav, message):
    with pytest.raises(InvalidDataError, match=message):
        check_clip(wav.astype(np.float32), "hum.wav")


def test_noise_that_is_silent_wherever_one_looks_is_refused(speech):
    silent = np.zeros(10 * RATE, dtype=np.float32)
    source = Noise("hush", ((NoiseClip("hush.wav", lambda: silent),),), "0")
    with pytest.raises(InvalidDataError, match="hush: 100 draws were all silent"):
        effect_module("noise").distort(speech[0], rng(), snr_db=0.0, noise=source)


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("coloured", {"snr_db": 5.0, "colour": "blu"}, "colour 'blu'"),
        ("low_pass", {"edge_hz": 9_000.0}, "edge_hz"),
        ("band_reject", {"width_mel": 9_000.0}, "width_mel"),
        ("clip", {"below_peak_db": -1.0}, "below_peak_db"),
        ("packet_loss", {"loss_rate": 1.5}, "loss_rate"),
        ("packet_loss", {"loss_rate": 0.5, "packet_ms": 0.0}, "packet_ms"),
        ("speed", {"factor": 9.0}, "factor"),
        ("opus", {"bitrate_kbps": 1}, "bitrate_kbps"),
        ("mp3", {"bitrate_kbps": 640}, "bitrate_kbps"),
    ],
)
def test_nonsense_is_refused(name, bad, message, speech):
    with pytest.raises(UsageError, match=message):
        effect_module(name).distort(speech[0], rng(), **bad)
