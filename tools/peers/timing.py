"""Times of all peers on some sound, in turn, and the differences of their states from ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from tools.benchmarks._paired import Times, clock, in_turn
from tools.peers.peer import Peer, Run

SLOW = 6.0  # times ours in float32 on the probe: not measured further
PROBE_SAMPLES = 16_000  # of the first sound


@dataclass(frozen=True)
class PeerTimes:
    """One peer on some sound.

    Attributes:
        peer: which.
        together: the number of sounds that pass together: all or one, whichever took less time.
        ratios: wall and CPU seconds relative to ours in float32, by round.
        difference: the largest one of a state's value from ours in float32.
        is_slow: measured once, on a second of the first sound.
    """

    peer: Peer
    together: int
    ratios: Sequence[Times]
    difference: float
    is_slow: bool = False


def compare(
    peers: Sequence[Peer], wavs: list[Tensor], threads: int, rounds: int
) -> tuple[Times, list[PeerTimes]]:
    """Time some peers.

    Args:
        peers: ours in float32 first.
        wavs: the sounds (S,).
        threads: for each peer.
        rounds: in which all take turns.

    Returns:
        median times of ours in float32, and a row a peer.
    """
    runs = [peer.prepare(threads) for peer in peers]
    expected, probe = runs[0](wavs, 1), [wavs[0][:PROBE_SAMPLES]]
    expected_probe, _ = _timed(runs[0], probe, 1)
    _, base = _timed(runs[0], probe, 1)
    rows: dict[int, PeerTimes] = {}
    functions: dict[int, partial[list[Tensor]]] = {}
    for place, (peer, run) in enumerate(zip(peers, runs, strict=True)):
        states, first = _timed(run, probe, 1)
        if SLOW < first.wall / base.wall < SLOW**2:  # without what the first run prepares
            states, first = _timed(run, probe, 1)
        if first.wall > SLOW * base.wall and place:
            far = difference(states, expected_probe)
            rows[place] = PeerTimes(peer, 1, [_ratio(first, base)], far, is_slow=True)
            continue
        together, states = _liked(peer, run, wavs)
        functions[place] = partial(run, wavs, together)
        rows[place] = PeerTimes(peer, together, [], difference(states, expected))
    times = in_turn(functions, rounds)
    for place, each in times.items():
        ratios = [_ratio(one, other) for one, other in zip(each, times[0], strict=True)]
        rows[place] = PeerTimes(peers[place], rows[place].together, ratios, rows[place].difference)
    middle = sorted(times[0], key=lambda item: item.wall)[len(times[0]) // 2]
    return middle, [rows[place] for place in range(len(peers))]


def _timed(run: Run, wavs: list[Tensor], together: int) -> tuple[list[Tensor], Times]:
    """Return the states of some sounds, and the times of the run."""
    states: list[Tensor] = []
    return states, clock(lambda: states.extend(run(wavs, together)))


def _liked(peer: Peer, run: Run, wavs: list[Tensor]) -> tuple[int, list[Tensor]]:
    """Return the number of sounds that pass together, all or one, in less time; and the states."""
    choices = {1, len(wavs)} if peer.takes_batches else {1}
    runs = {together: _timed(run, wavs, together) for together in sorted(choices)}
    together = min(runs, key=lambda count: runs[count][1].wall)
    return together, runs[together][0]


def _ratio(one: Times, other: Times) -> Times:
    return Times(one.cpu / other.cpu, one.wall / other.wall)


def difference(states: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest difference of values of the last states (L, T, D) that both have."""
    worst = 0.0
    for one, other in zip(states, expected, strict=True):
        count, frames = min(len(one), len(other)), other.shape[1]
        worst = max(worst, float((one[-count:, :frames] - other[-count:]).abs().max()))
    return worst
