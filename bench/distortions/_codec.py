"""Codecs, encoder and decoder in one step; their delay is measured and removed."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np
import soundfile

from bench.api import SAMPLE_RATE_HZ
from bench.errors import MissingError, UsageError
from bench.seeds import derive_seed
from bench.sound.audio import Wav

MAX_DELAY = 8_000  # samples: half a second, more than any of these codecs has
TELEPHONE_RATE_HZ = 8_000
Codec = Callable[[Wav], Wav]


def in_place(wav: Wav, codec: Codec) -> Wav:
    """Return (S,) after a codec, (S,), without the codec's delay.

    A codec clips above full scale, so louder sound is turned down before it and up again after.
    """
    peak = max(1.0, float(np.max(np.abs(wav))) * 1.001)
    padded = np.pad(wav / np.float32(peak), (0, MAX_DELAY)).astype(np.float32)
    coded = codec(padded)[_delay(codec) :]
    aligned: Wav = np.pad(coded, (0, max(0, wav.size - coded.size)))[: wav.size] * np.float32(peak)
    return aligned.astype(np.float32)


def at_bit_rate(
    wav: Wav, bitrate_kbps: int, *, name: str, decoder: str, range_kbps: tuple[int, int]
) -> Wav:
    """Return (S,) after a codec of FFmpeg at a bit rate, (S,).

    Args:
        wav: samples.
        bitrate_kbps: bit rate in kbit/s.
        name: the encoder's name in FFmpeg.
        decoder: the decoder's name in FFmpeg.
        range_kbps: lowest and highest bit rate that is allowed.

    Raises:
        UsageError: a bit rate outside the range.
        MissingError: PyAV is not installed.
    """
    low, high = range_kbps
    if not low <= bitrate_kbps <= high:
        raise UsageError(f"bitrate_kbps {bitrate_kbps!r}: expected {low} to {high}")
    return in_place(wav, _packet_codec(name, decoder, 1_000 * int(bitrate_kbps)))


@lru_cache(maxsize=32)
def _packet_codec(name: str, decoder: str, bit_rate: int) -> Codec:
    """Return the same object for the same arguments: `_delay` remembers codecs by identity."""
    return partial(through_packets, name=name, decoder=decoder, bit_rate=bit_rate)


@lru_cache(maxsize=32)
def _delay(codec: Codec) -> int:
    """Return the delay of a codec in samples: the lag at which output and input correlate best."""
    from scipy.signal import correlate

    rng = np.random.default_rng(derive_seed("codec delay"))
    probe = np.cumsum(rng.standard_normal(SAMPLE_RATE_HZ)).astype(np.float32)
    probe -= np.convolve(probe, np.ones(65) / 65, mode="same").astype(np.float32)
    probe *= np.float32(0.3 / np.max(np.abs(probe)))
    coded = codec(np.pad(probe, (0, MAX_DELAY)).astype(np.float32))
    match = correlate(coded, probe, mode="full", method="fft")[probe.size - 1 :]
    return int(np.argmax(match[: MAX_DELAY + 1]))


def through_telephone(wav: Wav, *, subtype: str) -> Wav:
    """Return (S,) after a telephone codec of libsndfile at 8 kHz, about (S,).

    Args:
        wav: samples at 16 kHz.
        subtype: the codec's name in libsndfile.
    """
    import soxr

    low = soxr.resample(wav, SAMPLE_RATE_HZ, TELEPHONE_RATE_HZ)
    stream = io.BytesIO()
    soundfile.write(stream, low, TELEPHONE_RATE_HZ, format="RAW", subtype=subtype)
    stream.seek(0)
    coded, rate_hz = soundfile.read(
        stream,
        dtype="float32",
        format="RAW",
        subtype=subtype,
        samplerate=TELEPHONE_RATE_HZ,
        channels=1,
    )
    back: Wav = soxr.resample(coded, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    return back


def through_packets(wav: Wav, *, name: str, decoder: str, bit_rate: int | None = None) -> Wav:
    """Return (S,) at 16 kHz after a codec of FFmpeg, about (S,).

    Raises:
        MissingError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingError(
            "this codec needs PyAV: pip install 'slim-superb[conditions]'"
        ) from error
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.sample_rate, encoder.layout = SAMPLE_RATE_HZ, "mono"
    encoder.format = _sample_format(encoder)
    if bit_rate is not None:
        encoder.bit_rate = bit_rate
    encoder.open()
    packets = [packet for frame in _frames(wav, encoder) for packet in encoder.encode(frame)]
    packets += encoder.encode(None)
    reader: Any = av.CodecContext.create(decoder, "r")
    reader.sample_rate, reader.layout = SAMPLE_RATE_HZ, "mono"
    if encoder.extradata:
        reader.extradata = encoder.extradata
    decoded = [frame for packet in packets for frame in reader.decode(packet)]
    decoded += reader.decode(None)
    return _joined(decoded)


def _sample_format(encoder: Any) -> Any:
    """Return the sample format: floats if the encoder accepts them, else 16-bit integers."""
    kinds = {kind.name: kind for kind in encoder.codec.audio_formats}
    return next(kinds[name] for name in ("fltp", "flt", "s16p", "s16") if name in kinds)


def _frames(wav: Wav, encoder: Any) -> list[Any]:
    """Cut samples into frames of the encoder's size and format; silence fills up the last one."""
    import av

    size = encoder.frame_size or 320
    padded = np.pad(wav, (0, -wav.size % size))
    kind = encoder.format.name
    if kind.startswith("s16"):
        padded = np.clip(np.round(padded * 32_768.0), -32_768, 32_767).astype(np.int16)
    frames = []
    for start in range(0, padded.size, size):
        block = np.ascontiguousarray(padded[start : start + size])
        frame = av.AudioFrame.from_ndarray(block[None, :], format=kind, layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE_HZ, start
        frames.append(frame)
    return frames


def _joined(frames: list[Any]) -> Wav:
    """Join decoded frames into (S,) at 16 kHz."""
    import soxr

    blocks = []
    for frame in frames:
        block = frame.to_ndarray().reshape(-1)
        blocks.append(block / np.float32(32_768) if block.dtype == np.int16 else block)
    decoded = np.concatenate(blocks).astype(np.float32)
    resampled: Wav = soxr.resample(decoded, frames[0].sample_rate, SAMPLE_RATE_HZ)
    return resampled.astype(np.float32)
