"""Going back over a cell's lines: what they did is recorded, and gradients are pulled through it in reverse.

This is reverse accumulation (Griewank & Walther, Evaluating Derivatives, 2nd ed. 2008, ch. 3) over our own operations,
for any arithmetic that has slopes and transposed products: plain numbers, numbers with their bound, expressions. The
gradient of a value v is dL/dv, called g here; None is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rnnspect.arithmetic.tape_matrices import TapeMatrices
from rnnspect.arithmetic.tape_norms import TapeNorms
from rnnspect.cells.functions import CHOSEN, FIXED
from rnnspect.cells.interface import Arithmetic


class Backward(Arithmetic[Any], Protocol):
    """What the arithmetic underneath has for going back."""

    def slope(self, function: str, s: Any, v: Any) -> Any:
        """The derivative of a function at s, where it gave v."""
        ...

    def transposed(self, weight: str, g: Any) -> Any:
        """Wᵀ g of weight_hh, of weight_hr or of weight_ih."""
        ...

    def summed(self, g: Any, f: Any) -> Any:
        """For each number of f the sum of the parts of g that `spread` made from it."""
        ...

    def placed(self, block: Any, at: int) -> Any:
        """The cell state with zeros in all other blocks."""
        ...

    def joined(self, blocks: Sequence[Any | None]) -> Any:
        """One packed value of the blocks of the gates; at least one is not None."""
        ...

    def times(self, g: Any, v: Any) -> Any: ...

    def plus(self, g: Any, other: Any) -> Any: ...

    def minus(self, v: Any, other: Any) -> Any: ...

    def negative(self, v: Any) -> Any: ...

    def one(self) -> Any:
        """1"""
        ...

    def before(self, c: Any, after: Any) -> Any:
        """The cell state before each step: `c` is the argument of `carry`, `after` its result."""
        ...


@dataclass(frozen=True, eq=False)
class Linear:
    """A gradient that is not known yet, because those of the states after the step are not:
    Σ slopes[state] ⊙ (that state's) + rest. A slope of None is 1."""

    slopes: Mapping[str, Any | None]
    rest: Any | None = None


class UnknownGradientError(Exception):
    """A product, or a sum, needs a gradient that is not known yet."""


@dataclass(eq=False)
class Node:
    """A value of a step. `uses` are the values made of it (the blocks of one packed value are made together), each with
    the function from the gradient of that value to what it adds to this one's."""

    tape: Tape
    value: Any
    uses: list[tuple[Node | tuple[Node, ...], Callable[[Any], Any]]] = field(default_factory=list)
    gate: int | None = None
    """For a pre-activation, or W_ih x + b_ih on the way to it, the place of its gate; WHOLE for all of them, packed."""
    by: tuple[str, Any] = "", None
    """The function that gave it, and its argument."""

    def __add__(self, other: Node) -> Node:
        return self.tape.added(self, other)

    def __sub__(self, other: Node) -> Node:
        return self.tape.subtracted(self, other)

    def __mul__(self, other: Node) -> Node:
        # Edges hold values and no nodes before them: a circle of references would keep its memory.
        tape, made, left, right = self.tape, Node(self.tape, self.value * other.value), self.value, other.value
        values = left, right, other.by
        tape.edge("times-left", self, made, lambda g: tape.times(g, right), values)
        tape.edge("times-right", other, made, lambda g: tape.times(g, left), values)
        return made


WHOLE = -1

Changes = Mapping[str, Callable[["Tape", Any, tuple[Any, ...]], Any] | None]
"""By the name of an edge what an engine does there instead: from its tape, the gradient, and the values of the edge to
what it adds. With None it adds nothing."""


class Tape(TapeMatrices, TapeNorms):
    """The arithmetic that records what a cell's lines do over the arithmetic `a`.

    With `forced` what lies before a pre-activation gets the gradient that an engine had there, in place of ours: it
    is given to `Pull` for the nodes in `seen`, one a gate. An error then stays at the step that made it. The gates in
    `shared` are left out: their pre-activation goes elsewhere, too, than into the sum.
    """

    def __init__(
        self,
        a: Backward,
        gates: int,
        forced: bool = False,
        changes: Changes | None = None,
        shared: frozenset[int] = frozenset(),
    ) -> None:
        self.a, self._changes, self._shared = a, changes or {}, shared
        self.seen = tuple(Node(self, None) for _ in range(gates)) if forced else ()
        self.products: list[tuple[str, Node, Node]] = []
        """The weight, what it was multiplied with, and the result, of each product."""
        self.functions: list[tuple[Node, Node]] = []
        """The argument and the result of each function."""
        self.peephole_weights: tuple[Node, ...] = ()
        self.parameters: dict[str, Node] = {}
        """The parameters of the cell's own, by its names for them."""
        self.cell_state: tuple[Any, Any] | None = None  # what `carry` got, and what it gave

    def let_go(self) -> None:
        """Forgets its nodes, once no more gradients are asked for."""
        self.seen, self.products, self.functions, self.peephole_weights, self.parameters = (), [], [], (), {}

    def edge(
        self,
        name: str,
        of: Node,
        made: Node | tuple[Node, ...],
        back: Callable[[Any], Any],
        values: tuple[Any, ...] = (),
    ) -> None:
        """Records that `made` was made of `of`; `values` are given to changes of the edge of that name."""
        if name not in self._changes:
            of.uses.append((made, back))
        elif change := self._changes[name]:
            of.uses.append((made, lambda g: change(self, g, values)))

    def node(self, value: Any) -> Node:
        return Node(self, value)

    # What the cell's lines call.

    def added(self, one: Node, other: Node) -> Node:
        """one + other. The sum of two pre-activations is no pre-activation."""
        gate = one.gate if other.gate is None else other.gate if one.gate is None else None
        made = Node(self, one.value + other.value, gate=gate)
        for part in (one, other):
            self.edge("add", part, self._above(part, made), _as_it_is)
        return made

    def subtracted(self, one: Node, other: Node) -> Node:
        """one − other. A difference with a pre-activation on the right is no pre-activation."""
        made = Node(self, one.value - other.value, gate=one.gate if other.gate is None else None)
        self.edge("add", one, self._above(one, made), _as_it_is)
        self.edge("minus", other, self._above(other, made), self.negative)
        return made

    def _above(self, part: Node, made: Node) -> Node | tuple[Node, ...]:
        """The value whose gradient a part of a sum has: with `forced`, the pre-activation that the engine showed."""
        if not self.seen or made.gate is None or made.gate in self._shared or part.gate is not None:
            return made
        return self.seen if made.gate == WHOLE else self.seen[made.gate]

    def hidden(self, h: Node) -> Node:
        return self._product("hidden", "weight_hh", h, self.a.hidden(h.value))

    def split(self, packed: Node) -> tuple[Node, ...]:
        values = self.a.split(packed.value)
        gates = [None] * len(values) if packed.gate is None else range(len(values))
        blocks = tuple(Node(self, value, gate=gate) for value, gate in zip(values, gates, strict=True))
        packed.uses.append((blocks, _as_it_is))
        return blocks

    def gates(self, wx: Node, h: Node) -> tuple[Node, ...]:
        values = self.a.gates(wx.value, h.value)  # in one, which may be faster
        blocks = tuple(Node(self, value, gate=gate) for gate, value in enumerate(values))
        self._product("hidden", "weight_hh", h, None).uses.append((self.seen or blocks, _as_it_is))
        wx.uses.append((blocks, _as_it_is))
        return blocks

    def project(self, m: Node) -> Node:
        value = self.a.project(m.value)
        return m if value is m.value else self._product("project", "weight_hr", m, value)

    def peepholes(self) -> tuple[Node, ...]:
        self.peephole_weights = tuple(Node(self, value) for value in self.a.peepholes())
        return self.peephole_weights

    def parameter(self, name: str) -> Node:
        if name not in self.parameters:
            self.parameters[name] = Node(self, self.a.parameter(name))
        return self.parameters[name]

    def constant(self, name: str) -> Node:
        return Node(self, self.a.constant(name))

    def __getattr__(self, name: str) -> Callable[[Node], Node]:
        """The functions."""
        if name not in (*CHOSEN, *FIXED):
            raise AttributeError(name)
        return lambda s: self.applied(name, s)

    def applied(self, function: str, s: Node, value: Any = None) -> Node:
        """A function of s; `value` is the result, where it is known."""
        made = Node(self, getattr(self.a, function)(s.value) if value is None else value, by=(function, s.value))
        before, after = s.value, made.value

        def back(g: Any) -> Any:
            return self.times(g, self.a.slope(function, before, after))

        self.edge(function, s, made, back, (before, after, s.gate))
        self.functions.append((s, made))
        return made

    def rest(self, v: Node) -> Node:
        made = Node(self, self.a.rest(v.value))
        self.edge("rest", v, made, self.negative)
        return made

    def lerp(self, n: Node, h: Node, z: Node) -> Node:
        a, new, old, share = self.a, n.value, h.value, z.value
        made = Node(self, a.lerp(new, old, share))
        self.edge("lerp-n", n, made, lambda g: self.times(g, a.rest(share)), (share,))
        self.edge("lerp-h", h, made, lambda g: self.times(g, share), (share,))
        self.edge("lerp-z", z, made, lambda g: self.times(g, a.minus(old, new)), (new, old, made.value))
        return made

    def carry(self, f: Node, c: Node, v: Node) -> Node:
        kept, before = f.value, c.value
        after = self.a.carry(kept, before, v.value)
        made, self.cell_state = Node(self, after), (before, after)
        self.edge("carry-f", f, made, lambda g: self.times(g, self.a.before(before, after)), (after,))
        self.edge("carry-c", c, made, lambda g: self.times(g, kept))
        self.edge("add", v, made, _as_it_is)
        return made

    # What the edges do with gradients, known or not.

    def times(self, g: Any, v: Any) -> Any:
        if not isinstance(g, Linear):
            return self.a.times(g, v)
        slopes = {name: v if slope is None else self.a.times(slope, v) for name, slope in g.slopes.items()}
        return Linear(slopes, None if g.rest is None else self.a.times(g.rest, v))

    def plus(self, g: Any, other: Any) -> Any:
        if not isinstance(g, Linear) and not isinstance(other, Linear):
            return self.a.plus(g, other)
        one, two = (part if isinstance(part, Linear) else Linear({}, part) for part in (g, other))
        slopes = {**one.slopes, **two.slopes}
        for name in one.slopes.keys() & two.slopes.keys():
            slopes[name] = self._summed(one.slopes[name], two.slopes[name])
        return Linear(slopes, _sum(self.a, one.rest, two.rest))

    def _summed(self, slope: Any, other: Any) -> Any:  # of two slopes, of which one may be 1
        if slope is None or other is None:
            return self.a.rest(self.a.negative(self.known(other if slope is None else slope)))
        return self.a.plus(slope, other)

    def negative(self, g: Any) -> Any:
        if not isinstance(g, Linear):
            return self.a.negative(g)
        slopes = {name: self.a.negative(self.a.one() if v is None else v) for name, v in g.slopes.items()}
        return Linear(slopes, None if g.rest is None else self.a.negative(g.rest))

    @staticmethod
    def known(g: Any) -> Any:
        """Raises `UnknownGradientError` for a gradient that is not known yet, and for a slope of 1, which has no
        value."""
        if g is None or isinstance(g, Linear):
            raise UnknownGradientError
        return g

    def _product(self, edge: str, weight: str, of: Node, value: Any) -> Node:
        made = Node(self, value)
        self.edge(edge, of, made, lambda g: self.a.transposed(weight, self.known(g)), (len(self.products),))
        self.products.append((weight, of, made))
        return made


def _as_it_is(g: Any) -> Any:
    return g


def _sum(a: Backward, one: Any, other: Any) -> Any:
    return other if one is None else one if other is None else a.plus(one, other)
