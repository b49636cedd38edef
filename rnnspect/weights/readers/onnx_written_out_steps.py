"""Cells that a graph of ONNX writes out: one step of an LSTM, GRU or RNN in MatMul or Gemm, Add, Sigmoid, Tanh and Mul.

Each step is found by how its parts are used, whatever their order: o of an LSTM multiplies tanh(c'), z of a GRU mixes h
with the candidate. Steps with the same constants are one cell, in the order in which they run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations
from typing import TYPE_CHECKING

from rnnspect.cells.functions import Activation
from rnnspect.files.onnx_file import attributes_of
from rnnspect.weights.readers.onnx_sums import GraphView, LinearSum

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from onnx import NodeProto

GATES, OTHERS = ("Sigmoid", "HardSigmoid"), ("Tanh", "Relu", "Softsign")
"""Operators of what is in [0, 1], and of candidates and cell states."""


@dataclass(frozen=True)
class GateFunction:
    """A function of a sum."""

    function: Activation
    of: LinearSum
    value: str
    """The tensor that the function gives, before it is split."""


@dataclass(frozen=True)
class CellStep:
    """One step: the tensors that it takes and gives, and what is in each gate."""

    cell: str
    reset: str
    """For a GRU: after or before."""
    functions: tuple[Activation, ...]
    gates: dict[str, LinearSum]
    """By i, f, g, o, or r, z, n, or h of an RNN: the sum of x and of h. Of a GRU's n it is that of x where r acts after
    the product with h."""
    n_of_h: LinearSum | None
    """For a GRU that resets after: what r multiplies."""
    h: str
    """Empty where it is not told apart from x yet."""
    c: str
    given: tuple[str, ...]
    """The new h, and c of an LSTM."""
    values: frozenset[str]
    """The tensors that its gates are, before they are split."""

    @property
    def sums(self) -> tuple[LinearSum, ...]:
        return (*self.gates.values(), *([] if self.n_of_h is None else [self.n_of_h]))

    @property
    def units(self) -> int:
        return self.sums[0].units


def steps_in(view: GraphView) -> Iterator[CellStep]:
    """Every step of a cell in one graph, in the order of the graph; of an RNN only those whose h comes from another."""
    made = [view.maker(node.output[0]) for node in view.path[-1][0].node if node.output]
    nodes = [node for node in made if node is not None]
    found = [step for node in nodes if (step := _lstm(view, node) or _gru(view, node))]
    used = {value for step in found for value in step.values}
    plain = [step for node in nodes if (step := _rnn(view, node)) is not None and step.given[0] not in used]
    yield from found
    yield from _chained(plain)


def _chained(steps: list[CellStep]) -> Iterator[CellStep]:
    """The steps of RNNs whose h another one gives with the same constants, and those."""
    by_given = {step.given[0]: step for step in steps}
    kept: dict[str, None] = {}
    for step in steps:
        for source in step.sums[0].sources:
            before = by_given.get(source)
            if before is not None and _constants(before) == _constants(step):
                kept |= dict.fromkeys((source, step.given[0]))
    yield from (by_given[name] for name in kept)


def _constants(step: CellStep) -> list[tuple[str, tuple[int, int]]]:
    return sorted((one.weight, one.columns) for one in step.sums[0].products)


def _lstm(view: GraphView, node: NodeProto) -> CellStep | None:
    """h' = o ⊙ tanh(c'), c' = f ⊙ c + i ⊙ g."""
    if node.op_type != "Mul":
        return None
    for a, b in permutations(node.input):
        squash = view.made_by(view.source(b), *OTHERS)
        total = view.made_by(view.source(squash.input[0]), "Add") if squash is not None else None
        if squash is None or total is None or (o := gate_of(view, a, GATES)) is None:
            continue
        for kept, new in permutations(total.input):
            for f, c in _factors(view, kept):
                for i, g in _factors(view, new):
                    gates = {"i": gate_of(view, i, GATES), "f": gate_of(view, f, GATES), "g": gate_of(view, g, OTHERS)}
                    given = (node.output[0], total.output[0])
                    step = _step("lstm", gates | {"o": o}, c=view.source(c), given=given)
                    if step is not None:
                        return replace(step, functions=(*step.functions, _function(squash)))
    return None


def _gru(view: GraphView, node: NodeProto) -> CellStep | None:
    """h' = (1 − z) ⊙ n + z ⊙ h, or z ⊙ (h − n) + n."""
    if node.op_type != "Add":
        return None
    for a, b in permutations(node.input):
        for z, other in _factors(view, a):
            difference = view.made_by(view.source(other), "Sub")
            if difference is not None and view.source(difference.input[1]) == view.source(b):
                mixes = [(z, b, difference.input[0])]
            else:
                rest = [(n, view.made_by(view.source(one), "Sub")) for one, n in _factors(view, b)]
                mixes = [(z, n, other) for n, one in rest if one is not None and _is_rest(view, one, z)]
            for of_z, n, h in mixes:
                if step := _mixed(view, of_z, n, view.source(h), node.output[0]):
                    return step
    return None


def _is_rest(view: GraphView, node: NodeProto, z: str) -> bool:
    """Whether a Sub is 1 − z."""
    one = view.constant(node.input[0])
    is_one = one is not None and one.size > 0 and one.dtype.kind in "fV" and bool((one == 1).all())
    return is_one and view.source(node.input[1]) == view.source(z)


def _mixed(view: GraphView, z: str, n: str, h: str, given: str) -> CellStep | None:
    candidate = view.made_by(view.source(n), *OTHERS)
    if candidate is None:
        return None
    inside = view.source(candidate.input[0])
    before = view.sum_of(inside)
    if before is not None:
        for source in before.sources:
            for r, held in _factors(view, source):
                if view.source(held) == h and (reset := gate_of(view, r, GATES)):
                    named = {source: h}
                    of_n = GateFunction(_function(candidate), _renamed(before, named), candidate.output[0])
                    gates = {"r": reset, "z": gate_of(view, z, GATES), "n": of_n}
                    return _step("gru", gates, reset="before", h=h, given=(given,))
        return None
    products, sums = _terms(view, inside)
    if len(products) != 1 or sums is None or sums.sources & {h}:
        return None
    for r, of_h in _factors(view, products[0]):
        held_sum, reset = view.sum_of(of_h), gate_of(view, r, GATES)
        if held_sum is not None and reset is not None and held_sum.sources == {h}:
            of_n = GateFunction(_function(candidate), sums, candidate.output[0])
            gates = {"r": reset, "z": gate_of(view, z, GATES), "n": of_n}
            return _step("gru", gates, n_of_h=held_sum, reset="after", h=h, given=(given,))
    return None


def _terms(view: GraphView, name: str) -> tuple[list[str], LinearSum | None]:
    """The products of two tensors in a sum, and the rest of it."""
    node = view.made_by(name, "Add")
    if node is None:
        return [name], None
    for a, b in permutations(node.input):
        if view.made_by(view.source(a), "Mul"):
            return [a], view.sum_of(b)
    return [], None


def _rnn(view: GraphView, node: NodeProto) -> CellStep | None:
    """h' = φ(W x + U h + b)."""
    if node.op_type not in ("Tanh", "Relu"):
        return None
    return _step("rnn", {"h": gate_of(view, node.output[0], ("Tanh", "Relu"))}, given=(node.output[0],))


def gate_of(view: GraphView, name: str, operators: tuple[str, ...]) -> GateFunction | None:
    """The function of a sum that a tensor is, split before or after it."""
    chosen: list[tuple[NodeProto, str]] = []
    name = view.source(name)
    while (node := view.made_by(name, "Split", "Slice")) is not None and len(chosen) < 2:
        chosen.append((node, name))
        name = view.source(node.input[0])
    function = view.made_by(name, *operators)
    found = view.sum_of(function.input[0]) if function is not None else None
    for node, given in reversed(chosen):
        ends = view.selected(node, given, found.units) if found else None
        found = found.of(*ends) if found and ends else None
    return GateFunction(_function(function), found, name) if found and function is not None else None


def _step(
    cell: str,
    gates: dict[str, GateFunction | None],
    given: tuple[str, ...],
    h: str = "",
    c: str = "",
    reset: str = "",
    n_of_h: LinearSum | None = None,
) -> CellStep | None:
    """The step with these gates, where all of them are functions of the same x and h, and of as many units."""
    there = {name: gate for name, gate in gates.items() if gate is not None}
    sums = [gate.of for gate in there.values()] + ([] if n_of_h is None else [n_of_h])
    sources = frozenset().union(*(one.sources for one in sums))
    if len(there) < len(gates) or len(sources) != 2 or len({one.units for one in sums}) != 1:
        return None
    parted = n_of_h is not None
    for name, gate in there.items():
        wanted = 1 if parted and name == "n" else 2
        if len(gate.of.products) != wanted or len(gate.of.sources) != wanted:
            return None
    if n_of_h is not None and len(n_of_h.products) != 1:
        return None
    functions = _functions(cell, there)
    if functions is None or c in sources:
        return None
    values = frozenset(gate.value for gate in there.values())
    return CellStep(cell, reset, functions, {k: v.of for k, v in there.items()}, n_of_h, h, c, given, values)


def _functions(cell: str, gates: dict[str, GateFunction]) -> tuple[Activation, ...] | None:
    """The function of the gates and that of the candidate; None where the gates have different ones."""
    of_gates = {gate.function for name, gate in gates.items() if name not in ("g", "n", "h")}
    of_candidate = [gates[name].function for name in ("g", "n", "h") if name in gates]
    if len(of_gates) > 1:
        return None
    return (*of_gates, *of_candidate) if cell != "rnn" else tuple(of_candidate)


def _factors(view: GraphView, name: str) -> Iterable[tuple[str, ...]]:
    """The two factors of a product, either way round."""
    node = view.made_by(view.source(name), "Mul")
    return permutations(node.input) if node is not None else ()


def _renamed(total: LinearSum, names: dict[str, str]) -> LinearSum:
    products = tuple(replace(one, source=names.get(one.source, one.source)) for one in total.products)
    offsets = tuple(replace(one, beside=names.get(one.beside, one.beside)) for one in total.offsets)
    return LinearSum(total.units, products, offsets)


def _function(node: NodeProto) -> Activation:
    if node.op_type != "HardSigmoid":
        return Activation(node.op_type.lower())
    said = attributes_of(node)
    return Activation("hard_sigmoid", float(said.get("alpha", 0.2)), float(said.get("beta", 0.5)))
