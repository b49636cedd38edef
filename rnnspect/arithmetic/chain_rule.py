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
from rnnspect.arithmetic.expression import Array, Evaluation, Expression, Recorder, operands_by_name, total
from rnnspect.arithmetic.pull import Pull
from rnnspect.arithmetic.slopes import slope
from rnnspect.arithmetic.tape import WHOLE, Node, Tape
from rnnspect.cells.functions import FIXED, KINDS, Activation
from rnnspect.cells.interface import Cell
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.spec import Spec

ZERO = Expression("number", numbers=(0.0,))


class BackwardRecorder(Recorder):
    """Expressions, with what going back needs (`tape.Backward`). Further kinds of them:

    - a function of `cells.functions.KINDS` with a stroke, such as relu': its derivative at `of[0]`
    - "within": 1 where |`of[0]`| is at most `numbers[0]`, else 0
    - "joined": one packed value of its blocks; it is in no expression that is shown
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
        """A sum of products for each block."""
        blocks = g.of if g.kind == "joined" else (g,)
        places = torch.arange(len(self._p[weight]))
        rows = self._p.split(places, len(blocks)) if len(blocks) > 1 else (places,)
        sums = tuple(
            Expression("column", (block,), weight + self._end, int(own[0]), (len(own),))
            for own, block in zip(rows, blocks, strict=True)
            if block is not ZERO
        )
        return sums[0] if len(sums) == 1 else Expression("+", sums)

    def joined(self, blocks: Sequence[Expression | None]) -> Expression:
        return Expression("joined", tuple(ZERO if block is None else block for block in blocks))

    def times(self, g: Expression, v: Expression) -> Expression:
        """From the left to the right, which needs no parentheses."""
        return self.times(g, v.of[0]) * v.of[1] if v.kind == "·" else g * v

    def plus(self, g: Expression, other: Expression) -> Expression:
        return g + other

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
    of the weight's rows, None where that is zero."""

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
    """Of one layer and direction, by the cell's own lines."""
    p, cell = LayerParameters.of(parameters, layer, direction, spec), spec.cell_type
    a = BackwardRecorder(p, len(cell.gates), spec.nonlinearity_of(direction), suffix(layer, direction))
    tape, x = Tape(a, len(cell.gates)), Expression("given", name="x")
    start = Node(tape, a.input(x), gate=WHOLE)
    state = {name: Node(tape, Expression("given", name=name)) for name in cell.states}
    made: dict[str, Node] = cell.step(tape, start, *state.values())
    pre = dict(zip(names_of_pre_activations(cell), pre_activations(start), strict=True))
    nodes = {name: made[name] for name in reversed(cell.quantities)} | pre
    pull = Pull(tape, {made[name]: Expression("after", name=name) for name in cell.states})
    found = {name: pull(node) or ZERO for name, node in nodes.items()}
    units = {
        node.value: Expression("quantity", name=name) for name, node in nodes.items() if node.value.kind != "given"
    }
    for name, g in found.items():
        if g is not ZERO:
            units.setdefault(g, Expression("gradient", name=name))

    def named(whole: Expression, itself: str = "") -> Expression:
        if whole is ZERO:
            return whole
        known = units.get(whole)
        return known if known and known.name != itself else replace(whole, of=operands_by_name(whole, units))

    products = [(weight, of, pull(result)) for weight, of, result in tape.products]
    blocks = tuple(named(found[name]) for name in pre)
    return ChainRule(
        gradients={name: named(g, name) for name, g in found.items()},
        x=a.transposed("weight_ih", a.joined(blocks)),
        state={name: named(pull(node) or ZERO) for name, node in state.items()},
        products=(
            OuterProduct("weight_ih", blocks, x),
            *(
                OuterProduct(weight, tuple(None if one is ZERO else named(one) for one in _blocks(g)), named(of.value))
                for weight, of, g in products
                if g is not None
            ),
        ),
        peepholes=tuple(named(pull(node) or ZERO) for node in tape.peephole_weights),
        parameters={name: named(pull(node) or ZERO) for name, node in tape.parameters.items()},
        values={name: replace(one.value, of=operands_by_name(one.value, units)) for name, one in pre.items()},
    )


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


def _blocks(g: Expression) -> tuple[Expression, ...]:
    return g.of if g.kind == "joined" else (g,)


class GradientEvaluation(Evaluation):
    """The gradients of one step, in float64. `known` holds the units of a leaf by its kind and name; `values` are the
    equations of the pre-activations."""

    def __init__(
        self,
        gradients: Mapping[str, Expression],
        parameters: Mapping[str, Tensor],
        known: Mapping[tuple[str, str], Array],
        values: Mapping[str, Expression],
    ) -> None:
        super().__init__(gradients, parameters, {})
        self._known, self._pre_activations = known, values

    def factors(self, one: Expression, unit: int) -> tuple[Array, Array, Array]:
        if one.kind != "column":
            return super().factors(one, unit)
        rows = int(one.numbers[0])
        column: Array = self._parameters[one.name][one.row : one.row + rows, unit].to(torch.float64, copy=True).numpy()
        vector = self._vector(one.of[0], rows)
        with np.errstate(all="ignore"):
            return column, vector, column * vector

    def _evaluated(self, one: Expression, unit: int) -> float:
        if (one.kind, one.name) in self._known:
            return float(self._known[one.kind, one.name][unit])
        match one.kind:
            case "gradient":
                return self.value(self._equations[one.name], unit)
            case "quantity":
                return self.value(self._pre_activations[one.name], unit)
            case "column":
                return total(self.factors(one, unit)[2].tolist())
            case "within":
                return float(abs(self.value(one.of[0], unit)) <= one.numbers[0])
            case kind if kind.endswith("'"):
                f = Activation(kind[:-1], *one.numbers)
                s = torch.tensor(self.value(one.of[0], unit), dtype=torch.float64, device="cpu")
                return float(slope(f, None, s, plain(f, None)(s)))
        return super()._evaluated(one, unit)
