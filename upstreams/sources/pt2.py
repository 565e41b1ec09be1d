"""Archives of torch.export: `pt2:FILE`.

An archive is a program: torch evaluates its formulas when it is read, and it may hold pickles and
compiled libraries. It is therefore loaded only with the user's consent (`bench.load.catalog`). The
program takes a waveform (1, S), (1, 1, S) or (S,) and returns an output that
`upstreams.sources.adapter.as_states` accepts. A length that is fixed in it makes a window.
"""

from __future__ import annotations

import logging
import types
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError, message_of
from upstreams.sources.adapter import Adapter, as_states, options
from upstreams.sources.frame_rule import FrameRule
from upstreams.sources.windows import in_windows, stride_of

FLOATS = (torch.float32, torch.float16, torch.bfloat16)


class _Program(nn.Module):
    """An exported program, called with one waveform.

    Attributes:
        window: samples that the program takes at once; 0 for any number.
        stride: samples of a frame, of a program with a window.
    """

    def __init__(self, program: Any, sound: Tensor, name: str) -> None:
        super().__init__()
        self.program = program.module()
        for part in self.program.modules():  # torch refuses to switch the mode of a program
            part.training = False
        self.program.train = types.MethodType(lambda module, mode=True: module, self.program)
        self._rank, self._dtype, self._name = sound.dim(), sound.dtype, name
        length = sound.shape[-1]
        self.window, self.stride = (length if isinstance(length, int) else 0), 0

    def forward(self, wavs: Tensor) -> Any:
        """Return the output of the program for (1, S)."""
        if not self.window:
            return self._run(wavs)
        return in_windows(self._states, wavs, self.window, self.stride, pad=True)

    def _states(self, wavs: Tensor) -> tuple[Tensor, ...]:
        return as_states(self._run(wavs), self._name)

    def _run(self, wavs: Tensor) -> Any:
        """Run the program on (1, S), in the form that it takes."""
        return self.program(wavs.reshape((1,) * (self._rank - 1) + (-1,)).to(self._dtype))

    def rule(self) -> FrameRule | None:
        """Return the frame rule of a program with a window; None for others."""
        if not self.window:
            return None
        with torch.inference_mode():
            frames = self._states(torch.zeros(1, self.window))[0].shape[1]
        self.stride = stride_of(self.window, frames, self._name)
        return FrameRule(self.stride, 1, 1)


def load(source: UpstreamSource) -> Upstream:
    """Load an archive that the user trusts.

    Raises:
        UsageError: `+untrained` or a variant, or an unknown option.
        InvalidDataError: the file is not such an archive, its input is no waveform, or its output
            has no hidden states.
    """
    if source.untrained or source.variant is not None:
        raise UsageError("pt2: an archive has its weights and no variants")
    settings = options(source.config, "pt2", normalize_wav=False)
    assert source.place is not None  # bench.load.files found the file
    logging.disable(logging.WARNING)  # torch logs the traceback of its own first attempt
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch warns of torch
            program = torch.export.load(source.place)
    except Exception as error:  # torch raises many classes on a corrupt archive
        raise InvalidDataError(
            f"{source.place}: not an archive of torch.export ({message_of(error)})"
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    model = _Program(program, _sound(program, source.place), source.place)
    return Adapter(model, source.place, normalize_wav=settings["normalize_wav"], rule=model.rule())


def _sound(program: Any, name: str) -> Tensor:
    """Return the program's only input, without content: its shape may have symbols.

    Raises:
        InvalidDataError: it has other inputs, or its input is no waveform.
    """
    names = set(program.graph_signature.user_inputs)
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.name in names]
    tensors = [item for item in inputs if isinstance(item, Tensor)]
    shown = ", ".join(f"{item.dtype} {tuple(item.shape)}" for item in tensors) or "none"
    sound = tensors[0] if len(tensors) == len(inputs) == 1 else None
    is_wav = sound is not None and sound.dtype in FLOATS and 1 <= sound.dim() <= 3
    if (
        sound is None
        or not is_wav
        or any(size > 1 for size in sound.shape[:-1] if isinstance(size, int))
    ):
        raise InvalidDataError(
            f"{name}: expected one input of waveforms (1, S), (1, 1, S) or (S,), found {shown}"
        )
    return sound
