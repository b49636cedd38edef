"""The inputs of an ONNX model as the graph declares them, and what the axes are whose sizes it leaves free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.files.onnx_file import type_name
from rnnspect.weights.readers.onnx import Part
from rnnspect.weights.readers.onnx_rnn_nodes import OnnxNode, paths_in

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from rnnspect.network.spec import Spec

BATCH, STEPS = "batch", "steps"
Axis = int | str
"""A size, or what a free axis is: batch, steps."""
_ONWARD = ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Transpose")
"""Operators behind which an input's integers are still the same."""


@dataclass(frozen=True)
class Uses:
    """What a model does with its inputs, by their names."""

    rows: Mapping[str, int]
    """The rows of the smallest table in which the integers of an input are looked up."""
    lengths: frozenset[str]
    """The inputs that are lengths of the items of a batch."""
    axes: Mapping[str, tuple[Axis, ...]]
    """The axes of an input that a recurrent part takes as it is."""


def uses_of(model: ModelProto, names: Iterable[str], layers: Iterable[tuple[Part, Spec]]) -> Uses:
    """What a model with these recurrent parts, each with its spec, does with the inputs of these names."""
    taken = {name: {name} for name in names}
    rows: dict[str, int] = {}
    paths = list(paths_in(model))
    tables = {tensor.name: tensor.dims for path in paths for tensor in path[-1][0].initializer}
    for node in (node for path in paths for node in path[-1][0].node):
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tables[node.output[0]] = node.attribute[0].t.dims
        for name, same in taken.items():
            if node.op_type in _ONWARD and node.input and node.input[0] in same:
                same.update(node.output)
            elif node.op_type == "Gather" and len(node.input) == 2 and node.input[1] in same:
                axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
                sizes = tables.get(node.input[0], ())
                if -len(sizes) <= axis < len(sizes):
                    rows[name] = min(sizes[axis], rows.get(name, sizes[axis]))
    axes: dict[str, tuple[Axis, ...]] = {}
    of_parts = set()
    for part, spec in layers:
        if isinstance(part, OnnxNode):
            of_parts.add(part.input("sequence_lens"))
            axes |= _of_node(part, spec)
        else:
            axes |= _of_cell(part.tensors(part.steps[0]), spec)
    lengths = {name for name, same in taken.items() if same & of_parts or "length" in name.lower()}
    return Uses(rows, frozenset(lengths - {*rows}), axes)


def _of_node(node: OnnxNode, spec: Spec) -> dict[str, tuple[Axis, ...]]:
    turned = bool(node.attributes.get("layout"))

    def axes(*axes: Axis) -> tuple[Axis, ...]:
        return (axes[1], axes[0], axes[2]) if turned else axes

    state = axes(spec.num_directions, BATCH, spec.hidden_size)
    found = {node.input("X"): axes(STEPS, BATCH, spec.input_size), node.input("initial_h"): state}
    return found | ({node.input("initial_c"): state} if spec.cell_type.has_cell_state else {})


def _of_cell(tensors: Mapping[str, str], spec: Spec) -> dict[str, tuple[Axis, ...]]:
    sizes = {"X": spec.input_size, "initial_h": spec.hidden_size, "initial_c": spec.hidden_size}
    return {tensors[name]: (BATCH, size) for name, size in sizes.items() if name in tensors}


def axes_of(known: ValueInfoProto, uses: Uses) -> tuple[Axis, ...] | None:
    """The axes of an input: the sizes that the graph says, those of a recurrent part that takes it, and else what its
    name says. A free axis that is the first of several, or stands between axes that are fixed, as that of a state does,
    is the batch. None where nothing says how many axes there are."""
    tensor = known.type.tensor_type
    taken = uses.axes.get(known.name)
    if not tensor.HasField("shape"):
        return taken
    axes = tensor.shape.dim
    if taken is not None and len(taken) != len(axes):
        taken = None
    free = [at for at, axis in enumerate(axes) if axis.dim_value <= 0]
    found: list[Axis] = []
    for at, axis in enumerate(axes):
        name = axis.dim_param.lower()
        between = not name and (free == [at] and 0 < at < len(axes) - 1)
        likely = name in ("b", "n") or "batch" in name or between or (not name and len(free) > 1 and at == free[0])
        if at not in free:
            found.append(axis.dim_value)
        else:
            found.append(taken[at] if taken is not None else BATCH if likely else STEPS)
    return tuple(found)


def in_words(known: ValueInfoProto) -> str:
    """Name, type and axes as the graph says them: x float [1, T, 3]."""
    tensor = known.type.tensor_type
    axes = [str(axis.dim_value) if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim]
    return f"{known.name} {type_name(tensor.elem_type).lower()} [{', '.join(axes)}]"
