"""The fingerprint of an upstream: a few numbers that say which hidden states it gives.

A digest covers all that is known to decide the states: files, code, weights. A model may depend on
more (a file that its code opens, a library). So its states of one fixed sound are measured too, and
features and records of a model whose states differ are never taken for its own.

Machines round differently: a hash of rounded numbers would differ wherever a number lies at a
boundary. Fingerprints are therefore compared with a tolerance, far below what an epoch of training
changes. It is 1e-4 for an upstream in float32, ten times what another order of sums changes, and
more for one that rounds to few bits: it is measured by a pass over the same sound with other last
bits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bench.api import SAMPLE_RATE_HZ, Upstream
from bench.engine import one_thread
from bench.errors import InvalidDataError, one_line
from bench.identity import FOLDER_DIGITS
from bench.load.loader import Loaded, load_request
from bench.paths import append_line

FOLDER = "fingerprints"
NUMBERS = 4  # of each of the two kinds
DIGITS = 5  # after the point
TOLERANCE = 1e-4  # at least
COARSE_TOLERANCE = 2e-2  # at least, of a modified upstream: a last bit may be a quantisation step
MAX_TOLERANCE = 5e-2
SPREADS = 8  # times what other last bits of the sound change
LAST_BITS = 1e-6  # relative
TONE_HZ, TONE_LEVEL, NOISE_LEVEL = 440.0, 0.1, 0.05

Fingerprint = tuple[float, ...]
_TAKEN: WeakKeyDictionary[Upstream, Fingerprint] = WeakKeyDictionary()


def identified(loaded: Loaded, home: Path, *, store: bool = True) -> Loaded:
    """Return an upstream with its fingerprint, in the spelling that `home` has.

    Args:
        loaded: on the CPU, as it was loaded.
        home: folder of everything that can be made again: it keeps the fingerprints by digest.
        store: write a new fingerprint into `home`; a plan writes nothing.

    Raises:
        InvalidDataError: two passes, or two loads of a builder, give other states; or states are
            not finite.
    """
    fingerprint = fingerprint_of(loaded.upstream, loaded.name.text())
    if loaded.name.modifier is not None:
        fingerprint = (*fingerprint[:-1], max(fingerprint[-1], COARSE_TOLERANCE))
    check_builder(loaded)
    return replace(loaded, fingerprint=_settled(fingerprint, home, loaded.digest, store=store))


def check_builder(loaded: Loaded) -> None:
    """Build an upstream of a builder again, and compare the states of both.

    Raises:
        InvalidDataError: they differ.
    """
    if loaded.card.builder is None or not loaded.request:
        return
    name, again = loaded.name.text(), load_request(loaded.request)
    if not agree(fingerprint_of(again.upstream, name), fingerprint_of(loaded.upstream, name)):
        raise InvalidDataError(
            f"{name} is not deterministic: built twice, it gives other hidden states: set a seed "
            f"in {loaded.card.builder}, or load weights from a file"
        )


def agree(one: Fingerprint, other: Fingerprint) -> bool:
    """Return whether two fingerprints are of one model; an empty one, of old records, fits any."""
    if not one or not other:
        return True
    (*numbers, tolerance), (*others, other_tolerance) = one, other
    return len(numbers) == len(others) and all(
        abs(a - b) <= max(tolerance, other_tolerance) for a, b in zip(numbers, others, strict=True)
    )


def fingerprint_of(upstream: Upstream, name: str) -> Fingerprint:
    """Return the fingerprint of an upstream; it is taken once a process.

    The first numbers are random projections of the states, each state divided by its root mean
    square; then random sums of the logarithms of the root mean squares; the last is the tolerance.

    Args:
        upstream: frozen, on the CPU.
        name: for messages.

    Raises:
        InvalidDataError: it fails on a second of sound, two passes differ, or states are not
            finite.
    """
    if upstream not in _TAKEN:
        wav = fixed_sound(max(SAMPLE_RATE_HZ, upstream.min_samples))
        first, second = _states(upstream, wav, name), _states(upstream, wav, name)
        if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
            raise InvalidDataError(
                f"{name} is not deterministic: two passes over one sound give other hidden states "
                f"('slim-superb check {name}' says more)"
            )
        numbers = _numbers(first)
        others = _numbers(_states(upstream, _with_other_last_bits(wav), name))
        spread = max(abs(a - b) for a, b in zip(numbers, others, strict=True))
        tolerance = min(max(TOLERANCE, SPREADS * spread), MAX_TOLERANCE)
        _TAKEN[upstream] = (*numbers, round(tolerance, DIGITS))
    return _TAKEN[upstream]


def fixed_sound(num_samples: int) -> Tensor:
    """Return a tone in noise (S,), the same with every version of every library."""
    noise = np.frombuffer(hashlib.shake_256(b"noise").digest(2 * num_samples), dtype="<i2")
    time = np.arange(num_samples) / SAMPLE_RATE_HZ
    wav = TONE_LEVEL * np.sin(2 * np.pi * TONE_HZ * time) + NOISE_LEVEL * noise / 32_768
    return torch.from_numpy(wav.astype(np.float32))


@torch.inference_mode()
def _states(upstream: Upstream, wav: Tensor, name: str) -> list[Tensor]:
    """Return the states (T, D) of a sound (S,), computed by one thread.

    Raises:
        InvalidDataError: the upstream fails, or states are not finite.
    """
    with one_thread():
        try:
            hidden = upstream(wav[None], torch.tensor([len(wav)]))
        except Exception as error:  # of any class: it may be anybody's module
            reason = f"{type(error).__name__}: {one_line(str(error), 160)}"
            raise InvalidDataError(f"{name} fails on a second of sound ({reason})") from error
    states = [state[0].float() for state in hidden.states]
    if not all(bool(state.isfinite().all()) for state in states):
        raise InvalidDataError(f"{name}: its hidden states of a second of sound are not finite")
    return states


def _with_other_last_bits(wav: Tensor) -> Tensor:
    """Return a sound (S,) with relative changes of `LAST_BITS`."""
    signs = torch.from_numpy(_signs("last bits", 1, len(wav))[0])
    return (wav.double() * (1 + LAST_BITS * signs)).float()


def _numbers(hidden: Sequence[Tensor]) -> Fingerprint:
    """Return the numbers of L states (T, D)."""
    states = [state.double().numpy() for state in hidden]
    sizes = [max(float(np.sqrt(np.mean(state**2))), 1e-30) for state in states]
    shape = (NUMBERS, states[0].size)
    projections = np.array(
        [
            _signs("state", *shape) @ (state.reshape(-1) / size) / math.sqrt(state.size)
            for state, size in zip(states, sizes, strict=True)
        ]
    )  # (L, NUMBERS)
    scale = 1 / math.sqrt(len(states))
    mixed = (_signs("layer", NUMBERS, len(states)).T * projections).sum(axis=0) * scale
    levels = _signs("level", NUMBERS, len(states)) @ np.log(sizes) * scale
    return tuple(round(float(number), DIGITS) for number in (*mixed, *levels))


@lru_cache(maxsize=8)
def _signs(purpose: str, rows: int, columns: int) -> npt.NDArray[np.float64]:
    """Return random signs (rows, columns), the same with every version of every library."""
    text = hashlib.shake_256(purpose.encode()).digest(rows * columns // 8 + 1)
    bits = np.unpackbits(np.frombuffer(text, dtype=np.uint8))[: rows * columns]
    return 2 * bits.reshape(rows, columns).astype(np.float64) - 1


def _settled(fingerprint: Fingerprint, home: Path, digest: str, *, store: bool) -> Fingerprint:
    """Return the first fingerprint of a digest that agrees, so that keys are made of one spelling.

    The folder `fingerprints` in `home` has a file for each digest, with a fingerprint a line.
    """
    file = home / FOLDER / f"{digest[:FOLDER_DIGITS]}.jsonl"
    earlier = _read(file)
    if store and not any(agree(fingerprint, other) for other in earlier):
        append_line(file, json.dumps(fingerprint))
        earlier = _read(file)  # another process may have written one at the same time
    return next((other for other in earlier if agree(fingerprint, other)), fingerprint)


def _read(file: Path) -> list[Fingerprint]:
    """Read the fingerprints of a digest; damaged lines are passed over."""
    if not file.exists():
        return []
    fingerprints = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            numbers = json.loads(line)
            fingerprints.append(tuple(map(float, numbers)))
        except (ValueError, TypeError):
            continue
    return [item for item in fingerprints if len(item) == 2 * NUMBERS + 1]
