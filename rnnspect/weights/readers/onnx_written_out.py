"""The cells that an ONNX model writes out, each with the steps that it makes, its spec and its parameters."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rnnspect.cells import CELLS
from rnnspect.errors import WeightsError, listed
from rnnspect.files.onnx_checks import graphs_in
from rnnspect.weights.readers import interface
from rnnspect.weights.readers.onnx_rnn_nodes import paths_in, tensor_of
from rnnspect.weights.readers.onnx_sums import GraphView, LinearSum, Offset
from rnnspect.weights.readers.onnx_written_out_steps import GATES, OTHERS, CellStep, steps_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onnx import GraphProto, ModelProto, NodeProto
    from torch import Tensor

    from rnnspect.files.onnx_file import Constants, GraphPath, OnnxArray

_DTYPES = ("float32", "float64", "float16", "bfloat16")
_OF_H = ("hh", "recurrent", "hidden")
"""What names of constants say that multiply h."""
COUNTED = (*GATES, *OTHERS[:1], "Split", "Slice")


@dataclass(frozen=True)
class WrittenCell:
    """One cell: steps of one graph with the same constants."""

    name: str
    file: str
    model: ModelProto
    view: GraphView
    steps: tuple[CellStep, ...]
    """At least one. Each knows which tensor is h."""
    guessed: bool
    """Whether nothing in the file tells x from h."""

    @property
    def where(self) -> str:
        return f"{self.file}:{self.name}"

    @property
    def path(self) -> GraphPath:
        return self.view.path

    def tensors(self, step: CellStep) -> dict[str, str]:
        """The tensors of a step by X, initial_h, initial_c, Y_h and Y_c, as a node of ONNX calls them."""
        x = next(iter(step.sums[0].sources - {step.h}), "")
        names = {"X": x, "initial_h": step.h, "initial_c": step.c, "Y_h": step.given[0], "Y_c": step.given[-1]}
        return names if step.c else {name: names[name] for name in ("X", "initial_h", "Y_h")}

    def nodes(self, step: CellStep) -> list[NodeProto]:
        """The nodes from x, h and c to the new h and c, in the order of the graph."""
        ends = {step.h, step.c, self.tensors(step)["X"]}
        names, found = list(step.given), set()
        names_of = self.view.constants.names(self.path[-1][0])
        while names:
            name = names.pop()
            node = names_of.makers.get(name)
            if name in ends or name in found or node is None or self.view.constant(name) is not None:
                continue
            found.update(node.output)
            names += node.input
        return [node for node in self.path[-1][0].node if node.output and node.output[0] in found]

    @property
    def note(self) -> str:
        """What it was read from."""
        nodes, count = self.nodes(self.steps[0]), len(self.steps)
        kinds = listed(f"{number} {kind}" for kind, number in Counter(node.op_type for node in nodes).items())
        steps = f"{count} steps, each" if count > 1 else "one step"
        said = f"note: {self.where} is not one node but built from single operators: {steps} of {kinds}"
        first, last = (self.view.maker(name) for name in (self.steps[0].h, self.steps[0].given[0]))
        if first is not None and last is not None and first.op_type == last.op_type:  # as where its h is constant
            said += f"; what gives its first h, {first.op_type} {first.name or first.output[0]}, is not part of a step"
        return said + ("; which of its two inputs is x and which is h is a guess" if self.guessed else "")


def cells_in(model: ModelProto, file: str, constants: Constants, taken: Iterable[str]) -> dict[str, WrittenCell]:
    """Every cell that the model writes out by name, those of nested graphs too; `taken` names are not used again."""
    found: dict[str, WrittenCell] = {}
    kinds = {node.op_type for graph in graphs_in(model.graph) for node in graph.node}
    if not kinds & {"MatMul", "Gemm"} or not kinds & {*GATES, *OTHERS}:
        return found
    for path, known in zip(paths_in(model), paths_in(constants.with_shapes), strict=True):
        view = GraphView(path, constants, _shapes(known[-1][0]))
        by_key: dict[Any, list[tuple[CellStep, bool]]] = {}
        for step, guessed in _with_h(view, list(steps_in(view))):
            by_key.setdefault(_key(step), []).append((step, guessed))
        for steps in by_key.values():
            name = interface.unique(_name(view, steps[0][0]), {*taken, *found})
            every = tuple(step for step, _ in steps)
            found[name] = WrittenCell(name, file, model, view, every, all(guessed for _, guessed in steps))
    return found


def counted(model: ModelProto) -> str:
    """How many operators of the kinds that cells are made of are in a model: 7 Sigmoid, 4 Tanh and 4 Split."""
    every = Counter(node.op_type for graph in graphs_in(model.graph) for node in graph.node)
    return listed(f"{every[kind]} {kind}" for kind in COUNTED if every[kind])


def described_cell(cell: WrittenCell) -> dict[str, Any]:
    """The keys of a spec that a cell is. Raises `WeightsError` for constants of several types."""
    step = cell.steps[0]
    names = {one.weight for total in step.sums for one in total.products}
    names |= {one.name for total in step.sums for one in total.offsets}
    dtypes = {cell.view.known(name).dtype.name for name in names}
    if len(dtypes) != 1 or not dtypes <= {*_DTYPES}:
        found = f"constants of dtype {' and '.join(sorted(dtypes))}"
        raise WeightsError(found, allowed=f"one of {listed(_DTYPES)}", where=cell.where)
    features = next(one.features for one in step.sums[0].products if one.source != step.h)
    keys: dict[str, Any] = {"cell": step.cell, "input_size": features, "hidden_size": step.units}
    keys |= {"batch_first": False, "bias": any(total.offsets for total in step.sums), "dtype": dtypes.pop()}
    keys |= {"reset": "before"} if step.reset == "before" else {}
    return keys | interface.functions_of(step.cell, [str(one) for one in step.functions])


def parameters_of_cell(cell: WrittenCell) -> dict[str, Tensor]:
    """PyTorch's parameters from the constants. Raises `WeightsError` for biases that no dtype holds as two."""
    import numpy as np

    step, keys = cell.steps[0], described_cell(cell)
    parts: dict[str, list[OnnxArray]] = {}
    for gate in CELLS[step.cell].gates:
        total = step.gates[gate if gate in step.gates else "h"]
        both = [total] if step.n_of_h is None or gate != "n" else [total, step.n_of_h]
        for one in (product for each in both for product in each.products):
            values = cell.view.known(one.weight)
            rows = (values.T if one.turned else values)[slice(*one.rows), slice(*one.columns)]
            parts.setdefault("weight_hh_l0" if one.source == step.h else "weight_ih_l0", []).append(rows)
        if keys["bias"]:
            for name, values in zip(("bias_ih_l0", "bias_hh_l0"), _biases(cell, step, both), strict=True):
                parts.setdefault(name, []).append(values)
    return {name: tensor_of(np.concatenate(parts[name])) for name in sorted(parts, key=_ORDER.index)}


_ORDER = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]


def _biases(cell: WrittenCell, step: CellStep, both: list[LinearSum]) -> list[OnnxArray]:
    """The constants of a gate that are added beside x, and beside h: both alike where they add up freely."""
    ih: list[Offset] = []
    hh: list[Offset] = []
    if len(both) == 2:
        ih, hh = list(both[0].offsets), list(both[1].offsets)
    else:
        hh = [one for one in both[0].offsets if one.beside == step.h]
        for one in both[0].offsets:
            if one.beside != step.h:
                (hh if ih and not hh and not one.beside else ih).append(one)
    return [_added(cell, step.units, offsets) for offsets in (ih, hh)]


def _added(cell: WrittenCell, units: int, offsets: Iterable[Offset]) -> OnnxArray:
    import numpy as np

    dtype = np.dtype(described_cell(cell)["dtype"])
    total = np.zeros(units, np.float64)
    for one in offsets:
        flat = cell.view.known(one.name).reshape(-1)
        total += flat[slice(*one.rows)] if flat.size > 1 or units == 1 else flat[0]
    rounded = total.astype(dtype)
    if not (rounded == total).all():
        found = "the model adds biases when it runs, and their sum does not fit its dtype exactly"
        raise WeightsError(found, where=cell.where)
    return rounded


def _with_h(view: GraphView, steps: list[CellStep]) -> Iterator[tuple[CellStep, bool]]:
    """Each step with the name of its h, and whether that is a guess. Of the two tensors that a step takes, h is the one
    with as many features as the cell has units. Where both have, it is the one that another step gives, or that is
    multiplied by constants that h is multiplied by elsewhere, or by constants called hidden or hh."""
    given = {step.given[0] for step in steps}
    of_h = {
        (one.weight, one.columns)
        for step in steps
        for one in step.sums[0].products
        if one.source == step.h or one.source in given
    }
    graph, owner, _ = view.path[-1]
    in_loop, states = owner is not None and owner.op_type == "Loop", {known.name for known in graph.input}
    for step in steps:
        if step.h:
            if step.h in step.gates[next(iter(step.gates))].sources:
                yield step, False
            continue
        fits = {one.source: one for one in step.sums[0].products if one.features == step.units}
        if not fits:
            continue
        told = list(fits) if len(fits) == 1 else []
        told = told or [name for name in fits if name in given]
        told = told or [name for name, one in fits.items() if (one.weight, one.columns) in of_h]
        told = told or [name for name, one in fits.items() if any(word in one.weight.lower() for word in _OF_H)]
        told = told or [name for name in fits if _has_origin_of(view, name, step.c) or (in_loop and name in states)]
        yield replace(step, h=(told or list(fits))[-1]), len(told) != 1


def _has_origin_of(view: GraphView, name: str, c: str) -> bool:
    """Whether a tensor is taken out of the same one as c."""
    first, second = view.maker(name), view.maker(c)
    return first is not None and second is not None and list(first.input[:1]) == list(second.input[:1])


def _key(step: CellStep) -> Any:
    """Equal for two steps that use the same constants in the same way: they are steps of one cell."""

    def of(total: LinearSum) -> Any:
        products = sorted(
            (one.source == step.h, one.weight, one.turned, one.columns, one.rows) for one in total.products
        )
        return tuple(products), tuple(sorted((one.name, one.rows) for one in total.offsets))

    return step.cell, step.reset, step.functions, tuple(of(total) for total in step.sums)


def _name(view: GraphView, step: CellStep) -> str:
    """As the names of its constants begin, cell of cell.weight_ih; else the folder of its last node, or of
    the loop around it, or its output."""
    weights = [one.weight for total in step.sums for one in total.products]
    if begins := weights[0].rpartition(".")[0]:
        return begins
    _, owner, _ = view.path[-1]
    in_loop = owner is not None and owner.op_type != "If"
    node = owner if in_loop else view.maker(step.given[0])
    folder = node.name.rpartition("/")[0].strip("/") if node is not None else ""
    return folder or step.given[0]


def _shapes(graph: GraphProto) -> dict[str, tuple[int, ...]]:
    """The sizes of tensors by name; 0 where the graph does not say."""
    return {
        info.name: tuple(axis.dim_value for axis in info.type.tensor_type.shape.dim)
        for info in (*graph.input, *graph.value_info, *graph.output)
        if info.type.tensor_type.HasField("shape")
    }
