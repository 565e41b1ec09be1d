"""An upstream made of a function of one utterance: shapes are checked, the frame rule is measured.

A model from elsewhere runs on one utterance at a time, so that no padding can reach it; a batch is
a loop. `as_states` reads the output of every kind of model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from bench.api import Hidden, Upstream, pad_states
from bench.errors import InvalidDataError, UsageError, UserError, did_you_mean, message_of
from upstreams.sources.frame_rule import FrameRule, measure_rule
from upstreams.sources.held import unregistered_modules

PROBE_SAMPLES = 16_000  # of the first sound that a model gets
MAX_STATES = 200
NORM_EPS = 1e-5

Encode = Callable[[Tensor], Any]


def options(config: Mapping[str, Any], model: str, **defaults: Any) -> dict[str, Any]:
    """Return the defaults with the values of a card's `config`.

    Args:
        config: of the card.
        model: the kind of model, for messages.
        defaults: all keys; a value must have the type of its default, unless that is None.

    Raises:
        UsageError: an unknown key, or a value of another type.
    """
    for key, value in config.items():
        if key not in defaults:
            raise UsageError(f"{model}: unknown config key {key!r}: {did_you_mean(key, defaults)}")
        expected = type(defaults[key])
        if defaults[key] is not None and type(value) is not expected:
            raise UsageError(
                f"{model}: config key {key!r}: {expected.__name__} expected, found {value!r}"
            )
    return defaults | dict(config)


def as_states(result: Any, model: str) -> tuple[Tensor, ...]:
    """Return the hidden states in the output of a model for one utterance.

    Accepted are: one tensor (1, T, D); a list or tuple of such tensors; a stack (L, 1, T, D); a
    mapping or object with `hidden_states`; `bench.api.Hidden`. In a tuple, None and lengths
    (integers) are ignored, and a list inside it is taken as the states.

    Args:
        result: output of the model.
        model: the model, for messages.

    Returns:
        L float32 tensors (1, T, D).

    Raises:
        InvalidDataError: the output is of another kind, which the message describes.
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
        states = [item for item in items if item is not None and not _is_lengths(item)]
        shapes = {tuple(item.shape) for item in states if isinstance(item, Tensor)}
        are_floats = all(isinstance(item, Tensor) and item.is_floating_point() for item in states)
        shape = next(iter(shapes), ())
        is_uniform = are_floats and len(shapes) == 1 and len(shape) == 3 and shape[0] == 1
        is_uniform = is_uniform and shape[2] > 0
        if is_uniform and 0 < len(states) <= MAX_STATES:
            return tuple(item.to(torch.float32) for item in states)
    raise InvalidDataError(
        f"{model}: expected hidden states, floating-point tensors (1, T, D) of one shape, for one "
        f"utterance (1, S); found {_description(result)}"
    )


def _is_lengths(item: Any) -> bool:
    return isinstance(item, Tensor) and not item.is_floating_point() and item.dim() <= 1


def _description(result: Any) -> str:
    """Describe the output of a model in a few words."""
    if isinstance(result, Tensor):
        return f"a {result.dtype} tensor {tuple(result.shape)}"
    if isinstance(result, (list, tuple)):
        first = ", ".join(_description(item) for item in result[:3])
        return f"{len(result)} items: {first}{', ...' if len(result) > 3 else ''}"
    if isinstance(result, Mapping):
        keys = ", ".join(map(str, list(result)[:5]))
        return f"a mapping with the keys {keys} (transformers: output_hidden_states=True)"
    return type(result).__name__


class Adapter(Upstream):
    """An upstream made of a function from one utterance to hidden states."""

    def __init__(
        self,
        encode: Encode,
        name: str,
        *,
        normalize_wav: bool = False,
        rule: FrameRule | None = None,
        is_copy: bool = False,
    ) -> None:
        """Run the function to measure L, D and the frame rule.

        Args:
            encode: maps a waveform (1, S) to an output that `as_states` accepts. Modules that it
                is or holds are frozen, and their parameters become the upstream's.
            name: the model, for messages.
            normalize_wav: scale each utterance to zero mean and unit variance first.
            rule: of frames, where it is given by the model; None to measure it.
            is_copy: of a model whose functions belong to a program that goes on using them.

        Raises:
            InvalidDataError: the model fails, its output has no hidden states, or no frame rule
                fits.
        """
        super().__init__()
        self.model = encode  # registers the parameters of a module
        if held := unregistered_modules(encode, through_functions=not is_copy):
            self.held = nn.ModuleList(held)
        self._name, self._normalize = name, normalize_wav
        self.freeze()
        try:
            states = self._states_of_noise(PROBE_SAMPLES)
        except UserError:
            raise
        except Exception as error:  # of a foreign model, of any class
            raise InvalidDataError(
                f"{name}: fails on a sound (1, {PROBE_SAMPLES}) in float32: "
                f"{type(error).__name__}: {message_of(error)}"
            ) from error
        self.num_layers, self.hidden_size = len(states), int(states[0].shape[-1])
        self._failure = ""  # at the last length that was tried; empty where it ran
        self._rule = rule or self._measured_rule()
        self.stride, self.min_samples = self._rule.stride, self._rule.min_samples

    def num_frames(self, num_samples: int) -> int:
        """Return T for S samples by the measured rule."""
        return self._rule.num_frames(num_samples)

    def forward(self, wavs: Tensor, lengths: Tensor) -> Hidden:
        """Encode (B, S) with lengths (B,), one utterance after another.

        Raises:
            InvalidDataError: an utterance is too short, or states have other shapes than measured.
        """
        rows = []
        for wav, size in zip(wavs, self.sizes(lengths), strict=True):
            states = self._one(wav[:size])
            shape = (len(states), states[0].shape[-1], states[0].shape[1])
            expected = (self.num_layers, self.hidden_size, self.num_frames(size))
            if shape != expected:
                raise InvalidDataError(
                    f"{self._name}: {size} samples: expected (L, D, T) = {expected}, found {shape}"
                )
            rows.append(torch.stack(states)[:, 0])  # (L, T, D)
        return pad_states(rows, lengths.device)

    def _measured_rule(self) -> FrameRule:
        """Measure the frame rule; an error names the length at which the model itself failed.

        Raises:
            InvalidDataError: no frame rule fits.
        """
        try:
            return measure_rule(self._count, self._name)
        except InvalidDataError as error:
            raise InvalidDataError(f"{error}{self._failure}") from error

    def _one(self, wav: Tensor) -> tuple[Tensor, ...]:
        """Return the states of one utterance (S,): L tensors (1, T, D)."""
        if self._normalize:
            wav = F.layer_norm(wav, wav.shape, eps=NORM_EPS)
        return as_states(self.model(wav[None]), self._name)

    def _states_of_noise(self, num_samples: int) -> Sequence[Tensor]:
        """Return the states of noise that depends only on its length."""
        generator = torch.Generator().manual_seed(num_samples)
        wav = 0.1 * torch.randn(num_samples, generator=generator)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # models warn of very short inputs
            return self._one(wav)

    def _count(self, num_samples: int) -> int:
        """Return T for noise of S samples; 0 if S is too short for the model.

        A model that normalises over time gives NaN for a single frame: this is too short as well.
        """
        try:
            states = self._states_of_noise(num_samples)
            if states[0].shape[-1] != self.hidden_size:
                raise InvalidDataError(
                    f"{self._name}: the width of its states changes with the length of the sound: "
                    f"expected (1, T, D), found {tuple(states[0].shape)} for {num_samples} "
                    f"samples: swap the last two axes"
                )
            finite = all(bool(state.isfinite().all()) for state in states)
            self._failure = ""
            return int(states[0].shape[1]) if finite else 0
        except UserError:
            raise
        except Exception as error:  # any error of a foreign model on a very short input
            self._failure = f"; with {num_samples} samples it fails: {message_of(error)}"
            return 0
