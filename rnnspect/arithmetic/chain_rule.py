"""The chain rule of one step as expressions: a cell's own lines are gone back over (`tape.py`), over expressions in
place of numbers. So no gradient has a formula of its own here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.activations import plain
from rnnspect.arithmetic.evaluation import Evaluation, Floats, total
from rnnspect.arithmetic.expression import Expression, LeafOf, blocks_of, by_name, written_out, zero
from rnnspect.arithmetic.recorder import Recorder, given, names_of
from rnnspect.arithmetic.slopes import slope
from rnnspect.arithmetic.tape import WHOLE, Node, Tape
from rnnspect.arithmetic.tape_gradients import Pull, made_on
from rnnspect.cells.functions import FIXED, KINDS, Activation
from rnnspect.cells.interface import Cell
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.spec import Spec

ZERO = zero()


class BackwardRecorder(Recorder):
    """Expressions, with what going back needs (`tape.Backward`). Further kinds of them:

    - a function of `cells.functions.KINDS` with a stroke, such as relu': its derivative at `of[0]`
    - "within": 1 where |`of[0]`| is at most `numbers[0]`, else 0
    """

    def slope(self, function: str, s: Expression, v: Expression) -> Expression:
        f, clip = self._functions.named(function), self._functions.clip_of(function)
        match f.name:
            case "sigmoid":
                made = v * self.rest(v)
            case "tanh":
                made = self.rest(v * v)
            case "exp":
                made = v
            case name:
                limited = s if clip is None else Expression("limit", (s,), numbers=(clip,))
                numbers = tuple(getattr(f, number) for number in (KINDS | FIXED)[name].numbers)
                made = Expression(f"{name}'", (limited,), numbers=numbers)
        return made if clip is None else made * Expression("within", (s,), numbers=(clip,))

    def transposed(self, weight: str, g: Expression) -> Expression:
        """A sum of products for each block; for x of a cell without weight_ih, the gradient itself."""
        if weight == "weight_ih" and not self._p.has_projection_of_x:
            return g
        blocks = list(blocks_of(g)) if g.kind == "packed" else [(0, g)]
        rows, units = self._p[weight].shape
        sums = tuple(
            Expression("column", (block,), weight + self._end, start, (block.units or rows,), units)
            for start, block in blocks
            if not block.is_zero
        )
        return sums[0] if len(sums) == 1 else Expression("+", sums)

    def joined(self, blocks: Sequence[Expression | None]) -> Expression:
        zeros = map(zero, self._p.gate_sizes(len(blocks)))
        return self.packed(*(none if block is None else block for none, block in zip(zeros, blocks, strict=True)))

    def times(self, g: Expression, v: Expression) -> Expression:
        """The product, multiplied from left to right, which needs no parentheses."""
        if g.is_zero:
            return g
        return self.times(g, v.of[0]) * v.of[1] if v.kind == "·" else g * v

    def plus(self, g: Expression, other: Expression) -> Expression:
        if "packed" in (g.kind, other.kind):
            sizes = [block.units for block in (g if g.kind == "packed" else other).of]
            return self.packed(*map(self.plus, g.cut(sizes), other.cut(sizes)))
        return other if g.is_zero else g if other.is_zero else g + other

    def minus(self, v: Expression, other: Expression) -> Expression:
        return v - other

    def negative(self, v: Expression) -> Expression:
        return Expression("number", numbers=(-1.0,)) * v

    def one(self) -> Expression:
        return Expression("number", numbers=(1.0,))

    def before(self, c: Expression, after: Expression) -> Expression:
        del after
        return c


@dataclass(frozen=True)
class OuterProduct:
    """What one step adds to the gradient of a weight: `left` ⊗ `right`, where `left` has an expression for each block
    of the weight's rows, None for zero."""

    weight: str
    left: tuple[Expression | None, ...]
    right: Expression


@dataclass(frozen=True)
class ChainRule:
    """The gradients of one step of a layer and direction. Kinds of leaves that equations of values do not have:

    - "gradient": dL/d of the quantity or pre-activation called `name`
    - "after": what came to the state called `name` from outside of the step

    `gradients` has dL/d of every quantity and pre-activation, `x` dL/dx, `state` what the step gives to each state
    before it, `peepholes` what it adds to the gradient of each block of weight_ch, `parameters` to that of each
    parameter of the cell's own. `values` are the equations of the pre-activations themselves.
    """

    gradients: dict[str, Expression]
    x: Expression
    state: dict[str, Expression]
    products: tuple[OuterProduct, ...]
    peepholes: tuple[Expression, ...]
    parameters: dict[str, Expression]
    values: dict[str, Expression]


def chain_rule(spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> ChainRule:
    """The chain rule of one layer and direction, by the cell's own lines."""
    p, cell = LayerParameters.of(parameters, layer, direction, spec), spec.cell_type
    a = BackwardRecorder(p, len(cell.gates), spec.nonlinearity_of(direction), suffix(layer, direction))
    tape, x = Tape(a, len(cell.gates)), given(spec, "x", layer)
    start = Node(tape, a.input(x), gate=WHOLE)
    state = {name: Node(tape, given(spec, name, layer)) for name in cell.states}
    made = made_on(tape, cell, start, list(state.values()))
    pre = dict(zip(names_of_pre_activations(cell), pre_activations(start), strict=True))
    nodes = {name: made[name] for name in reversed(cell.quantities)} | pre
    pull = Pull(tape, {made[name]: replace(given(spec, name, layer), kind="after") for name in cell.states})
    found = {name: pull(node) or ZERO for name, node in nodes.items()}
    values = {name: node.value for name, node in nodes.items()}
    named = names_of(found, "gradient") | names_of(values, "quantity")

    def gradient(node: Node) -> Expression:
        return by_name(pull(node) or ZERO, named)

    def itself(name: str, g: Expression) -> Expression:
        known = named.get(g)
        return known if known and known.name != name else written_out(g, named)

    products = [(weight, of, pull(result)) for weight, of, result in tape.products]
    blocks = tuple(by_name(found[name], named) for name in pre)
    return ChainRule(
        gradients={name: itself(name, g) for name, g in found.items()},
        x=a.transposed("weight_ih", a.joined(blocks)),
        state={name: gradient(node) for name, node in state.items()},
        products=(
            OuterProduct("weight_ih", blocks, x),
            *(
                OuterProduct(weight, _factors(g, named), by_name(of.value, named))
                for weight, of, g in products
                if g is not None
            ),
        ),
        peepholes=tuple(map(gradient, tape.peephole_weights)),
        parameters={name: gradient(node) for name, node in tape.parameters.items()},
        values={name: written_out(one.value, named) for name, one in pre.items()},
    )


def _factors(g: Expression, named: LeafOf) -> tuple[Expression | None, ...]:
    blocks = g.of if g.kind == "packed" else (g,)
    return tuple(None if block.is_zero else by_name(block, named) for block in blocks)


def names_of_pre_activations(cell: Cell) -> tuple[str, ...]:
    """s_i, of which σ gives i; s where the cell has one alone."""
    return ("s",) if len(cell.gates) == 1 else tuple(f"s_{gate}" for gate in cell.gates)


def pre_activations(start: Node) -> Iterator[Node]:
    """The pre-activation of each gate, where `start` is W_ih x + b_ih."""
    made, _ = start.uses[0]
    while isinstance(made, Node):  # all gates, packed
        made, _ = made.uses[0]
    for node in made:
        while len(node.uses) == 1 and isinstance(used := node.uses[0][0], Node) and used.gate == node.gate:
            node = used
        yield node


class GradientEvaluation(Evaluation):
    """The gradients of one step, in float64. `known` holds the units of a leaf by its kind and name, `values` the
    equation of one, such as that of a pre-activation."""

    def __init__(
        self,
        gradients: Mapping[str, Expression],
        parameters: Mapping[str, Tensor],
        known: Mapping[tuple[str, str], Floats],
        values: Mapping[tuple[str, str], Expression],
    ) -> None:
        super().__init__(gradients, parameters, {})
        self._known, self._of_leaves = known, values

    def factors(self, one: Expression, unit: int) -> tuple[Floats, Floats, Floats]:
        if one.kind != "column":
            return super().factors(one, unit)
        rows = int(one.numbers[0])
        column: Floats = self._parameters[one.name][one.row : one.row + rows, unit].to(torch.float64, copy=True).numpy()
        vector = self._vector(one.of[0], rows)
        with np.errstate(all="ignore"):
            return column, vector, column * vector

    def _evaluated(self, one: Expression, unit: int) -> float:
        if (one.kind, one.name) in self._known:
            return float(self._known[one.kind, one.name][unit])
        if (one.kind, one.name) in self._of_leaves:
            return self.value(self._of_leaves[one.kind, one.name], unit)
        match one.kind:
            case "gradient":
                return self.value(self._equations[one.name], unit)
            case "column":
                return total(self.factors(one, unit)[2].tolist())
            case "within":
                return float(abs(self.value(one.of[0], unit)) <= one.numbers[0])
            case kind if kind.endswith("'"):
                f = Activation(kind[:-1], *one.numbers)
                s = torch.tensor(self.value(one.of[0], unit), dtype=torch.float64, device="cpu")
                return float(slope(f, None, s, plain(f, None)(s)))
        return super()._evaluated(one, unit)
