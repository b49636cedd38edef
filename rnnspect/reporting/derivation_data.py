"""Many derivations of one layer and direction at once: the arithmetic once, and for each step the numbers in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rnnspect.arithmetic.terms import Address, Applied, Known, Operation, Products, Terms, step_of
from rnnspect.network.parameters import suffix

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from torch import Tensor

    from rnnspect.arithmetic.terms import Term, Vector
    from rnnspect.cells.interface import Cell
    from rnnspect.network.parameters import LayerParameters
    from rnnspect.network.spec import Spec

    Array = npt.NDArray[np.float64]

BEFORE = "before "
"""Begins the names of the states of the step before: "before h"."""


@dataclass(frozen=True)
class Node:
    """A place in the arithmetic of one unit of a quantity, the same for every unit and step.

    `kind` is "+", "·", "−", a function's name, "sum" of products, "unit" of x, a quantity or a state, or "parameter".
    """

    kind: str
    of: tuple[Node, ...] = ()
    """What it is made of; of a sum of products what the weights are multiplied with, for each k."""
    name: str = ""
    """Of a sum its weight, of a unit or parameter what it is a unit of."""
    row: int = 0
    """Of a sum or parameter its row for unit 0; that of unit j is so many plus j."""
    numbers: tuple[float, ...] = ()
    """α, β and limits of a function."""
    at: int | None = None
    """The place of its value among those of the quantity; None for what has its value elsewhere."""


@dataclass(frozen=True, eq=False)
class Derivable:
    """The arithmetic of each quantity, and its numbers at the kept steps in float64.

    `values` are (kept, units, places) by quantity. `vectors` are (kept, units): x, the states of the step before,
    and what a sum multiplies where that has no name, as "h 0" for the sum at place 0 of h.
    """

    steps: tuple[int, ...]
    nodes: dict[str, Node]
    values: dict[str, Array]
    vectors: dict[str, Array]


@dataclass
class Deriver:
    """Takes one step after the other."""

    spec: Spec
    p: LayerParameters
    layer: int
    direction: str
    _steps: list[int] = field(default_factory=list)
    _nodes: dict[str, Node] = field(default_factory=dict)
    _values: dict[str, list[Array]] = field(default_factory=dict)
    _vectors: dict[str, list[Array]] = field(default_factory=dict)

    def take(self, step: int, x: Tensor, h: Tensor, c: Tensor | None) -> None:
        """One step, by its index in the input: x (I), and h (P) and c (H) of the step before."""
        cell = self.spec.cell_type
        known = {"x": x, BEFORE + "h": h} | ({} if c is None else {BEFORE + "c": c})
        vectors: dict[str, Vector] = {name: _known(name, values) for name, values in known.items()}
        states = tuple(vector for name, vector in vectors.items() if name != "x")
        nonlinearity, end = self.spec.nonlinearity_of(self.direction), suffix(self.layer, self.direction)
        a = Terms(self.p, len(cell.gates), nonlinearity, end)
        found = step_of(cell, a, vectors["x"], states, step)
        for name, vector in found.items():
            terms = [vector.at(unit) for unit in range(vector.units)]
            self._nodes.setdefault(name, _node(terms[0]))
            self._values.setdefault(name, []).append(np.array([list(_values(term)) for term in terms]))
            vectors |= {f"{name} {at}": one for at, one in _unnamed(self._nodes[name], terms[0])}
        for name, vector in vectors.items():
            self._vectors.setdefault(name, []).append(vector.values)
        self._steps.append(step)

    def derivable(self) -> Derivable:
        """All that was taken, by step."""
        order = np.argsort(self._steps)
        values = {name: np.stack(kept)[order] for name, kept in self._values.items()}
        vectors = {name: np.stack(kept)[order] for name, kept in self._vectors.items()}
        return Derivable(tuple(sorted(self._steps)), self._nodes, values, vectors)


def numbers_a_step(cell: Cell, inputs: int, hidden: int) -> int:
    """About how many numbers a step keeps: a gate has four places, a state three."""
    return (4 * len(cell.gates) + 3 * len(cell.states)) * hidden + inputs


def _known(name: str, values: Tensor) -> Known:
    return Known(values, lambda unit: Address(name, (unit,), 0))


def _node(term: Term) -> Node:
    """The arithmetic of the term of unit 0."""
    places = iter(range(1 << 16))

    def of(one: Term, root: bool) -> Node:
        address = one.address
        if address is not None and not root:
            if address.step is None:
                return Node("parameter", name=address.name, row=address.index[0])
            return Node("unit", name=address.name)
        at = next(places)
        match one.made:
            case Operation(sign, operands):
                return Node(sign, tuple(of(operand, False) for operand in operands), at=at)
            case Applied(function, numbers, operand):
                return Node(function, (of(operand, False),), numbers=numbers, at=at)
            case Products():
                unit = one.made.vector.at(0)
                inside = _node(unit) if unit.address is None else Node("unit", name=unit.address.name)
                return Node("sum", (inside,), one.made.weight, one.made.row, at=at)
        return Node("number", at=at)

    return of(term, True)


def _values(term: Term, root: bool = True) -> Iterator[float]:
    """What `_node` has a place for, in its order."""
    if term.address is not None and not root:
        return
    yield term.value
    match term.made:
        case Operation(_, operands):
            for operand in operands:
                yield from _values(operand, False)
        case Applied(_, _, operand):
            yield from _values(operand, False)


def _unnamed(node: Node, term: Term) -> Iterator[tuple[int, Vector]]:
    """The vectors without a name that weights are multiplied with, by the place of the sum."""
    if isinstance(term.made, Products):
        if term.made.vector.at(0).address is None:
            assert node.at is not None
            yield node.at, term.made.vector
        return
    operands = term.made.operands if isinstance(term.made, Operation) else ()
    operands = (term.made.operand,) if isinstance(term.made, Applied) else operands
    for below, operand in zip(node.of, operands, strict=True):
        if operand.address is None:
            yield from _unnamed(below, operand)
