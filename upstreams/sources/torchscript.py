"""TorchScript archives: `torchscript:FILE`.

An archive is a program; it runs as soon as it is loaded. It is therefore loaded only with consent
(`bench.load.catalog`), never as a file of weights. Its `forward` (or the method that `config:
{method:
...}` names) takes a waveform (1, S) and returns what `upstreams.sources.adapter.as_states` reads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bench.api import Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from upstreams.sources.adapter import Adapter, options


class _Script(nn.Module):
    """The archive, called by one of its methods.

    Attributes:
        constants: tensors that freezing made part of the program, so that they are counted.
    """

    def __init__(self, script: Any, method: str) -> None:
        super().__init__()
        self.script, self.method = script, method
        self.constants = nn.ParameterList(
            nn.Parameter(tensor, requires_grad=False) for tensor in _constants(script)
        )

    def forward(self, wavs: Tensor) -> Any:
        """Call the method with (1, S)."""
        return getattr(self.script, self.method)(wavs)


def load(source: UpstreamSource) -> Upstream:
    """Load an archive that the user trusts.

    Raises:
        UsageError: `+untrained` or a variant, an unknown option, a method that is not there.
        InvalidDataError: not an archive, or one that gives no hidden states.
    """
    if source.untrained or source.variant is not None:
        raise UsageError("torchscript: an archive has its weights and no variants")
    given = options(source.config, "torchscript", method="forward", normalize_wav=False)
    assert source.place is not None  # bench.load.model_files found the file
    try:
        script = _read(source.place)
    except Exception as error:  # whatever a corrupt archive provokes
        reason = " ".join(str(error).split())[:120]
        raise InvalidDataError(f"{source.place}: not a TorchScript archive ({reason})") from error
    if not hasattr(script, given["method"]):
        raise UsageError(f"{source.place}: the archive has no method {given['method']!r}")
    model = _Script(script, given["method"])
    return Adapter(model, source.place, normalize_wav=given["normalize_wav"])


def _read(place: str) -> Any:
    """The archive, in evaluation mode."""
    return torch.jit.load(place, map_location="cpu").eval()  # type: ignore[no-untyped-call]


def _constants(script: Any) -> list[Tensor]:
    """Floating-point tensors in the program of a frozen archive."""
    found = []
    graph = getattr(script, "inlined_graph", None)
    for node in graph.findAllNodes("prim::Constant", recurse=True) if graph is not None else ():
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            tensor = node.t("value")
            if tensor.is_floating_point() and tensor.dim() > 0:
                found.append(tensor)
    return found
