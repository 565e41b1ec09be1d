"""Sound in: what is not 16 kHz mono, whole and finite is refused by name."""

import numpy as np
import pytest
import soundfile

from bench.errors import InvalidDataError, MissingError
from bench.sound.audio import low_pass, read_wav, resample, samples_digest, write_wav


def save(path, wav, rate=16_000, **options):
    soundfile.write(path, wav, rate, **options)
    return path


TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000)).astype(np.float32)


def test_round_trip_and_parts(tmp_path):
    path = tmp_path / "a.wav"
    write_wav(path, TONE)
    np.testing.assert_allclose(read_wav(path), TONE, atol=1 / 32_768)
    part = read_wav(path, start=100, num_samples=50)
    np.testing.assert_array_equal(part, read_wav(path)[100:150])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_every_sample_format_becomes_float(tmp_path, subtype):
    found = read_wav(save(tmp_path / "a.wav", TONE, subtype=subtype))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, TONE, atol=1 / 30_000)


@pytest.mark.parametrize(
    ("wav", "rate", "options", "message"),
    [
        (np.zeros(0, np.float32), 16_000, {}, "no samples"),
        (np.array([0.1, np.nan], np.float32), 16_000, {"subtype": "FLOAT"}, "NaN"),
        (np.array([0.1, np.inf], np.float32), 16_000, {"subtype": "FLOAT"}, "NaN or infinite"),
        (np.stack([TONE, TONE], 1), 16_000, {}, "found 16000 Hz, 2 channel"),
        (TONE, 16_000, {"subtype": "PCM_U8"}, "8-bit samples"),
        (TONE, 8_000, {}, "expected 16000 Hz mono, found 8000 Hz"),
    ],
)
def test_bad_sound_is_refused(tmp_path, wav, rate, options, message):
    path = save(tmp_path / "bad.wav", wav, rate, **options)
    with pytest.raises(InvalidDataError, match=message) as caught:
        read_wav(path)
    assert "bad.wav" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_truncated_and_foreign_files(tmp_path):
    with pytest.raises(MissingError, match="no such audio file"):
        read_wav(tmp_path / "none.wav")
    path = save(tmp_path / "a.wav", TONE)
    with pytest.raises(InvalidDataError, match="truncated: 9000 samples expected"):
        read_wav(path, num_samples=9_000)
    (tmp_path / "b.wav").write_bytes(b"RIFFnonsense")
    with pytest.raises(InvalidDataError, match="not readable as sound"):
        read_wav(tmp_path / "b.wav")


def test_low_pass_keeps_the_band_and_removes_the_rest():
    time = np.arange(16_000) / 16_000
    for hz, kept in ((500, True), (3_500, True), (4_300, False), (7_000, False)):
        tone = np.sin(2 * np.pi * hz * time).astype(np.float32)
        middle = low_pass(tone, edge_hz=4_000)[4_000:12_000]
        power_db = 10 * np.log10(np.mean(np.square(middle)) / np.mean(np.square(tone)) + 1e-12)
        assert (abs(power_db) < 0.1) if kept else (power_db < -60), hz


def test_low_pass_does_not_move_the_sound():
    click = np.zeros(4_001, np.float32)
    click[2_000] = 1.0
    assert int(np.argmax(low_pass(click, edge_hz=4_000))) == 2_000


def test_resample_keeps_pitch():
    source = np.sin(2 * np.pi * 440 * np.arange(11_025) / 11_025).astype(np.float32)
    found = resample(source, 11_025)
    assert abs(found.size - 16_000) <= 1
    spectrum = np.abs(np.fft.rfft(found[:16_000]))
    assert int(np.argmax(spectrum)) == 440


def test_digest_is_of_the_samples():
    assert samples_digest(TONE) == samples_digest(TONE.copy())
    other = TONE.copy()
    other[5] += 0.01
    assert samples_digest(TONE) != samples_digest(other)
