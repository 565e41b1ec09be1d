"""A model in memory, from a Python program: a torch module, a function, a Transformers model.

It is called with one utterance at a time: `model(wav)` with wav (1, S), float32 at 16 kHz, or
`model(wav, lengths)` with lengths (1,) in samples where it takes two arguments. Its output is
anything that `upstreams.sources.adapter.as_states` accepts. Of a Transformers model with a task's
head, the encoder below the head is used.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Upstream, UpstreamSource
from bench.errors import UsageError
from upstreams.sources.adapter import Adapter
from upstreams.sources.hf_auto import AllStates


class WithLengths(nn.Module):
    """A model that takes samples and lengths, called with one waveform (1, S)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.inner = model

    def forward(self, wavs: Tensor) -> Any:
        """Return the model's output for (1, S)."""
        return self.inner(wavs, torch.tensor([wavs.shape[1]], device=wavs.device))


def load(source: UpstreamSource) -> Upstream:
    """Wrap the object in `args["model"]`; an `Upstream` is returned as it is.

    Raises:
        UsageError: not callable; a Transformers model of other input than waveforms, or without the
            option `normalize_wav`.
        InvalidDataError: its output is no hidden states.
    """
    model, name = source.args["model"], str(source.place)
    normalize = source.config.get("normalize_wav")
    if isinstance(model, Upstream):
        return model
    transformers = sys.modules.get("transformers")
    if transformers is not None and isinstance(model, transformers.PreTrainedModel):
        model = model.base_model
        if model.main_input_name != "input_values":
            raise UsageError(
                f"{name}: takes {model.main_input_name!r}; only models of waveforms "
                f"('input_values') can be run"
            )
        if normalize is None:
            raise UsageError(
                f"{name}: say normalize_wav=True or False: 'do_normalize' of its feature extractor"
            )
        return Adapter(AllStates(model), name, normalize_wav=normalize)
    if not callable(model) or isinstance(model, type):
        found = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise UsageError(
            f"{name}: expected a torch module or a function of a waveform (1, S), found {found}"
        )
    if _takes_lengths(model):
        model = WithLengths(model)
    return Adapter(model, name, normalize_wav=bool(normalize), is_copy=True)


def _takes_lengths(model: Any) -> bool:
    """Return whether a model's second argument is named `lengths`, or is required."""
    call = model.forward if isinstance(model, nn.Module) else model
    try:
        arguments = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):  # a function without a signature
        return False
    second = arguments[1] if len(arguments) > 1 else None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if second is None or second.kind not in positional:
        return False
    return second.name == "lengths" or second.default is inspect.Parameter.empty
