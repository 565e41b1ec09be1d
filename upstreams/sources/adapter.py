"""From a function of one utterance to an upstream: shapes checked, frame rule measured.

A model from elsewhere is run on one utterance at a time, so that no padding can reach it; a batch
is a loop. What it gives is read by one rule (`as_states`), whatever it came from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Hidden, Upstream
from bench.errors import InvalidDataError, UsageError, UserError, did_you_mean

PROBES = (8_000, 16_000, 48_000)  # samples tried until one gives frames
STEPS = 4  # frames over which the stride is measured
LONGEST_STRIDE = 16_000
CHECKED = (9_017, 16_000, 24_321)  # samples at which the measured rule must hold
MAX_STATES = 200
NORM_EPS = 1e-5

Encode = Callable[[Tensor], Any]


def options(config: Mapping[str, Any], what: str, **known: Any) -> dict[str, Any]:
    """A card's `config` over the defaults in `known`, with their types.

    Raises:
        UsageError: an unknown key, or a value of another type.
    """
    for key, value in config.items():
        if key not in known:
            raise UsageError(f"{what}: unknown config key {key!r}: {did_you_mean(key, known)}")
        expected = type(known[key])
        if known[key] is not None and type(value) is not expected:
            raise UsageError(
                f"{what}: config key {key!r}: {expected.__name__} expected, found {value!r}"
            )
    return known | dict(config)


def as_states(result: Any, what: str) -> tuple[Tensor, ...]:
    """The hidden states in what a model gave for one utterance.

    Understood are: one tensor (1, T, D); a list or tuple of such tensors; a stack (L, 1, T, D); a
    mapping or object with `hidden_states`; `bench.api.Hidden`. In a tuple, None and lengths
    (integers) are passed over, and a list within it is taken for the states.

    Returns:
        L float32 tensors (1, T, D).

    Raises:
        InvalidDataError: anything else, with what was found.
    """
    if isinstance(result, Mapping):
        result = result.get("hidden_states", result)
    elif not isinstance(result, (Tensor, list, tuple)) or hasattr(result, "hidden_states"):
        result = getattr(result, "hidden_states", result)
    elif isinstance(result, Hidden):
        result = result.states
    if isinstance(result, Tensor):
        result = result.unbind(0) if result.dim() == 4 else (result,)
    if isinstance(result, (list, tuple)):
        inner = [item for item in result if isinstance(item, (list, tuple))]
        items = inner[0] if len(inner) == 1 else result
        kept = [item for item in items if item is not None and not _is_lengths(item)]
        shapes = {tuple(item.shape) for item in kept if isinstance(item, Tensor)}
        tensors = all(isinstance(item, Tensor) and item.is_floating_point() for item in kept)
        shape = next(iter(shapes), ())
        whole = tensors and len(shapes) == 1 and len(shape) == 3 and shape[0] == 1
        if whole and 0 < len(kept) <= MAX_STATES:
            return tuple(item.to(torch.float32) for item in kept)
    raise InvalidDataError(
        f"{what}: expected hidden states, floating-point tensors (1, T, D) of one shape, for one "
        f"utterance (1, S); found {_shown(result)}"
    )


def _is_lengths(item: Any) -> bool:
    return isinstance(item, Tensor) and not item.is_floating_point() and item.dim() <= 1


def _shown(result: Any) -> str:
    """What was found, briefly."""
    if isinstance(result, Tensor):
        return f"a {result.dtype} tensor {tuple(result.shape)}"
    if isinstance(result, (list, tuple)):
        some = ", ".join(_shown(item) for item in result[:3])
        return f"{len(result)} items: {some}{', ...' if len(result) > 3 else ''}"
    if isinstance(result, Mapping):
        return f"a mapping with the keys {', '.join(map(str, list(result)[:5]))}"
    return type(result).__name__


@dataclass(frozen=True)
class FrameRule:
    """How many frames a model gives: floor((S - first) / stride) + 1, from `min_samples` on.

    Attributes:
        stride: samples per frame.
        first: samples of the first frame by the arithmetic; 0 or less where a model pads.
        min_samples: the shortest input that gives a frame.
        together: frames that come at once, where a model reduces time and expands it again.
    """

    stride: int
    first: int
    min_samples: int
    together: int = 1

    def num_frames(self, num_samples: int) -> int:
        """T for an utterance of `num_samples` samples."""
        if num_samples < self.min_samples:
            return 0
        times = (num_samples - self.first) // (self.stride * self.together) + 1
        return times * self.together


def measure_rule(frames: Callable[[int], int], what: str) -> FrameRule:
    """The frame rule of a model, from what it gives.

    Args:
        frames: T for an input of so many samples, 0 where the model gives none or fails.
        what: the model, for messages.

    Raises:
        InvalidDataError: no frames at all, or a number of frames that follows no such rule.
    """
    probe = next((size for size in PROBES if frames(size) > 0), None)
    if probe is None:
        raise InvalidDataError(f"{what}: gives no frames for {PROBES[-1]} samples of sound")
    count = frames(probe)
    one = _fewest(frames, probe, count + 1, what)
    together = frames(one) - count
    more = _fewest(frames, one, count + 1 + STEPS * together, what)
    if (more - one) % (STEPS * together) or count % together:
        raise InvalidDataError(f"{what}: its number of frames does not grow evenly with length")
    stride = (more - one) // (STEPS * together)
    first = one - count * stride
    rule = FrameRule(stride, first, _shortest(frames, max(first, 1)), together)
    for size in CHECKED:
        if frames(size) != rule.num_frames(size):
            raise InvalidDataError(
                f"{what}: {size} samples give {frames(size)} frames; the rule measured (stride "
                f"{stride}, first frame {first} samples) says {rule.num_frames(size)}"
            )
    return rule


def _fewest(frames: Callable[[int], int], low: int, count: int, what: str) -> int:
    """The fewest samples that give `count` frames; `low` samples give fewer.

    Raises:
        InvalidDataError: more than a second of samples a frame.
    """
    start, high = low, low + 640
    while frames(high) < count:
        low, high = high, high + 2 * (high - start)
        if high - start > LONGEST_STRIDE * (STEPS + 1):
            raise InvalidDataError(
                f"{what}: {high} samples give {frames(high)} frames; more than one a second "
                f"expected"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if frames(middle) >= count else (middle, high)
    return high


def _shortest(frames: Callable[[int], int], start: int) -> int:
    """The fewest samples, `start` or more, at which the model works; it works at `PROBES[-1]`."""
    if frames(start) >= 1:
        return start
    low, high = start, start * 2
    while frames(high) < 1:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if frames(middle) >= 1 else (middle, high)
    return high


class Adapter(Upstream):
    """An upstream made of a function from one utterance to hidden states."""

    def __init__(self, encode: Encode, what: str, *, normalize_wav: bool = False) -> None:
        """Measure what the model gives.

        Args:
            encode: from a waveform (1, S) to what `as_states` understands; a module is frozen, and
                its parameters are the upstream's.
            what: the model, for messages.
            normalize_wav: zero mean and unit variance over the utterance before everything.

        Raises:
            InvalidDataError: no hidden states, or no frame rule.
        """
        super().__init__()
        self.model = encode  # a module among it has its parameters here
        self._what, self._normalize = what, normalize_wav
        self.freeze()
        states = self._measured(PROBES[1])
        self.num_layers, self.hidden_size = len(states), int(states[0].shape[-1])
        self._rule = measure_rule(self._count, what)
        self.stride, self.min_samples = self._rule.stride, self._rule.min_samples

    def num_frames(self, num_samples: int) -> int:
        """T by the rule that was measured."""
        return self._rule.num_frames(num_samples)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode (B, S) with lengths (B,), one utterance after another.

        Raises:
            InvalidDataError: an utterance too short, or states of other shapes than before.
        """
        rows = []
        for wav, size in zip(wavs, lengths.tolist(), strict=True):
            if size < self.min_samples:
                raise InvalidDataError(
                    f"an utterance of {size} samples: at least {self.min_samples} are needed"
                )
            states = self._one(wav[:size])
            shape = (len(states), states[0].shape[-1], states[0].shape[1])
            expected = (self.num_layers, self.hidden_size, self.num_frames(size))
            if shape != expected:
                raise InvalidDataError(
                    f"{self._what}: {size} samples: expected (L, D, T) = {expected}, found {shape}"
                )
            rows.append(torch.stack(states)[:, 0])  # (L, T, D)
        frames = torch.tensor([row.shape[1] for row in rows], device=lengths.device)
        if len(rows) == 1:
            return Hidden(tuple(rows[0][:, None]), frames)
        padded = nn.utils.rnn.pad_sequence([row.transpose(0, 1) for row in rows], batch_first=True)
        return Hidden(tuple(padded.permute(2, 0, 1, 3)), frames)  # padded: (B, T, L, D)

    def _one(self, wav: Tensor) -> tuple[Tensor, ...]:
        """States of one utterance (S,): L tensors (1, T, D)."""
        if self._normalize:
            wav = F.layer_norm(wav, wav.shape, eps=NORM_EPS)
        return as_states(self.model(wav[None]), self._what)

    def _measured(self, num_samples: int) -> Sequence[Tensor]:
        """States of noise, always the same for one length."""
        generator = torch.Generator().manual_seed(num_samples)
        wav = 0.1 * torch.randn(num_samples, generator=generator)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of inputs as short as those that are tried here
            return self._one(wav)

    def _count(self, num_samples: int) -> int:
        """T for noise of so many samples; 0 where the model cannot take so few.

        A model that normalises over time gives no numbers for a single frame: too few as well.
        """
        try:
            states = self._measured(num_samples)
            finite = all(bool(state.isfinite().all()) for state in states)
            return int(states[0].shape[1]) if finite else 0
        except UserError:
            raise
        except Exception:  # whatever a model raises for an input shorter than its first window
            return 0
