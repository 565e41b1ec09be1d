"""Speech through a codec and back, in its place: the codec's delay is measured and taken out."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import soundfile

from bench.api import SAMPLE_RATE_HZ
from bench.errors import MissingError
from bench.seeds import derive_seed
from bench.sound.audio import Wav

MAX_DELAY = 8_000  # half a second: more than any of these codecs has
Codec = Callable[[Wav], Wav]


def in_place(wav: Wav, codec: Codec) -> Wav:
    """What a codec makes of (S,), without its delay, (S,); never beyond full scale inside it.

    A codec has full scale: what exceeds it is turned down before and up again after.
    """
    peak = max(1.0, float(np.max(np.abs(wav))) * 1.001)
    padded = np.pad(wav / np.float32(peak), (0, MAX_DELAY)).astype(np.float32)
    coded = codec(padded)[_delay(codec) :]
    done: Wav = np.pad(coded, (0, max(0, wav.size - coded.size)))[: wav.size] * np.float32(peak)
    return done.astype(np.float32)


@lru_cache(maxsize=32)
def _delay(codec: Codec) -> int:
    """Delay of a codec in samples: where what comes out correlates best with what went in."""
    from scipy.signal import correlate

    rng = np.random.default_rng(derive_seed("codec delay"))
    probe = np.cumsum(rng.standard_normal(SAMPLE_RATE_HZ)).astype(np.float32)
    probe -= np.convolve(probe, np.ones(65) / 65, mode="same").astype(np.float32)
    probe *= np.float32(0.3 / np.max(np.abs(probe)))
    coded = codec(np.pad(probe, (0, MAX_DELAY)).astype(np.float32))
    match = correlate(coded, probe, mode="full", method="fft")[probe.size - 1 :]
    return int(np.argmax(match[: MAX_DELAY + 1]))


def through_file(wav: Wav, *, rate_hz: int, file_format: str, subtype: str) -> Wav:
    """(S,) at a rate through a format of libsndfile and back, about (S,)."""
    import soxr

    low = soxr.resample(wav, SAMPLE_RATE_HZ, rate_hz)
    stream = io.BytesIO()
    soundfile.write(stream, low, rate_hz, format=file_format, subtype=subtype)
    stream.seek(0)
    options: dict[str, Any] = {}
    if file_format == "RAW":
        options = {"format": "RAW", "subtype": subtype, "samplerate": rate_hz, "channels": 1}
    coded, _ = soundfile.read(stream, dtype="float32", **options)
    back: Wav = soxr.resample(coded, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    return back


def through_packets(wav: Wav, *, name: str, decoder: str, bit_rate: int | None = None) -> Wav:
    """(S,) at 16 kHz through a codec of FFmpeg and back, about (S,).

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
    """Floats where the encoder takes them, else 16-bit integers."""
    kinds = {kind.name: kind for kind in encoder.codec.audio_formats}
    return next(kinds[name] for name in ("fltp", "flt", "s16p", "s16") if name in kinds)


def _frames(wav: Wav, encoder: Any) -> list[Any]:
    """Frames of the encoder's size and sample format; the last is filled up with silence."""
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
    """Decoded frames as (S,) at 16 kHz."""
    import soxr

    blocks = []
    for frame in frames:
        block = frame.to_ndarray().reshape(-1)
        blocks.append(block / np.float32(32_768) if block.dtype == np.int16 else block)
    found = np.concatenate(blocks).astype(np.float32)
    rate_hz = frames[0].sample_rate
    same: Wav = soxr.resample(found, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    return same
