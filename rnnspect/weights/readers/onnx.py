"""The recurrent nodes of an ONNX model: where they are, and what spec and parameters each of them has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rnnspect.cells import CELLS
from rnnspect.cells.functions import KINDS, Activation
from rnnspect.errors import FileError, RnnspectError, WeightsError, listed
from rnnspect.network.parameters import LayerParameters, module_repr, suffix
from rnnspect.network.spec import Spec
from rnnspect.weights.readers import choosing
from rnnspect.weights.readers.onnx_constants import Constants

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onnx import GraphProto, ModelProto, NodeProto
    from torch import Tensor

    Array = Any
    Path = tuple[tuple[GraphProto, NodeProto | None, str], ...]

INPUTS = {
    "RNN": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
OUTPUTS = {"RNN": ("Y", "Y_h"), "GRU": ("Y", "Y_h"), "LSTM": ("Y", "Y_h", "Y_c")}
SCALES = ("W_scale", "W_zero_point", "R_scale", "R_zero_point")
"""What onnxruntime's DynamicQuantizeLSTM takes beside an LSTM's inputs; its W and R are (directions, in, 4·hidden)."""
QUANTIZED = "DynamicQuantizeLSTM"
INPUTS[QUANTIZED], OUTPUTS[QUANTIZED] = (*INPUTS["LSTM"], *SCALES), OUTPUTS["LSTM"]
WEIGHTS = ("W", "R", "B", "P")
_DTYPES = {"FLOAT": "float32", "DOUBLE": "float64", "FLOAT16": "float16", "BFLOAT16": "bfloat16"}
_NAMES = {name.replace("_", ""): name for name in KINDS}


@dataclass(frozen=True)
class OnnxNode:
    """One node: `path` holds the graphs from the main one to its own, each with the node and attribute that hold it."""

    name: str
    node: NodeProto
    path: Path
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
        """A reset form that PyTorch does not have, in a file that it wrote."""
        before = self.node.op_type == "GRU" and not self.attributes.get("linear_before_reset")
        if not before or self.model.producer_name.lower() != "pytorch":
            return None
        return f"warning: {self.where}: linear_before_reset=0 from PyTorch, whose GRU resets after the product"

    def input(self, name: str) -> str:
        """The tensor that the node takes as W, X, …; empty where it is left out."""
        at = INPUTS[self.node.op_type].index(name) if name in INPUTS[self.node.op_type] else len(self.node.input)
        return self.node.input[at] if at < len(self.node.input) else ""

    def constant(self, name: str) -> Array | None:
        """The input's numbers where the file holds them; None where it is left out, or computed, or given."""
        return self.constants.value(self.input(name), self.path)

    def is_fixed(self, name: str) -> bool:
        """Whether the file holds the input's numbers and nobody can give others."""
        graph = self.path[0][0]
        return self.constant(name) is not None and all(known.name != self.input(name) for known in graph.input)


def nodes_in(model: ModelProto, file: str) -> dict[str, OnnxNode]:
    """Every RNN, LSTM and GRU by name, nested graphs included, in the order of the file."""
    from onnx import helper

    found: dict[str, OnnxNode] = {}
    constants = Constants(model)
    for path, node in _walk(((model.graph, None, ""),)):
        name = node.name or next((out for out in node.output if out), node.op_type)
        unique, count = name, 1
        while unique in found:
            count += 1
            unique = f"{name}#{count}"
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        found[unique] = OnnxNode(unique, node, path, model, file, constants, attributes)
    return found


def choose(nodes: Mapping[str, OnnxNode], name: str | None, where: str) -> OnnxNode:
    """The node of that name, or the only one. Raises `FileError` that lists every node."""
    if not nodes:
        raise FileError("it holds no RNN, LSTM or GRU node", where=where)
    return choosing.choose(nodes, name, where, "node", _in_words)


def described(node: OnnxNode) -> dict[str, Any]:
    """The keys of a spec that a node's attributes and the shapes of its weights say.

    Raises `FileError` for attributes that the operator does not have, `WeightsError` for shapes that do not fit.
    """
    op = "LSTM" if node.quantized else node.node.op_type
    cell, said = op.lower(), node.attributes
    shape, kind = _shape(node, "W")
    directions, rows, inputs = shape
    if node.quantized:
        rows, inputs, kind = inputs, rows, "float32"
    gates = len(CELLS[cell].gates)
    hidden = int(said.get("hidden_size", rows // gates))
    direction = said.get("direction", b"forward").decode(errors="replace")
    if direction not in ("forward", "reverse", "bidirectional"):
        allowed = "forward, reverse or bidirectional"
        raise FileError(f"direction {direction!r}", allowed=allowed, where=node.where)
    if rows != gates * hidden or directions != 1 + (direction == "bidirectional"):
        found = f"W of shape {shape} with hidden_size {hidden}, {direction}"
        raise WeightsError(found, allowed=f"{gates}·hidden rows for each direction", where=node.where)
    keys: dict[str, Any] = {"cell": cell, "input_size": inputs, "hidden_size": hidden, "dtype": kind}
    keys |= {"bias": bool(node.input("B")), "bidirectional": direction == "bidirectional"}
    keys |= {"reverse": True} if direction == "reverse" else {}
    keys |= {"batch_first": bool(said.get("layout", 0))}
    keys |= {"reset": "before"} if cell == "gru" and not said.get("linear_before_reset", 0) else {}
    keys |= {"input_forget": True} if said.get("input_forget", 0) else {}
    keys |= {"peepholes": True} if node.input("P") else {}
    keys |= {"clip": float(said["clip"])} if "clip" in said else {}
    return keys | _activations(node, cell)


def parameters_of_node(node: OnnxNode, arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """PyTorch's parameters from W, R and perhaps B and P, the directions as first axis.

    Raises `WeightsError` for shapes that do not fit.
    """
    import torch  # shapes reads a node without it

    from rnnspect.weights import layouts
    from rnnspect.weights.layouts.packing import unpack

    spec = Spec.from_data({**described(node), "input": None}, lambda _keys: node.where)
    form = "gru-before" if spec.reset == "before" else spec.cell
    there = {name: tensor_of(arrays[name]) for name in WEIGHTS if name in arrays}
    for name, values in there.items():
        if values.shape[0] != spec.num_directions:
            raise WeightsError(f"{name} of shape {tuple(values.shape)}", where=node.where)
    found: dict[str, Tensor] = {}
    for at, direction in enumerate(spec.directions):
        p = unpack(layouts.find("onnx"), form, {name: v[at] for name, v in there.items() if name != "P"})
        p = _coupled(p, spec.hidden_size) if spec.input_forget else p
        end = suffix(0, direction)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            if (value := getattr(p, name)) is not None:
                found[name + end] = value
        if spec.peepholes:
            by_gate = dict(zip("iof", there["P"][at].chunk(3), strict=True))
            found["weight_ch" + end] = torch.cat([by_gate[gate] for gate in spec.cell_type.peepholes])
    return found


def tensor_of(values: Array) -> Tensor:
    """An array as a tensor of its own memory; numpy has bfloat16 from a package that torch does not know."""
    import torch

    if values.dtype.name == "bfloat16":
        return torch.from_numpy(values.view("int16").copy()).view(torch.bfloat16)
    return torch.from_numpy(values.copy())


def array_of(values: Tensor) -> Array:
    """The same the other way round."""
    import torch

    if values.dtype == torch.bfloat16:
        from ml_dtypes import bfloat16

        return values.contiguous().view(torch.int16).numpy().view(bfloat16)
    return values.contiguous().numpy()


def stored_parameters(node: OnnxNode) -> dict[str, Tensor]:
    """The same, where the file holds all of them. Raises `WeightsError` where one is computed or given as an input."""
    if node.quantized:
        raise WeightsError("weights in 8 bits", allowed="check, which runs the graph", where=node.where)
    arrays = {name: node.constant(name) for name in WEIGHTS if node.input(name)}
    missing = [name for name, values in arrays.items() if values is None]
    if missing:
        found = f"{listed(missing)} {'is' if len(missing) == 1 else 'are'} no constant of the file"
        raise WeightsError(found, allowed="check, which runs the graph", where=node.where)
    return parameters_of_node(node, arrays)


def _coupled(p: LayerParameters, hidden: int) -> LayerParameters:
    def without_f(values: Tensor) -> Tensor:
        import torch

        return torch.cat([values[:hidden], values[2 * hidden :]])

    b_ih, b_hh = (None if b is None else without_f(b) for b in (p.bias_ih, p.bias_hh))
    return LayerParameters(without_f(p.weight_ih), without_f(p.weight_hh), b_ih, b_hh, None)


def _activations(node: OnnxNode, cell: str) -> dict[str, Any]:
    """Names are taken in any case; a function takes the next α and β of the lists if it has one, as in onnxruntime."""
    said = node.attributes
    alphas, betas = (list(said.get(f"activation_{name}", [])) for name in ("alpha", "beta"))
    read = []
    for given in said.get("activations", []):
        name = _NAMES.get(given.decode(errors="replace").lower())
        if name is None:
            allowed = listed(KINDS)
            raise FileError(f"activation {given.decode(errors='replace')!r}", allowed=allowed, where=node.where)
        numbers = dict(KINDS[name].numbers)
        for number, values in (("alpha", alphas), ("beta", betas)):
            if number in numbers and values:
                numbers[number] = values.pop(0)
        read.append(str(Activation(name, **numbers)))
    usual = {"rnn": ["tanh"], "gru": ["sigmoid", "tanh"], "lstm": ["sigmoid", "tanh", "tanh"]}[cell]
    if not read or read in (usual, 2 * usual):
        return {}
    if cell == "rnn" and set(read) == {"relu"}:
        return {"nonlinearity": "relu"}
    return {"activations": read}


def _shape(node: OnnxNode, name: str) -> tuple[tuple[int, int, int], str]:
    """The three axes of a weight and its dtype, from its numbers or from what the file says of a tensor."""
    from onnx import TensorProto, helper

    tensor = node.input(name)
    shape, kind = None, 0
    values = node.constant(name)
    if values is not None:
        shape, kind = values.shape, int(helper.np_dtype_to_tensor_dtype(values.dtype))
    else:
        for graph, _, _ in reversed(node.path):
            info = next((i for i in (*graph.input, *graph.value_info, *graph.output) if i.name == tensor), None)
            if info is not None and info.type.tensor_type.HasField("shape"):
                shape = tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
                kind = info.type.tensor_type.elem_type
                break
    if shape is None or len(shape) != 3 or 0 in shape:
        found = f"{name} of a shape that the file does not say" if not shape else f"{name} of shape {tuple(shape)}"
        raise WeightsError(found, allowed="three axes", where=node.where)
    dtype = TensorProto.DataType.Name(kind)
    if dtype not in _DTYPES and not node.quantized:
        raise WeightsError(f"{name} in {dtype.lower()}", allowed=listed(_DTYPES.values()), where=node.where)
    return shape, _DTYPES.get(dtype, dtype)


def _walk(path: Path) -> Iterator[tuple[Path, NodeProto]]:
    for node in path[-1][0].node:
        if node.op_type in INPUTS and node.domain in ("", "ai.onnx", "com.microsoft"):
            yield path, node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _walk((*path, (attribute.g, node, attribute.name)))


def _in_words(node: OnnxNode) -> str:
    try:
        return f"({module_repr(Spec(**{**described(node), 'input': None}))})"
    except RnnspectError as error:
        return f"(unusable: {error.problems[0].found})"
