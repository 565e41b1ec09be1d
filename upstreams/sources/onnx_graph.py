"""What an ONNX file holds: its weights, and the products that one utterance costs.

Shapes inside a graph depend on the input's length, and static shape inference gives up on many
graphs; so the shapes are those of a real run of the same graph with `Shape` nodes as outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.errors import InvalidDataError, UsageError

# Inputs (or outputs) whose shapes a formula needs; `out` is the first output.
CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv"}
PRODUCTS = {"MatMul", "MatMulInteger", "Gemm", "QLinearMatMul", "FusedMatMul"}
RECURRENT = {"LSTM", "GRU", "RNN"}
TRANSPOSED = {"ConvTranspose"}
COUNTED = CONVOLUTIONS | PRODUCTS | RECURRENT | TRANSPOSED
WEIGHT_INPUT = {"QLinearConv": 3, "QLinearMatMul": 3}
# Products without a formula here: an error rather than a zero.
UNKNOWN = {"Attention", "DeformConv", "Einsum", "MultiHeadAttention", "GroupQueryAttention"}
NESTED = {"If", "Loop", "Scan", "SequenceMap"}
DOMAINS = ("", "ai.onnx")


class OnnxGraph:
    """A file, read as data.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Read and check.

        Raises:
            UsageError: onnx or onnxruntime is not installed.
            InvalidDataError: not an ONNX file, custom operators, weights outside the folder.
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
        self._beside = self._external_files()
        foreign = {node.domain for node in self._nodes()} - set(DOMAINS)
        foreign -= {function.domain for function in self._model.functions}
        if foreign:
            raise InvalidDataError(f"{path}: operators of {', '.join(sorted(foreign))}: refused")

    def _external_files(self) -> list[Path]:
        """Files of weights beside this one.

        Raises:
            InvalidDataError: one outside the folder, or not there.
        """
        names = {
            entry.value
            for tensor in self._model.graph.initializer
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

    def _nodes(self) -> Iterator[Any]:
        """All operations, also those within others."""
        stack = [*self._model.graph.node, *(n for f in self._model.functions for n in f.node)]
        while stack:
            node = stack.pop()
            yield node
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    stack += graph.node

    def session(self, content: bytes | None = None) -> Any:
        """A session of onnxruntime on one thread; of `content` without optimisations.

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
            reason = " ".join(str(error).split())[:160]
            raise InvalidDataError(f"{self.path}: onnxruntime refuses it ({reason})") from error

    def num_parameters(self) -> int:
        """Elements of all weights: initializers and constants, without shapes and indices (int64).

        The zero points and scales of quantised weights count as they do elsewhere: not at all.
        """
        import onnx

        kept = {onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL}
        tensors = list(self._model.graph.initializer)
        for node in self._nodes():
            if node.op_type == "Constant":
                tensors += [item.t for item in node.attribute if item.name == "value"]
        return sum(
            math.prod(tensor.dims)
            for tensor in tensors
            if tensor.data_type not in kept
            and tensor.dims
            and not tensor.name.endswith(("_scale", "_zero_point"))
        )

    def num_bytes(self) -> int:
        """Size of the file and of those beside it."""
        return sum(file.stat().st_size for file in (self.path, *self._beside))

    def count_macs(self, num_samples: int) -> int:
        """Multiply-accumulates of one utterance of so many samples.

        Raises:
            InvalidDataError: an operation that may have products and no formula.
        """
        import numpy as np

        self._check_operations()
        model, wanted = self._with_shapes()
        session = self.session(model.SerializeToString())
        (given,) = session.get_inputs()
        shape = (num_samples,) if len(given.shape) == 1 else (1, num_samples)
        names = [name for _, names in wanted for name in names]
        found = session.run(names, {given.name: np.zeros(shape, dtype=np.float32)})
        shapes = {name: tuple(map(int, value)) for name, value in zip(names, found, strict=True)}
        return sum(_macs(node, [shapes[name] for name in names]) for node, names in wanted)

    def _check_operations(self) -> None:
        """Refuse to count what cannot be counted.

        Raises:
            InvalidDataError: naming the operations.
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
        unknown = (present & UNKNOWN) | (nested & COUNTED)
        if unknown:
            raise InvalidDataError(
                f"MACs of {self.path}: no formula for {', '.join(sorted(unknown))}"
            )

    def _with_shapes(self) -> tuple[Any, list[tuple[Any, list[str]]]]:
        """The graph with the shapes of its products as outputs: per node, input, weight, output."""
        import onnx
        from onnx import helper, inliner

        model = onnx.load(self.path)  # with what lies beside it, which was checked
        if model.functions:
            model = inliner.inline_local_functions(model)
        del model.graph.output[:]
        wanted = []
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
            wanted.append((node, names))
        return model, wanted


def _macs(node: Any, shapes: list[tuple[int, ...]]) -> int:
    """Of one operation, from the shapes of input, weight and output (recurrent: of R instead)."""
    given, weight, out = shapes
    if node.op_type in CONVOLUTIONS:  # weight (C_out, C_in / groups, kernel...)
        return math.prod(out) * math.prod(weight[1:])
    if node.op_type in TRANSPOSED:  # weight (C_in, C_out / groups, kernel...)
        return math.prod(given) * math.prod(weight[1:])
    if node.op_type in RECURRENT:  # input (T, B, I), W (directions, 4H, I), R (directions, 4H, H)
        return given[0] * given[1] * (math.prod(weight) + math.prod(out))
    inner = given[-1]
    if node.op_type == "Gemm":
        transposed = any(item.name == "transA" and item.i for item in node.attribute)
        inner = given[0] if transposed else given[1]
    return math.prod(out) * inner
