"""ONNX files: `onnx:FILE`, run by onnxruntime on one CPU thread.

The graph has one input, float32 waveforms (B, S) or (S,), and its outputs are the hidden states:
each (B, T, D), in the order of the graph, or one stacked output (L, B, T, D). If a file has other
outputs too, a card must name the hidden states (`config: {outputs: [...]}`). Frames and stride are
measured.

A file cannot run code: custom operators are refused. Weights outside its folder are refused too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.api import Opaque, Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from upstreams.sources.adapter import Adapter, as_states, options
from upstreams.sources.onnx_graph import OnnxGraph

MAX_BYTES = 4 << 30


class OnnxUpstream(Adapter, Opaque):
    """An ONNX graph as an upstream, without torch parameters."""

    is_reentrant = True

    def __init__(
        self, graph: OnnxGraph, session: Any, *, outputs: Sequence[str], normalize_wav: bool
    ) -> None:
        outputs = outputs or [item.name for item in session.get_outputs()]
        unknown = set(outputs) - {item.name for item in session.get_outputs()}
        if unknown:
            raise UsageError(f"{graph.path}: no output {', '.join(map(repr, sorted(unknown)))}")
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) > 2:
            shown = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
            raise InvalidDataError(
                f"{graph.path}: expected one input, float32 waveforms (B, S) or (S,), found {shown}"
            )
        flat = len(inputs[0].shape) == 1

        def encode(wavs: Tensor) -> Any:
            feed = {inputs[0].name: (wavs[0] if flat else wavs).numpy()}
            tensors = [torch.from_numpy(item) for item in session.run(outputs, feed)]
            states = [item[None] if flat and item.dim() == 2 else item for item in tensors]
            return as_states(states[0] if len(states) == 1 else states, str(graph.path))

        super().__init__(encode, str(graph.path), normalize_wav=normalize_wav)
        self.graph, self.identity = graph, graph.external_sha256()

    def num_parameters(self) -> int:
        """Return the number of weights in the file."""
        return self.graph.num_parameters()

    def stored_bytes(self) -> int:
        """Return the size of the file and of its external weights."""
        return self.graph.num_bytes()

    def count_macs(self, num_samples: int) -> int:
        """Return the multiply-accumulates of one utterance, from the shapes of a run."""
        return self.graph.count_macs(num_samples)

    def uncounted_operations(self) -> tuple[str, ...]:
        """Return the names of operations with products that `count_macs` leaves out."""
        return self.graph.uncounted_operations()


def load(source: UpstreamSource) -> Upstream:
    """Load a graph.

    Raises:
        UsageError: `+untrained` or a variant, an unknown option, or onnxruntime is not installed.
        InvalidDataError: the file is not ONNX, is too large, or has other inputs or outputs.
    """
    if source.untrained or source.variant is not None:
        raise UsageError("onnx: a file has its weights and no variants")
    settings = options(source.config, "onnx", outputs=[], normalize_wav=False)
    if not all(isinstance(item, str) for item in settings["outputs"]):
        raise UsageError(f"onnx: 'outputs': names expected, found {settings['outputs']!r}")
    assert source.place is not None  # bench.load.files found the file
    path = Path(source.place)
    if path.stat().st_size > MAX_BYTES:
        raise InvalidDataError(f"{path}: more than {MAX_BYTES} bytes")
    graph = OnnxGraph(path)
    return OnnxUpstream(graph, graph.session(), **settings)
