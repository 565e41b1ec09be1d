"""Lost packets: stretches of a fixed length are silent, as in a call without concealment."""

from __future__ import annotations

import numpy as np

from bench.errors import UsageError
from bench.sound.audio import Wav

KEEPS_BAND = False
LIBRARIES = ()


def distort(
    wav: Wav, rng: np.random.Generator, *, loss_rate: float, packet_ms: float = 20.0
) -> Wav:
    """Silence a share of the packets of (S,).

    How many are lost is the rate times their number, rounded by a draw, so that the rate holds in
    each utterance to one packet and over many exactly; which ones is drawn without replacement.

    Args:
        wav: samples.
        rng: draws them.
        loss_rate: share of packets, 0 to 1.
        packet_ms: length of a packet.

    Raises:
        UsageError: a rate outside 0 to 1, or packets shorter than 1 ms.
    """
    if not 0.0 <= loss_rate <= 1.0:
        raise UsageError(f"loss_rate {loss_rate!r}: expected 0 to 1")
    if not packet_ms >= 1.0:
        raise UsageError(f"packet_ms {packet_ms!r}: expected 1 or more")
    size = round(packet_ms * 16.0)
    count = -(-wav.size // size)
    lost = int(loss_rate * count + rng.uniform())
    out = wav.copy()
    for packet in rng.permutation(count)[:lost]:
        out[packet * size : (packet + 1) * size] = 0.0
    return out
