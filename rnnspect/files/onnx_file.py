"""ONNX models, read as data: sizes are checked against what the file holds, and nothing outside its folder is read."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.onnx_checks import (
    check_functions,
    check_graph,
    check_tensor,
    check_texts,
    graphs_in,
    graphs_of,
    tensors_of,
)
from rnnspect.files.reading import in_short, read_bytes, size_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

    OnnxArray = Any
    GraphPath = tuple[tuple[GraphProto, NodeProto | None, str], ...]

MOST = 2**31 - 1
"""The largest size of a protobuf message."""
MOVING = ("Identity", "Unsqueeze", "Squeeze", "Slice", "Concat", "Transpose", "Reshape", "Cast", "Split", "Flatten")
"""Operators that only rearrange numbers; exporters make W, R and B with them."""
MOST_COMPUTED = 2**31
MOST_IN_A_ROW = 100
"""At most so many of these operators in a row are followed."""


def read_model(path: Path) -> ModelProto:
    """The model with its functions inlined and its external data read in.

    Raises `FileError` for what is no ONNX model, for one that claims more than the file holds, and for external data
    outside its folder; `InputError` where the package onnx is missing.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import inliner
    except ImportError:
        advice = "install it: pip install 'rnnspect[onnx]'"
        raise FileError("reading this file needs the package onnx", advice=advice, where=str(path)) from None
    where = str(path)
    free_memory.require(4 * size_of(path), "reading this file", where)
    data = read_bytes(path, MOST)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise FileError("not an ONNX model, or damaged, or with graphs nested too deeply", where=where) from None
    if not model.graph.node or not model.opset_import:
        raise FileError("not an ONNX model: it has no nodes", where=where)
    check_texts(model, where)
    loose = [node for function in model.functions for node in function.node]
    outside = sum(check_tensor(one, path) for one in tensors_of([*graphs_in(model.graph), *graphs_of(loose)], loose))
    free_memory.require(3 * outside, "reading its external data", where)
    check_functions(model, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about keys of external data that nobody needs
            onnx.load_external_data_for_model(model, str(path.resolve().parent))
        whole = inliner.inline_local_functions(model) if model.functions else model
    except (ValueError, RuntimeError, OSError, onnx.checker.ValidationError) as error:
        raise FileError(f"not a valid ONNX model: {in_short(error)}", where=where) from None
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors_of([*graphs_in(whole.graph)])):
        raise FileError("a function of the model has external data, which is not supported", where=where)
    check_graph(whole.graph, where)
    return whole


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """What a node says by its attributes."""
    from onnx import helper

    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def type_name(kind: int) -> str:
    """A type of tensors in words: float, or the number of one that ONNX does not have."""
    from onnx import TensorProto

    return TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else f"type {kind}"


@dataclass(frozen=True)
class GraphTensors:
    """The tensors of one graph by name."""

    graph: GraphProto
    """Kept so that no other graph gets its id, which is the key for looking it up."""
    held: Mapping[str, TensorProto]
    makers: Mapping[str, NodeProto]
    """By the name of a tensor the node that computes it."""
    inputs: frozenset[str]


class Constants:
    """The tensors of a model whose numbers the file holds: initializers, Constants, and what is only rearranged.

    They are looked up by name, from a node's own graph outwards, and each is computed once.
    """

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        self._known: dict[tuple[int, str], OnnxArray | None] = {}
        self._graphs: dict[int, GraphTensors] = {}

    @functools.cached_property
    def with_shapes(self) -> ModelProto:
        """A copy of the model that says the sizes of all tensors, as far as they can be told; the model itself where
        they cannot."""
        from onnx import shape_inference

        try:
            infer: Any = shape_inference.infer_shapes
            known: ModelProto = infer(self._model, data_prop=True)
            return known
        except (shape_inference.InferenceError, ValueError):
            return self._model

    def value(self, name: str, path: GraphPath, depth: int = 0) -> OnnxArray | None:
        """The numbers of a tensor as a node in the last graph of the path sees it; of a graph's input its default.

        None for an empty name, and where the numbers are computed or given when the model runs.
        """
        if not name or depth > MOST_IN_A_ROW:
            return None
        for end in range(len(path), 0, -1):
            graph = path[end - 1][0]
            if (key := (id(graph), name)) in self._known:
                return self._known[key]
            names = self.names(graph)
            held, maker = names.held.get(name), names.makers.get(name)
            if held is not None or maker is not None or name in names.inputs:
                self._known[key] = None  # so that a circle of operators ends: it has no numbers
                around = self._kept(name, path[:end]) if held is None and maker is None else ""
                if around:
                    self._known[key] = self.value(around, path[: end - 1], depth + 1)
                else:
                    self._known[key] = self._found(held, maker, name, path[:end], depth)
                return self._known[key]
        return None

    def _kept(self, name: str, path: GraphPath) -> str:
        """What the graph around calls an input of a loop's body that every iteration hands on as it is; else empty."""
        graph, owner, _ = path[-1]
        if owner is None or owner.op_type not in ("Loop", "Scan"):
            return ""
        at = [known.name for known in graph.input].index(name)
        after = at - 1 if owner.op_type == "Loop" else at  # a Loop's body also takes the iteration's number
        if not 0 < after < len(graph.output) if owner.op_type == "Loop" else after >= len(graph.output):
            return ""
        last, makers = graph.output[after].name, self.names(graph).makers
        for _ in range(MOST_IN_A_ROW):
            if last not in makers or makers[last].op_type != "Identity":
                break
            last = next(iter(makers[last].input), "")
        return owner.input[at] if last == name and at < len(owner.input) else ""

    def names(self, graph: GraphProto) -> GraphTensors:
        """Who makes the tensors of one graph."""
        if id(graph) not in self._graphs:
            makers = {name: node for node in reversed(graph.node) for name in node.output if name}
            held = {tensor.name: tensor for tensor in reversed(graph.initializer)}
            self._graphs[id(graph)] = GraphTensors(graph, held, makers, frozenset(known.name for known in graph.input))
        return self._graphs[id(graph)]

    def _found(self, held: Any, maker: NodeProto | None, name: str, path: GraphPath, depth: int) -> OnnxArray | None:
        from onnx import numpy_helper

        if held is not None:
            return numpy_helper.to_array(held)
        if maker is None or maker.domain not in ("", "ai.onnx"):
            return None
        if maker.op_type == "Constant":
            value = next((a.t for a in maker.attribute if a.name == "value"), None)
            return self._computed(maker, {}, name) if value is None else numpy_helper.to_array(value)
        if maker.op_type not in MOVING:
            return None
        inputs = {given: self.value(given, path, depth + 1) for given in maker.input if given}
        if any(values is None for values in inputs.values()):
            return None
        size = sum(getattr(inputs[given], "nbytes", 0) for given in maker.input if given)
        return self._computed(maker, inputs, name) if 8 * size <= MOST_COMPUTED else None

    def _computed(self, maker: NodeProto, inputs: dict[str, OnnxArray], name: str) -> OnnxArray | None:
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        kinds = {given: helper.np_dtype_to_tensor_dtype(values.dtype) for given, values in inputs.items()}
        taken = [helper.make_tensor_value_info(given, kind, None) for given, kind in kinds.items()]
        graph = helper.make_graph([maker], "one", taken, [helper.make_tensor_value_info(name, 0, None)])
        try:
            model = helper.make_model(graph, opset_imports=self._model.opset_import)
            evaluator: Any = ReferenceEvaluator(model)
            found = evaluator.run([name], inputs)[0]
        except Exception:  # noqa: BLE001 - the evaluator raises whatever numpy does; then the numbers are not known here
            return None
        return found if hasattr(found, "nbytes") else None
