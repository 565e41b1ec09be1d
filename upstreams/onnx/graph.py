"""Weights and multiply-accumulates of an ONNX file.

Shapes inside a graph depend on the length of the input, and static shape inference fails on many
graphs. The shapes therefore come from a run of the same graph with `Shape` nodes as outputs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.errors import InvalidDataError, UsageError, did_you_mean, message_of
from bench.paths import file_sha256
from upstreams.onnx.macs import MULTIPLYING, Formula, formula_of
from upstreams.onnx.weights import num_weights

# Operations that onnxruntime itself has: nobody else's code runs.
DOMAINS = ("", "ai.onnx", "com.microsoft")


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
        foreign = {node.domain for node in _nodes(self._model)} - set(DOMAINS)
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

    def sha256_beside(self, extractor: Path | None) -> str | None:
        """Return the digest of the files beside this one that decide the model, with their names.

        Args:
            extractor: file of a feature extractor that is used, or None.

        Returns:
            None where there is neither an extractor nor external weights.
        """
        folder, digest = self.path.resolve().parent, hashlib.sha256()
        files = [*self._external, *([extractor.resolve()] if extractor is not None else [])]
        for file in files:
            name = file.relative_to(folder).as_posix()
            digest.update(f"{name} {file_sha256(file)}\n".encode())
        return digest.hexdigest() if files else None

    def _tensors(self) -> Iterator[Any]:
        """Yield all tensors that the file holds or names, also those inside operations."""
        graphs = [self._model.graph]
        for node in _nodes(self._model):
            for attribute in node.attribute:
                graphs += [attribute.g, *attribute.graphs]
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
        for graph in graphs:
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)

    def session(self, outputs: Sequence[str] = (), *, content: bytes | None = None) -> Any:
        """Return a session of onnxruntime on one thread.

        Args:
            outputs: names of tensors to compute; those that are no outputs of the graph become
                outputs.
            content: a serialised graph to run without optimisations, instead of the file.

        Raises:
            UsageError: no such tensor.
            InvalidDataError: onnxruntime refuses the file.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if content is not None:
            level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.graph_optimization_level = level
        inner = [name for name in outputs if name not in {o.name for o in self._model.graph.output}]
        try:
            return onnxruntime.InferenceSession(
                content or (self._with_outputs(inner) if inner else str(self.path)),
                options,
                providers=["CPUExecutionProvider"],
            )
        except UsageError:
            raise
        except Exception as error:  # onnxruntime's classes are not public
            raise InvalidDataError(
                f"{self.path}: onnxruntime refuses it ({message_of(error)})"
            ) from error

    def _with_outputs(self, names: Sequence[str]) -> bytes:
        """Return the serialised graph with more outputs.

        Raises:
            UsageError: no tensor of such a name.
        """
        import onnx

        model = onnx.load(self.path)
        tensors = {name for node in model.graph.node for name in node.output}
        for name in names:
            if name not in tensors:
                raise UsageError(f"{self.path}: no output {name!r}: {did_you_mean(name, tensors)}")
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        return bytes(model.SerializeToString())

    def num_parameters(self) -> int:
        """Return the number of elements of all weights (`upstreams.onnx.weights`)."""
        model = self._inlined(self._model)
        tensors: dict[str, Any] = {}
        for graph in (model.graph, *(graph for node in _nodes(model) for graph in _graphs(node))):
            tensors |= {tensor.name: tensor for tensor in graph.initializer}
        for node in _nodes(model):
            if node.op_type == "Constant":
                values = [item.t for item in node.attribute if item.name == "value"]
                tensors |= dict(zip(node.output, values, strict=False))
        return num_weights(list(_nodes(model)), tensors)

    def num_bytes(self) -> int:
        """Return the size of the file and of its external weights."""
        return sum(file.stat().st_size for file in (self.path, *self._external))

    def count_macs(self, feed: Mapping[str, Any]) -> int:
        """Return the multiply-accumulates of one run.

        Args:
            feed: the inputs by name.
        """
        model, counted = self._with_shapes()
        names = [item.name for item in model.graph.output]
        outputs = self.session(content=model.SerializeToString()).run(names, dict(feed))
        shapes = {name: tuple(map(int, value)) for name, value in zip(names, outputs, strict=True)}
        total = 0
        for node, formula, (*inputs, output) in counted:
            attributes = {item.name: _value(item) for item in node.attribute}
            total += formula.macs(attributes, [shapes[name] for name in inputs], shapes[output])
        return total

    def uncounted_operations(self) -> tuple[str, ...]:
        """Return the names of operations with products that `count_macs` leaves out.

        They have no formula, or stand in a loop or a branch.
        """
        model = self._inlined(self._model)
        outer = [node for node in model.graph.node if formula_of(node) is None]
        nested = [node for outer_node in _nodes(model) for node in _inner_nodes(outer_node)]
        names = {node.op_type for node in outer if node.op_type in MULTIPLYING}
        names |= {
            node.op_type for node in nested if formula_of(node) or node.op_type in MULTIPLYING
        }
        return tuple(sorted(names))

    def _with_shapes(self) -> tuple[Any, list[tuple[Any, Formula, list[str]]]]:
        """Return the graph with shapes as outputs, and its counted nodes with the names of these.

        The names are those of the inputs that the formula needs, then that of the output.
        """
        import onnx
        from onnx import helper

        model = self._inlined(onnx.load(self.path))  # with external weights: paths were checked
        del model.graph.output[:]
        counted = []
        for index, node in enumerate(list(model.graph.node)):
            formula = formula_of(node)
            if formula is None:
                continue
            inputs = (
                node.input if formula.inputs is None else [node.input[i] for i in formula.inputs]
            )
            names = [f"slim_superb_shape_{index}_{place}" for place in range(len(inputs) + 1)]
            for tensor, name in zip([*inputs, node.output[0]], names, strict=True):
                model.graph.node.append(helper.make_node("Shape", [tensor], [name]))
                info = helper.make_tensor_value_info(name, onnx.TensorProto.INT64, [None])
                model.graph.output.append(info)
            counted.append((node, formula, names))
        return model, counted

    @staticmethod
    def _inlined(model: Any) -> Any:
        """Return a graph whose functions, if it has any, are written out."""
        from onnx import inliner

        return inliner.inline_local_functions(model) if model.functions else model


def _nodes(model: Any) -> Iterator[Any]:
    """Yield all operations of a model, also those inside other operations."""
    stack = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while stack:
        node = stack.pop()
        yield node
        stack += _inner_nodes(node)


def _inner_nodes(node: Any) -> list[Any]:
    """Return the operations directly inside an operation (a branch, the body of a loop)."""
    return [inner for graph in _graphs(node) for inner in graph.node]


def _graphs(node: Any) -> list[Any]:
    """Return the graphs inside an operation."""
    return [graph for item in node.attribute for graph in (item.g, *item.graphs)]


def _value(attribute: Any) -> Any:
    """Return the value of an attribute: a number or a text."""
    from onnx import helper

    return helper.get_attribute_value(attribute)
