"""A copy of an ONNX model that also outputs what its recurrent parts receive and return, those of nested graphs too.

A branch of If gives its values, and the branch that is not taken empty ones; Loop and Scan stack one an iteration. A
node with layout=1, which onnxruntime refuses, becomes one without, between Transposes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files.onnx_file import Constants
from rnnspect.network.spec import Spec
from rnnspect.weights.readers.onnx import Part
from rnnspect.weights.readers.onnx_rnn_nodes import INPUTS, OUTPUTS, SCALES, WEIGHTS, OnnxNode
from rnnspect.weights.readers.onnx_written_out import WrittenCell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto, NodeProto

    from rnnspect.files.onnx_file import GraphPath

_TURNED = dict.fromkeys(("X", "initial_h", "initial_c", "Y_h", "Y_c"), (1, 0, 2)) | {"Y": (2, 0, 1, 3)}
"""How a tensor is transposed on its way into a node, or out of it, that had layout=1."""
_DTYPES = {"float32": 1, "float16": 10, "float64": 11, "bfloat16": 16}
_INT32 = 6


@dataclass(frozen=True)
class ExposedNode:
    """The outputs of the copy that show what one node receives and returns."""

    part: OnnxNode
    spec: Spec
    outputs: dict[str, str]
    """By X, W, …, Y the output of the model that shows it, with an axis in front for each of the `loops_around`."""

    @property
    def every_output(self) -> tuple[str, ...]:
        return tuple(self.outputs.values())


@dataclass(frozen=True)
class ExposedCell:
    """The outputs of the copy that show what each step of a cell that is written out receives and returns."""

    part: WrittenCell
    spec: Spec
    steps: tuple[dict[str, str], ...]
    """As the outputs of a node."""

    @property
    def every_output(self) -> tuple[str, ...]:
        return tuple(output for step in self.steps for output in step.values())


def loops_around(path: GraphPath) -> int:
    """How many Loops and Scans a graph is in; each stacks what its iterations give."""
    return sum(owner is not None and owner.op_type != "If" for _, owner, _ in path)


def with_exposed_outputs(
    model: ModelProto, layers: Sequence[tuple[Part, Spec]]
) -> tuple[ModelProto, list[ExposedNode | ExposedCell]]:
    """The copy, and the exposed outputs of these parts of the model, each of which comes with the layer that it is.

    Raises `FileError` for a part in a graph that belongs to no If, Loop or Scan.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    constants = Constants(copy)
    placed = [(_in_copy(part.path, copy), part, spec) for part, spec in layers]
    places = [list(path[-1][0].node).index(part.node) if isinstance(part, OnnxNode) else 0 for path, part, _ in placed]
    all_exposed: list[ExposedNode | ExposedCell] = []
    owns = [path[-1][0].node[place] for (path, _, _), place in zip(placed, places, strict=True)]
    for at, ((path, part, spec), own) in enumerate(zip(placed, owns, strict=True)):
        prefix = f"rnnspect.{at}"
        if isinstance(part, OnnxNode):
            node = replace(part, node=own, path=path, model=copy, constants=constants)
            all_exposed.append(_of_node(node, spec, prefix))
        else:
            steps = [_shown(path, part.tensors(step), spec, f"{prefix}.{i}") for i, step in enumerate(part.steps)]
            all_exposed.append(ExposedCell(part, spec, tuple(steps)))
    return copy, all_exposed


def _in_copy(path: GraphPath, copy: ModelProto) -> GraphPath:
    """The same graphs in a copy of their model."""
    found: GraphPath = ((copy.graph, None, ""),)
    for (outer, _, _), (_, owner, attribute) in pairwise(path):
        own = found[-1][0].node[list(outer.node).index(owner)]
        found = (*found, (next(one.g for one in own.attribute if one.name == attribute), own, attribute))
    return found


def _of_node(node: OnnxNode, spec: Spec, prefix: str) -> ExposedNode:
    """`prefix` begins the names that are new in the graph."""
    if node.attributes.get("layout"):
        _turn(node, prefix)
    shown = {name: node.input(name) for name in INPUTS[node.node.op_type] if node.input(name)}
    shown = {name: of for name, of in shown.items() if name not in (*WEIGHTS, *SCALES) or not node.is_fixed(name)}
    outputs, own = OUTPUTS[node.node.op_type], node.node.output
    own.extend([""] * (len(outputs) - len(own)))
    for index, name in enumerate(outputs):
        shown[name] = own[index] = own[index] or f"{prefix}.own.{name}"
    return ExposedNode(node, spec, _shown(node.path, shown, spec, prefix))


def _shown(path: GraphPath, shown: dict[str, str], spec: Spec, prefix: str) -> dict[str, str]:
    """The outputs of the model that now show these tensors of the last graph of the path."""
    from onnx import helper

    kinds = {name: _INT32 if name == "sequence_lens" else _DTYPES[spec.dtype] for name in shown}
    inside = {name: f"{prefix}.{len(path) - 1}.{name}" for name in shown}
    path[-1][0].node.extend(helper.make_node("Identity", [shown[name]], [inside[name]]) for name in shown)
    for depth in range(len(path) - 1, -1, -1):
        graph, owner, attribute = path[depth]
        graph.output.extend(helper.make_tensor_value_info(inside[name], kinds[name], None) for name in shown)
        if owner is None:
            break
        outside = {name: f"{prefix}.{depth - 1}.{name}" for name in shown}
        _lead_out(owner, attribute, [(inside[name], kinds[name]) for name in shown])
        owner.output.extend(outside.values())
        inside = outside
    return inside


def _lead_out(owner: NodeProto, attribute: str, shown: list[tuple[str, int]]) -> None:
    """Makes the owner of a graph, which is its `attribute`, ready for further outputs of these names and types."""
    from onnx import helper

    if owner.op_type == "If":
        for other in owner.attribute:
            if other.name in ("then_branch", "else_branch") and other.name != attribute:
                for name, kind in shown:
                    empty = helper.make_tensor(f"{name}.empty", kind, [0], b"", raw=True)
                    other.g.node.append(helper.make_node("Constant", [], [f"{name}.empty"], value=empty))
                    other.g.output.append(helper.make_tensor_value_info(f"{name}.empty", kind, None))
    elif owner.op_type == "Scan":
        for listed in owner.attribute:
            if listed.name in ("scan_output_axes", "scan_output_directions"):
                listed.ints.extend([0] * len(shown))
    elif owner.op_type != "Loop":
        raise FileError(f"the node is inside a {owner.op_type}", allowed="If, Loop or Scan")


def _turn(node: OnnxNode, prefix: str) -> None:
    """The same node without layout=1, with a Transpose for each tensor that has a batch axis."""
    from onnx import helper

    graph, place = node.graph, list(node.graph.node).index(node.node)
    own = graph.node[place]
    before, after = [], []
    for at, name in enumerate(INPUTS[own.op_type][: len(own.input)]):
        if name in _TURNED and own.input[at]:
            turned = f"{prefix}.turned.{name}"
            before.append(helper.make_node("Transpose", [own.input[at]], [turned], perm=_TURNED[name]))
            own.input[at] = turned
    for at, name in enumerate(OUTPUTS[own.op_type][: len(own.output)]):
        if own.output[at]:
            turned = f"{prefix}.turned.{name}"
            after.append(helper.make_node("Transpose", [turned], [own.output[at]], perm=_TURNED[name]))
            own.output[at] = turned
    for attribute in [one for one in own.attribute if one.name == "layout"]:
        own.attribute.remove(attribute)
    for new in reversed(after):
        graph.node.insert(place + 1, new)
    for new in reversed(before):
        graph.node.insert(place, new)
