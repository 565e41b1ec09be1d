"""ONNX files: `onnx:FILE`, run by onnxruntime on one CPU thread.

The graph takes waveforms, or the features of a feature extractor (`upstreams.onnx.inputs`),
and its outputs are the hidden states: each (B, T, D), in the order of the graph, or one stacked
output (L, B, T, D). If a file has other outputs too, a card must name the hidden states (`config:
{outputs: [...]}`); it may name any tensor inside the graph. Frames and stride are measured.

A `preprocessor_config.json` beside the file is used: its `do_normalize` for waveforms, all of it
for features. Without one, `@features=whisper` (or `config: {features: whisper}`) names the
extractor, and `config: {normalize_wav: true}` says that waveforms are normalised.

A file cannot run code: custom operators are refused. Weights outside its folder are refused too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.api import Opaque, Upstream, UpstreamSource
from bench.errors import InvalidDataError, UsageError
from upstreams.onnx.graph import OnnxGraph
from upstreams.onnx.inputs import OnnxInputs
from upstreams.sources.adapter import Adapter, as_states, options
from upstreams.sources.frame_rule import FrameRule
from upstreams.sources.windows import in_windows, stride_of

MAX_BYTES = 4 << 30


class OnnxUpstream(Adapter, Opaque):
    """An ONNX graph as an upstream, without torch parameters."""

    is_reentrant = True

    def __init__(
        self, graph: OnnxGraph, inputs: OnnxInputs, session: Any, outputs: Sequence[str]
    ) -> None:
        name, window = str(graph.path), inputs.window

        def run(wavs: Tensor) -> tuple[Tensor, ...]:
            results = session.run(list(outputs), inputs.feed(wavs[0].numpy()))
            tensors = [torch.from_numpy(item) for item in results]
            states = [
                item[None] if inputs.is_flat and item.dim() == 2 else item for item in tensors
            ]
            return as_states(states[0] if len(states) == 1 else states, name)

        def encode(wavs: Tensor) -> tuple[Tensor, ...]:
            return in_windows(run, wavs, window, stride, pad=not inputs.has_extractor)

        rule = None
        if window:
            frames = run(torch.zeros(1, window))[0].shape[1]
            stride = stride_of(window, frames, name)
            rule = FrameRule(stride, 1, 1)
        super().__init__(encode if window else run, name, normalize_wav=inputs.normalize, rule=rule)
        self.graph, self.identity = graph, graph.sha256_beside(inputs.file)
        self._inputs = inputs

    def num_parameters(self) -> int:
        """Return the number of weights in the file."""
        return self.graph.num_parameters()

    def stored_bytes(self) -> int:
        """Return the size of the file and of its external weights."""
        return self.graph.num_bytes()

    def count_macs(self, num_samples: int) -> int:
        """Return the multiply-accumulates of one utterance, from the shapes of a run."""
        window = self._inputs.window or num_samples
        size = window if not self._inputs.has_extractor else min(window, num_samples)
        feed = self._inputs.feed(np.zeros(size, dtype=np.float32))
        return -(-num_samples // window) * self.graph.count_macs(feed)

    def uncounted_operations(self) -> tuple[str, ...]:
        """Return the names of operations with products that `count_macs` leaves out."""
        return self.graph.uncounted_operations()


def load(source: UpstreamSource) -> Upstream:
    """Load a graph.

    Raises:
        UsageError: `+untrained` or a variant, an unknown option, or onnxruntime is not installed.
        InvalidDataError: the file is not ONNX, is too large, or has other inputs or outputs.
    """
    if source.untrained:
        raise UsageError("onnx: a file has its weights, so no untrained control")
    config = dict(source.config)
    if source.variant is not None:
        key, _, config["features"] = source.variant.partition("=")
        if key != "features":
            raise UsageError(f"onnx: variant {source.variant!r}: features=NAME expected")
    settings = options(config, "onnx", outputs=[], normalize_wav=None, features=None)
    names = settings["outputs"]
    if not all(isinstance(item, str) for item in names):
        raise UsageError(f"onnx: 'outputs': names expected, found {names!r}")
    assert source.place is not None  # bench.load.files found the file
    path = Path(source.place)
    if path.stat().st_size > MAX_BYTES:
        raise InvalidDataError(f"{path}: more than {MAX_BYTES} bytes")
    graph = OnnxGraph(path)
    session = graph.session(names)
    inputs = OnnxInputs(session.get_inputs(), path, settings["features"], settings["normalize_wav"])
    outputs = names or [item.name for item in session.get_outputs()]
    return OnnxUpstream(graph, inputs, session, outputs)
