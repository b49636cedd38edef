"""A copy of an ONNX model that also gives out what its recurrent nodes receive and return, nested ones included.

Out of a branch of If a value comes beside an empty one from the other branch; out of Loop and Scan one an iteration,
stacked. A node with layout=1, which onnxruntime refuses, is turned into one with exchanged axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.weights.readers.onnx import INPUTS, OUTPUTS, OnnxNode, nodes_in

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

_TURNED = {"X": (1, 0, 2), "initial_h": (1, 0, 2), "initial_c": (1, 0, 2)}
_TURNED_BACK = {"Y": (2, 0, 1, 3), "Y_h": (1, 0, 2), "Y_c": (1, 0, 2)}
_DTYPES = {"float32": 1, "float16": 10, "float64": 11, "bfloat16": 16}
_INT32 = 6


@dataclass(frozen=True)
class Taps:
    """By X, W, …, Y the output of the model that shows it, and how many loops stack their iterations on it."""

    node: OnnxNode
    outputs: dict[str, str]
    loops: int
    turned: bool
    """Whether the node had layout=1."""


def tapped(model: ModelProto, file: str, names: list[str], dtypes: dict[str, str]) -> tuple[ModelProto, list[Taps]]:
    """The copy, and the taps of the nodes of those names, whose dtypes are given.

    Raises `FileError` for a node in a graph that is not of If, Loop or Scan.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    found = nodes_in(copy, file)
    return copy, [_tap(found[name], at, _DTYPES[dtypes[name]]) for at, name in enumerate(names)]


def _tap(node: OnnxNode, at: int, kind: int) -> Taps:
    from onnx import helper

    turned = bool(node.attributes.get("layout"))
    prefix = f"rnnspect.{at}"
    if turned:
        _turn(node, prefix)
    shown = {name: node.input(name) for name in INPUTS[node.node.op_type] if node.input(name)}
    shown = {name: tensor for name, tensor in shown.items() if not node.is_fixed(name)}
    outputs = OUTPUTS[node.node.op_type]
    while len(node.node.output) < len(outputs):
        node.node.output.append("")
    for index, name in enumerate(outputs):
        node.node.output[index] = node.node.output[index] or f"{prefix}.own.{name}"
        shown[name] = node.node.output[index]
    kinds = {name: _INT32 if name == "sequence_lens" else kind for name in shown}
    inside = {name: f"{prefix}.{len(node.path) - 1}.{name}" for name in shown}
    node.graph.node.extend(helper.make_node("Identity", [shown[name]], [inside[name]]) for name in shown)
    loops = 0
    for depth in range(len(node.path) - 1, -1, -1):
        graph, owner, attribute = node.path[depth]
        graph.output.extend(helper.make_tensor_value_info(inside[name], kinds[name], None) for name in shown)
        if owner is None:
            break
        outside = {name: f"{prefix}.{depth - 1}.{name}" for name in shown}
        _lead_out(owner, attribute, [(inside[name], kinds[name]) for name in shown], node.where)
        owner.output.extend(outside.values())
        loops += owner.op_type != "If"
        inside = outside
    return Taps(node, inside, loops, turned)


def _lead_out(owner: NodeProto, attribute: str, shown: list[tuple[str, int]], where: str) -> None:
    from onnx import helper

    if owner.op_type == "If":
        for other in owner.attribute:
            if other.name in ("then_branch", "else_branch") and other.name != attribute:
                for name, kind in shown:
                    empty = helper.make_tensor(f"{name}.empty", kind, [0], b"", raw=True)
                    other.g.node.append(helper.make_node("Constant", [], [f"{name}.empty"], value=empty))
                    other.g.output.append(helper.make_tensor_value_info(f"{name}.empty", kind, None))
        return
    if owner.op_type == "Scan":
        for listed in owner.attribute:
            if listed.name in ("scan_output_axes", "scan_output_directions"):
                listed.ints.extend([0] * len(shown))
        return
    if owner.op_type != "Loop":
        raise FileError(f"a node in a graph of {owner.op_type}", allowed="If, Loop or Scan", where=where)


def _turn(node: OnnxNode, prefix: str) -> None:
    """The same node, steps first, with a Transpose for each tensor that has a batch axis."""
    from onnx import helper

    own, graph = node.node, node.graph
    place = next(at for at, other in enumerate(graph.node) if other is own or other == own)
    own = graph.node[place]
    before, after = [], []
    for name, axes in _TURNED.items():
        if node.input(name):
            at = INPUTS[own.op_type].index(name)
            before.append(helper.make_node("Transpose", [own.input[at]], [f"{prefix}.turned.{name}"], perm=axes))
            own.input[at] = f"{prefix}.turned.{name}"
    for at, name in enumerate(OUTPUTS[own.op_type]):
        if at < len(own.output) and own.output[at]:
            turned = f"{prefix}.turned.{name}"
            after.append(helper.make_node("Transpose", [turned], [own.output[at]], perm=_TURNED_BACK[name]))
            own.output[at] = turned
    kept = [attribute for attribute in own.attribute if attribute.name != "layout"]
    _replace_attributes(own, kept)
    _splice(graph, place, before, after)


def _replace_attributes(node: NodeProto, kept: list[AttributeProto]) -> None:
    copies = [type(attribute)() for attribute in kept]
    for copy, attribute in zip(copies, kept, strict=True):
        copy.CopyFrom(attribute)
    del node.attribute[:]
    node.attribute.extend(copies)


def _splice(graph: GraphProto, place: int, before: list[NodeProto], after: list[NodeProto]) -> None:
    for node in reversed(after):
        graph.node.insert(place + 1, node)
    for node in reversed(before):
        graph.node.insert(place, node)
