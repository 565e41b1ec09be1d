"""Weights and multiply-accumulates of an ONNX file.

Shapes inside a graph depend on the length of the input, and static shape inference fails on many
graphs. The shapes therefore come from a run of the same graph with `Shape` nodes as outputs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import InvalidDataError, UsageError
from upstreams.sources.adapter import message_of

# Operations with a formula.
CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv"}
PRODUCTS = {"MatMul", "MatMulInteger", "Gemm", "QLinearMatMul", "FusedMatMul"}
RECURRENT = {"LSTM", "GRU", "RNN"}
TRANSPOSED = {"ConvTranspose"}
COUNTED = CONVOLUTIONS | PRODUCTS | RECURRENT | TRANSPOSED
WEIGHT_INPUT = {"QLinearConv": 3, "QLinearMatMul": 3}  # index of the weight; 1 for the others
# Operations with products but without a formula: they are reported as not counted.
UNKNOWN = {"Attention", "DeformConv", "Einsum", "MultiHeadAttention", "GroupQueryAttention"}
NESTED = {"If", "Loop", "Scan", "SequenceMap"}
DOMAINS = ("", "ai.onnx")


class OnnxGraph:
    """The graph of an ONNX file, read as data.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Read and check a file.

        Raises:
            UsageError: onnx or onnxruntime is not installed.
            InvalidDataError: the file is not ONNX, or has custom operators or weights outside its
                folder.
        """
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise UsageError(
                "onnx: models need onnx and onnxruntime: pip install slim-superb[onnx]"
            ) from error
        self.path = path
        onnxruntime.set_default_logger_severity(4)
        try:
            self._model = onnx.load(path, load_external_data=False)
        except Exception as error:  # protobuf's errors have no common class
            raise InvalidDataError(f"{path}: not an ONNX file") from error
        if not self._model.graph.node:
            raise InvalidDataError(f"{path}: not an ONNX file, or one without operations")
        self._external = self._external_files()
        foreign = {node.domain for node in self._nodes()} - set(DOMAINS)
        foreign -= {function.domain for function in self._model.functions}
        if foreign:
            raise InvalidDataError(f"{path}: operators of {', '.join(sorted(foreign))}: refused")

    def _external_files(self) -> list[Path]:
        """Return the files of external weights."""
        names = {
            entry.value
            for tensor in self._tensors()
            for entry in tensor.external_data
            if entry.key == "location"
        }
        folder = self.path.resolve().parent
        files = []
        for name in sorted(names):
            file = (folder / name).resolve()
            if not file.is_relative_to(folder):
                raise InvalidDataError(
                    f"{self.path}: keeps weights at {name!r}, outside its folder"
                )
            if not file.is_file():
                raise InvalidDataError(f"{self.path}: its weights {name!r} are not beside it")
            files.append(file)
        return files

    def external_sha256(self) -> str | None:
        """Return the digest of the files of external weights and their names; None without any."""
        folder, digest = self.path.resolve().parent, hashlib.sha256()
        for file in self._external:
            with file.open("rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            digest.update(f"{file.relative_to(folder).as_posix()} {sha256}\n".encode())
        return digest.hexdigest() if self._external else None

    def _tensors(self) -> Iterator[Any]:
        """Yield all tensors that the file holds or names, also those inside operations."""
        graphs = [self._model.graph]
        for node in self._nodes():
            for attribute in node.attribute:
                graphs += [attribute.g, *attribute.graphs]
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
        for graph in graphs:
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)

    def _nodes(self) -> Iterator[Any]:
        """Yield all operations, also those inside other operations."""
        stack = [*self._model.graph.node, *(n for f in self._model.functions for n in f.node)]
        while stack:
            node = stack.pop()
            yield node
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    stack += graph.node

    def session(self, content: bytes | None = None) -> Any:
        """Return a session of onnxruntime on one thread.

        Args:
            content: a serialised graph to run without optimisations, instead of the file.

        Raises:
            InvalidDataError: onnxruntime refuses the file.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if content is not None:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        try:
            return onnxruntime.InferenceSession(
                content or str(self.path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's classes are not public
            raise InvalidDataError(
                f"{self.path}: onnxruntime refuses it ({message_of(error)})"
            ) from error

    def num_parameters(self) -> int:
        """Return the number of elements of all initializers and constants that are weights.

        Integer and boolean tensors (shapes, indices) are not weights. As for other upstreams, zero
        points and scales of quantised weights do not count.
        """
        import onnx

        not_weights = {onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL}
        tensors = list(self._model.graph.initializer)
        for node in self._nodes():
            if node.op_type == "Constant":
                tensors += [item.t for item in node.attribute if item.name == "value"]
        return sum(
            math.prod(tensor.dims)
            for tensor in tensors
            if tensor.data_type not in not_weights
            and tensor.dims
            and not tensor.name.endswith(("_scale", "_zero_point"))
        )

    def num_bytes(self) -> int:
        """Return the size of the file and of its external weights."""
        return sum(file.stat().st_size for file in (self.path, *self._external))

    def count_macs(self, num_samples: int) -> int:
        """Return the multiply-accumulates of one utterance of S samples."""
        import numpy as np

        model, counted = self._with_shapes()
        session = self.session(model.SerializeToString())
        (wav,) = session.get_inputs()
        shape = (num_samples,) if len(wav.shape) == 1 else (1, num_samples)
        names = [name for _, names in counted for name in names]
        outputs = session.run(names, {wav.name: np.zeros(shape, dtype=np.float32)})
        shapes = {name: tuple(map(int, value)) for name, value in zip(names, outputs, strict=True)}
        return sum(_macs(node, [shapes[name] for name in names]) for node, names in counted)

    def uncounted_operations(self) -> tuple[str, ...]:
        """Return the names of operations with products that `count_macs` leaves out.

        They have no formula, or stand in a loop or a branch.
        """
        present = {node.op_type for node in self._nodes()}
        nested = {
            inner.op_type
            for node in self._nodes()
            if node.op_type in NESTED
            for attribute in node.attribute
            for graph in (attribute.g, *attribute.graphs)
            for inner in graph.node
        }
        return tuple(sorted((present & UNKNOWN) | (nested & COUNTED)))

    def _with_shapes(self) -> tuple[Any, list[tuple[Any, list[str]]]]:
        """Return the graph with shapes as outputs, and its counted nodes with the names of these.

        A node has three shapes: of input, weight and output (recurrent: of R instead of output).
        """
        import onnx
        from onnx import helper, inliner

        model = onnx.load(self.path)  # with external weights, whose paths were checked
        if model.functions:
            model = inliner.inline_local_functions(model)
        del model.graph.output[:]
        counted = []
        for index, node in enumerate(list(model.graph.node)):
            if node.op_type not in COUNTED:
                continue
            tensors = [node.input[0], node.input[WEIGHT_INPUT.get(node.op_type, 1)], node.output[0]]
            if node.op_type in RECURRENT:
                tensors[2] = node.input[2]
            names = [f"slim_superb_shape_{index}_{position}" for position in range(3)]
            for tensor, name in zip(tensors, names, strict=True):
                model.graph.node.append(helper.make_node("Shape", [tensor], [name]))
                info = helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [None])
                model.graph.output.append(info)
            counted.append((node, names))
        return model, counted


def _macs(node: Any, shapes: list[tuple[int, ...]]) -> int:
    """Return the multiply-accumulates of a node, from the shapes that `_with_shapes` lists."""
    inputs, weight, out = shapes
    if node.op_type in CONVOLUTIONS:  # weight (C_out, C_in / groups, kernel...)
        return math.prod(out) * math.prod(weight[1:])
    if node.op_type in TRANSPOSED:  # weight (C_in, C_out / groups, kernel...)
        return math.prod(inputs) * math.prod(weight[1:])
    if node.op_type in RECURRENT:  # input (T, B, I), W (directions, 4H, I), R (directions, 4H, H)
        return inputs[0] * inputs[1] * (math.prod(weight) + math.prod(out))
    inner = inputs[-1]
    if node.op_type == "Gemm":
        transposed = any(item.name == "transA" and item.i for item in node.attribute)
        inner = inputs[0] if transposed else inputs[1]
    return math.prod(out) * inner
