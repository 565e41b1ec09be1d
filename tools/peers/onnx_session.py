"""An ONNX file in onnxruntime, in float32 and quantised by its own tool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.load.modifiers import quiet
from tools.peers.peer import Pass, Peer, Run, in_batches

NAME = "onnxruntime"


def onnx_peers(path: Path, feed: Callable[[list[Tensor]], Any]) -> Iterator[Peer]:
    """Yield the peers of a file: as it is, and with int8 weights of its products.

    Args:
        path: of the file, whose outputs are states (1, T, D).
        feed: makes the input of the file from one sound.
    """
    import onnxruntime
    from onnxruntime.quantization import quantize_dynamic

    small = path.with_stem(f"{path.stem}-int8")
    # Convolutions stay in float32, as in ours.
    with quiet():
        quantize_dynamic(path, small, op_types_to_quantize=["MatMul", "Gemm"])

    def session(file: Path, threads: int) -> Run:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        opened = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda wavs, together: in_batches(_pass(opened, feed), wavs, together)

    for precision, file in (("float32", path), ("int8", small)):
        yield Peer(NAME, precision, partial(session, file), False)


def _pass(session: Any, feed: Callable[[list[Tensor]], Any]) -> Pass:
    name = session.get_inputs()[0].name

    def function(wavs: list[Tensor]) -> list[Tensor]:
        states: Sequence[Any] = session.run(None, {name: feed(wavs)})
        return [torch.cat([torch.from_numpy(state) for state in states])]

    return function
