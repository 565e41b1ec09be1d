"""Lost packets: parts of a fixed length are silent, as in a call without concealment."""

from __future__ import annotations

import numpy as np

from bench.api import SAMPLE_RATE_HZ
from bench.errors import UsageError
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ()


def distort(
    wav: Wav, rng: np.random.Generator, *, loss_rate: float, packet_ms: float = 20.0
) -> Wav:
    """Silence a share of the packets of (S,).

    The number of lost packets is the rate times the number of packets, rounded up or down by a
    draw. So the rate is right to one packet in each utterance, and exact on average. The lost
    packets are drawn without replacement.

    Args:
        wav: samples.
        rng: draws the lost packets.
        loss_rate: share of packets, 0 to 1.
        packet_ms: length of a packet in milliseconds.

    Raises:
        UsageError: a rate outside 0 to 1, or packets shorter than 1 ms.
    """
    if not 0.0 <= loss_rate <= 1.0:
        raise UsageError(f"loss_rate {loss_rate!r}: expected 0 to 1")
    if not packet_ms >= 1.0:
        raise UsageError(f"packet_ms {packet_ms!r}: expected 1 or more")
    size = round(packet_ms * (SAMPLE_RATE_HZ / 1_000))
    count = -(-wav.size // size)
    lost = int(loss_rate * count + rng.uniform())
    out = wav.copy()
    for packet in rng.permutation(count)[:lost]:
        out[packet * size : (packet + 1) * size] = 0.0
    return out
