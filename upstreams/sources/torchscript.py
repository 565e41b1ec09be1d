"""TorchScript archives: `torchscript:FILE`.

An archive is a program, which runs when it is loaded. It is therefore loaded only with the user's
consent (`bench.load.catalog`), never as a file of weights. Its `forward`, or the method that a
card's `config: {method: NAME}` names, takes a waveform (1, S) and returns an output that
`upstreams.sources.adapter.as_states` accepts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError, message_of
from upstreams.sources.adapter import Adapter, options


class _Script(nn.Module):
    """An archive, called by one of its methods.

    Attributes:
        constants: tensors that freezing made constants of the program, to be counted as parameters.
    """

    def __init__(self, script: Any, method: str) -> None:
        super().__init__()
        self.script, self.method = script, method
        self.constants = nn.ParameterList(
            nn.Parameter(tensor, requires_grad=False) for tensor in _constants(script)
        )

    def forward(self, wavs: Tensor) -> Any:
        """Return the output of the method for (1, S)."""
        return getattr(self.script, self.method)(wavs)


def load(source: UpstreamSource) -> Upstream:
    """Load an archive that the user trusts.

    Raises:
        UsageError: `+untrained` or a variant, an unknown option, or no such method.
        InvalidDataError: the file is not an archive, or its output has no hidden states.
    """
    if source.untrained or source.variant is not None:
        raise UsageError("torchscript: an archive has its weights and no variants")
    settings = options(source.config, "torchscript", method="forward", normalize_wav=False)
    assert source.place is not None  # bench.load.files found the file
    try:
        script = _read(source.place)
    except Exception as error:  # torch raises many classes on a corrupt archive
        raise InvalidDataError(
            f"{source.place}: not a TorchScript archive; a file of weights needs a card that names "
            f"it ({message_of(error)})"
        ) from error
    if not hasattr(script, settings["method"]):
        raise UsageError(f"{source.place}: the archive has no method {settings['method']!r}")
    model = _Script(script, settings["method"])
    return Adapter(model, source.place, normalize_wav=settings["normalize_wav"])


def _read(place: str) -> Any:
    """Load the archive in evaluation mode."""
    return torch.jit.load(place, map_location="cpu").eval()  # type: ignore[no-untyped-call]


def _constants(script: Any) -> list[Tensor]:
    """Return the floating-point tensors in the program of a frozen archive."""
    tensors = []
    graph = getattr(script, "inlined_graph", None)
    for node in graph.findAllNodes("prim::Constant", recurse=True) if graph is not None else ():
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            tensor = node.t("value")
            if tensor.is_floating_point() and tensor.dim() > 0:
                tensors.append(tensor)
    return tensors
