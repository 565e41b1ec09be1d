"""A library that computes an upstream's hidden states, and ours as one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.engine import Engine, one_thread
from bench.errors import UserError
from bench.features.passes import forward_bucket
from bench.features.placement import place
from bench.features.workers import in_order
from bench.load.loader import load_upstream

OURS = "Slim-SUPERB"
# Sounds (S,) that pass together; returns the last states (L, T, D) of each.
Pass = Callable[[list[Tensor]], list[Tensor]]
# All sounds of a measurement, with a number that pass together.
Run = Callable[[list[Tensor], int], list[Tensor]]


@dataclass(frozen=True)
class Peer:
    """One way to compute the states.

    Attributes:
        name: of the library.
        precision: `float32`, `bf16` or `int8`.
        prepare: returns a run for a number of threads.
        takes_batches: several sounds can pass together.
    """

    name: str
    precision: str
    prepare: Callable[[int], Run]
    takes_batches: bool = True


# Makes the peers of one library from a folder for files; raises ImportError where it is missing.
Maker = Callable[[Path], Iterable[Peer]]


def available(makers: Mapping[str, Maker], folder: Path) -> tuple[list[Peer], dict[str, str]]:
    """Return the peers that are installed, and the reason of each library that is left out."""
    peers: list[Peer] = []
    missing: dict[str, str] = {}
    for name, maker in makers.items():
        try:
            peers += maker(folder)
        except (ImportError, UserError) as error:  # the latter from ours: its int8 is an extra
            missing[name] = str(error)
    return peers, missing


def ours(name: str, precision: str) -> Peer:
    """Return our own pass of an upstream: one sound a worker, and as many workers as threads."""
    upstream = load_upstream(name).upstream
    with one_thread():
        module = place(upstream, Engine())

    def passed(wav: Tensor) -> Tensor:
        (states,) = forward_bucket(module, [wav.numpy()], Engine())
        return states.permute(1, 0, 2)

    def prepare(threads: int) -> Run:
        return lambda wavs, _: list(in_order(passed, wavs, threads))

    return Peer(OURS, precision, prepare, takes_batches=False)


def with_torch(name: str, precision: str, function: Pass) -> Peer:
    """Return a peer that computes with torch, whose threads share each sound."""

    def run(threads: int, wavs: list[Tensor], together: int) -> list[Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            with torch.inference_mode():
                return in_batches(function, wavs, together)
        finally:
            torch.set_num_threads(before)

    return Peer(name, precision, lambda threads: partial(run, threads))


def in_batches(function: Pass, wavs: list[Tensor], together: int) -> list[Tensor]:
    """Return the states of all sounds, some of which pass together."""
    parts = (wavs[start : start + together] for start in range(0, len(wavs), together))
    return [states for part in parts for states in function(part)]


def rows_of(states: Iterable[Tensor], count: int) -> list[Tensor]:
    """Return the states (L, T, D) of each sound, from states (B, T, D)."""
    stacked = torch.stack([state.float() for state in states], dim=1)
    return list(stacked[:count])


def padded(wavs: list[Tensor]) -> Tensor:
    """Return sounds of any lengths as (B, S), with zeros after the shorter ones."""
    return torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
