"""The RNN, LSTM and GRU nodes of an ONNX model: where they are, and the spec and the parameters of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnspect.cells import CELLS
from rnnspect.cells.functions import KINDS, Activation
from rnnspect.errors import FileError, WeightsError, listed
from rnnspect.files.onnx_file import MOST_IN_A_ROW, MOVING, Constants, attributes_of, type_name
from rnnspect.network.spec import Spec
from rnnspect.weights.readers import interface
from rnnspect.weights.readers.interface import USUAL, functions_of
from rnnspect.weights.readers.operators import parameters_of_direction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import GraphProto, ModelProto, NodeProto
    from torch import Tensor

    from rnnspect.files.onnx_file import GraphPath, OnnxArray

_COMMON = ("X", "W", "R", "B", "sequence_lens", "initial_h")
INPUTS = {"RNN": _COMMON, "GRU": _COMMON, "LSTM": (*_COMMON, "initial_c", "P")}
OUTPUTS = {"RNN": ("Y", "Y_h"), "GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c")}
SCALES = ("W_scale", "W_zero_point", "R_scale", "R_zero_point")
"""Inputs of onnxruntime's DynamicQuantizeLSTM after those of LSTM; its W and R are (directions, in, 4·hidden)."""
QUANTIZED = "DynamicQuantizeLSTM"
INPUTS[QUANTIZED], OUTPUTS[QUANTIZED] = (*INPUTS["LSTM"], *SCALES), OUTPUTS["LSTM"]
WEIGHTS = ("W", "R", "B", "P")
_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BFLOAT16": "bfloat16"}
_NAMES = {name.replace("_", ""): name for name in KINDS}


_TYPES = {
    **dict.fromkeys(("hidden_size", "layout", "linear_before_reset", "input_forget"), "INT"),
    "direction": "STRING",
    "clip": "FLOAT",
    "activations": "STRINGS",
    **dict.fromkeys(("activation_alpha", "activation_beta"), "FLOATS"),
}
"""Of which type the attributes of a node are."""


@dataclass(frozen=True)
class OnnxNode:
    """One recurrent node of a model."""

    name: str
    node: NodeProto
    path: GraphPath
    """The graphs from the main one to the node's own, each with the node and the attribute that hold it."""
    model: ModelProto
    file: str
    constants: Constants
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.file}:{self.name}"

    @property
    def graph(self) -> GraphProto:
        return self.path[-1][0]

    @property
    def quantized(self) -> bool:
        return bool(self.node.op_type == QUANTIZED)

    @property
    def warning(self) -> str | None:
        """A warning where a GRU that PyTorch exported resets before the product, which PyTorch's own never does."""
        before = self.node.op_type == "GRU" and not self.attributes.get("linear_before_reset")
        if not before or self.model.producer_name.lower() != "pytorch":
            return None
        return f"warning: {self.where}: linear_before_reset=0, but the model is from PyTorch, whose GRU needs 1"

    def input(self, name: str) -> str:
        """The name in the graph of the tensor that the node takes as W, X, …; empty where it takes none."""
        given: dict[str, str] = dict(zip(INPUTS[self.node.op_type], self.node.input, strict=False))
        return given.get(name, "")

    def constant(self, name: str) -> OnnxArray | None:
        """The numbers of W, R, … where the file holds them; None where they are left out, computed, or an input."""
        return self.constants.value(self.input(name), self.path)

    def spread(self, name: str) -> OnnxArray | None:
        """As `constant`, also of what is repeated for each item of the batch, as often as x has items."""
        tensor, makers = self.input(name), self.constants.names(self.graph).makers
        for _ in range(MOST_IN_A_ROW):
            values, maker = self.constants.value(tensor, self.path), makers.get(tensor)
            if values is not None or maker is None or maker.op_type not in (*MOVING, "Expand", "Tile"):
                return values
            tensor = next(iter(maker.input), "")
        return None

    def is_fixed(self, name: str) -> bool:
        """Whether the file holds the numbers of W, R, … and no input of the model can replace them."""
        graph = self.path[0][0]
        return self.constant(name) is not None and all(known.name != self.input(name) for known in graph.input)


def nodes_in(model: ModelProto, file: str, constants: Constants) -> dict[str, OnnxNode]:
    """Every RNN, LSTM and GRU node by name, those of nested graphs too, in the order of the file."""
    from onnx import AttributeProto

    found: dict[str, OnnxNode] = {}
    for path, node in _walk(((model.graph, None, ""),)):
        name = interface.unique(node.name or next((out for out in node.output if out), node.op_type), found)
        for attribute in node.attribute:
            wanted = _TYPES.get(attribute.name)
            if wanted and attribute.type != AttributeProto.AttributeType.Value(wanted):
                raise FileError(
                    f"the attribute {attribute.name} has the wrong type", allowed=wanted, where=f"{file}:{name}"
                )
        attributes = attributes_of(node)
        found[name] = OnnxNode(name, node, path, model, file, constants, attributes)
    return found


def described(node: OnnxNode) -> dict[str, Any]:
    """The keys of a spec that a node's attributes and the shapes of its weights say.

    Raises `FileError` for values that an attribute cannot have, `WeightsError` for shapes that do not fit.
    """
    cell, attributes = ("lstm" if node.quantized else node.node.op_type.lower()), node.attributes
    shape, kind = _shape(node)
    directions, rows, inputs = shape
    if node.quantized:
        rows, inputs, kind = inputs, rows, "float32"
    gates = len(CELLS[cell].gates)
    hidden = int(attributes.get("hidden_size", rows // gates))
    direction = attributes.get("direction", b"forward").decode(errors="replace")
    if direction not in ("forward", "reverse", "bidirectional"):
        allowed = "forward, reverse or bidirectional"
        raise FileError(f"unknown direction {direction!r}", allowed=allowed, where=node.where)
    if rows != gates * hidden or directions != 1 + (direction == "bidirectional"):
        found = f"W has the shape {shape} with hidden_size {hidden} and direction {direction}"
        raise WeightsError(found, allowed=f"{gates}·hidden rows per direction", where=node.where)
    keys: dict[str, Any] = {"cell": cell, "input_size": inputs, "hidden_size": hidden, "dtype": kind}
    keys |= {"bias": bool(node.input("B")), "bidirectional": direction == "bidirectional"}
    keys |= {"reverse": True} if direction == "reverse" else {}
    keys |= {"batch_first": bool(attributes.get("layout", 0))}
    keys |= {"reset": "before"} if cell == "gru" and not attributes.get("linear_before_reset", 0) else {}
    keys |= {"input_forget": True} if attributes.get("input_forget", 0) else {}
    keys |= {"peepholes": True} if node.input("P") else {}
    keys |= {"clip": float(attributes["clip"])} if "clip" in attributes else {}
    return keys | _activations(node, cell)


def spec_of(node: OnnxNode) -> Spec:
    """The layer that a node is. Raises as `described`, and `SpecError` for what no spec can be."""
    return interface.spec_with(described(node), node.where)


def parameters_of_node(node: OnnxNode, arrays: Mapping[str, OnnxArray]) -> dict[str, Tensor]:
    """PyTorch's parameters from W (D, G·H, I), R (D, G·H, H) and perhaps B (D, 2·G·H) and P (D, 3·H).

    Raises `WeightsError` for other shapes.
    """
    spec = spec_of(node)
    there = {name: tensor_of(arrays[name]) for name in WEIGHTS if name in arrays}
    for name, values in there.items():
        if values.shape[:1] != (spec.num_directions,):
            found_in = f"{name} has the shape {tuple(values.shape)}"
            raise WeightsError(found_in, allowed=f"{spec.num_directions} directions first", where=node.where)
    expected = spec.num_directions, 3 * spec.hidden_size
    if spec.peepholes and there["P"].shape != expected:
        raise WeightsError(f"P has the shape {tuple(there['P'].shape)}", allowed=str(expected), where=node.where)
    found: dict[str, Tensor] = {}
    for at, direction in enumerate(spec.directions):
        own = {name: values[at] for name, values in there.items() if name != "P"}
        peepholes = dict(zip("iof", there["P"][at].chunk(3), strict=True)) if spec.peepholes else {}
        found |= parameters_of_direction(spec, direction, "onnx", own, peepholes)
    return found


def dequantized(node: OnnxNode, weights: Mapping[str, OnnxArray]) -> dict[str, OnnxArray]:
    """The numbers that a node's W, R, B and P stand for, float64 and in the shapes of an LSTM node.

    Raises `WeightsError` for scales and zero points that are neither a tensor's nor a row's.
    """
    import numpy as np  # shapes reads a node without it

    found: dict[str, OnnxArray] = {name: np.asarray(values, np.float64) for name, values in weights.items()}
    for name in ("W", "R"):
        directions, rows = len(weights[name]), weights[name].shape[-1]
        scale, zero = (np.asarray(node.constant(f"{name}_{what}")) for what in ("scale", "zero_point"))
        if weights[name].ndim != 3 or not {scale.size, zero.size} <= {directions, directions * rows}:
            said = f"{name} has the shape {weights[name].shape} and its scale {scale.shape}"
            raise WeightsError(said, allowed=f"({directions},) or ({directions}, {rows})", where=node.where)
        scale, zero = (values.astype(np.float64).reshape(directions, 1, -1) for values in (scale, zero))
        found[name] = ((found[name] - zero) * scale).transpose(0, 2, 1)
    return found


def tensor_of(values: OnnxArray) -> Tensor:
    from rnnspect.network.tensors import of_numpy  # with torch, which what looks into a file alone does not need

    return of_numpy(values)


def array_of(values: Tensor) -> OnnxArray:
    """A tensor as an array; bfloat16 as that of ml_dtypes."""
    import torch

    if values.dtype == torch.bfloat16:
        from ml_dtypes import bfloat16

        return values.contiguous().view(torch.int16).numpy().view(bfloat16)
    return values.contiguous().numpy()


def _activations(node: OnnxNode, cell: str) -> dict[str, Any]:
    """As onnxruntime reads them: names in upper or lower case, and a function that has an α or β takes the next one."""
    attributes = node.attributes
    alphas, betas = (list(attributes.get(f"activation_{name}", [])) for name in ("alpha", "beta"))
    read = []
    for given in attributes.get("activations", []):
        name = _NAMES.get(given.decode(errors="replace").lower())
        if name is None:
            allowed = listed(KINDS)
            said = f"unsupported activation {given.decode(errors='replace')!r}"
            raise FileError(said, allowed=allowed, where=node.where)
        numbers = dict(KINDS[name].numbers)
        for number, values in (("alpha", alphas), ("beta", betas)):
            if number in numbers and values:
                numbers[number] = values.pop(0)
        read.append(str(Activation(name, **numbers)))
    return functions_of(cell, read or USUAL[cell])


def _shape(node: OnnxNode) -> tuple[tuple[int, int, int], str]:
    """The three axes of W and its dtype, from its numbers, or from what the graph says of the tensor or its operators
    give."""
    from onnx import helper

    values = node.constant("W")
    if values is not None:
        shape, kind = values.shape, int(helper.np_dtype_to_tensor_dtype(values.dtype))
    else:
        shape, kind = _said_of(node.input("W"), node.path)
        if not shape or 0 in shape:
            both = zip(paths_in(node.model), paths_in(node.constants.with_shapes), strict=True)
            known = next((known for own, known in both if own[-1][0] is node.graph), ())
            shape, kind = _said_of(node.input("W"), known)
    if len(shape) != 3 or 0 in shape:
        found = f"W has the shape {tuple(shape)}" if shape else "the shape of W is not known"
        raise WeightsError(found, allowed="three dimensions", where=node.where)
    dtype = type_name(kind)
    if dtype not in _DTYPES and not node.quantized:
        raise WeightsError(f"W has the dtype {dtype.lower()}", allowed=listed(_DTYPES.values()), where=node.where)
    return shape, _DTYPES.get(dtype, dtype)


def _said_of(name: str, path: GraphPath) -> tuple[Any, int]:
    """The shape of a tensor, 0 for an axis that is not known, and its type, as a graph of the path says them; no axes
    where none does."""
    for graph, _, _ in reversed(path):
        every = (*graph.input, *graph.value_info, *graph.output)
        info = next((one for one in every if one.name == name), None)
        if info is not None and info.type.tensor_type.HasField("shape"):
            kind = info.type.tensor_type
            return tuple(axis.dim_value for axis in kind.shape.dim), kind.elem_type
    return (), 0


def paths_in(model: ModelProto) -> Iterator[GraphPath]:
    """The main graph, and every graph in a node of it, each with the graphs around it."""
    paths: list[GraphPath] = [((model.graph, None, ""),)]
    for path in paths:
        yield path
        inner = [(a.g, node, a.name) for node in path[-1][0].node for a in node.attribute if a.HasField("g")]
        paths += [(*path, one) for one in inner]


def _walk(path: GraphPath) -> Iterator[tuple[GraphPath, NodeProto]]:
    for node in path[-1][0].node:
        if node.op_type in INPUTS and node.domain in ("", "ai.onnx", "com.microsoft"):
            yield path, node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _walk((*path, (attribute.g, node, attribute.name)))
