"""A cell's equations as expressions: recorded once for every unit and step, and evaluated where a number is wanted.

The page of a report evaluates the same expressions: `views/report/expression.js`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnnspect.arithmetic.activations import plain
from rnnspect.arithmetic.expression_matrices import RecorderMatrices
from rnnspect.arithmetic.expression_norms import POOLED, RecorderNorms, of_all, of_two
from rnnspect.cells.functions import CHOSEN, FIXED, KINDS, Activation, Nonlinearity, functions_of
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.spec import Spec

Array = npt.NDArray[np.float64]

SUMS = ("sum", "column")
"""The kinds of expressions that are sums of products."""


@dataclass(frozen=True, eq=False)
class Expression:
    """The number of unit j, for any j. `kind` says what it is:

    - "+" the sum of all `of`; "−" the difference and "·" the product of two
    - "sum": Σ_k w[row + j, k] · v[k], with the weight w called `name`; v[k] is `of[0]` for unit k
    - "column": Σ_k w[row + k, j] · v[k] over `numbers[0]` rows, which is the same by the transposed weight
    - "parameter": entry row + j of the bias, peephole or parameter of the cell's own called `name`
    - "given": unit j of what the step is given, called `name`: x, or h or c of the step before
    - "quantity": unit j of the quantity of the same step called `name`
    - "mean": of `of`, over `numbers[0]` units of each; "deviation": √(mean of their squares + `numbers[1]`)
    - "max" the larger of two; "larger" 1 where the first of two is, ½ where they are equal, else 0
    - "number": `numbers[0]`
    - "limit": `of[0]`, kept within ± `numbers[0]`
    - a function of `cells.functions.KINDS` or `FIXED`: of `of[0]`, with its α and β in `numbers`
    """

    kind: str
    of: tuple[Expression, ...] = ()
    name: str = ""
    row: int = 0
    numbers: tuple[float, ...] = ()

    def __add__(self, other: Expression) -> Expression:
        return Expression("+", (self, other))

    def __sub__(self, other: Expression) -> Expression:
        return Expression("−", (self, other))

    def __mul__(self, other: Expression) -> Expression:
        return Expression("·", (self, other))

    @property
    def operands(self) -> tuple[Expression, ...]:
        """What it is made of at the same unit: nothing for a sum of products, or a mean."""
        return () if self.kind in (*SUMS, *POOLED) else self.of

    def leaves(self) -> Iterator[Expression]:
        """The units, parameters, sums of products and numbers that it is written with, in reading order."""
        if not self.operands:
            yield self
        for operand in self.operands:
            yield from operand.leaves()

    def shifted(self, rows: int) -> Expression:
        """The same with every row of a parameter moved by so many: another block of a packed value."""
        if self.kind in ("sum", "parameter"):
            return replace(self, row=self.row + rows)
        return replace(self, of=tuple(one.shifted(rows) for one in self.of))


Function = Callable[[Expression], Expression]


class Recorder(RecorderMatrices, RecorderNorms):
    """The arithmetic of one layer and direction in which a cell's equations give expressions; `end` is how the names
    of its parameters end, such as _l0_reverse."""

    sigmoid: Function
    tanh: Function
    squash: Function
    phi: Function
    relu: Function
    softplus: Function
    exp: Function
    log: Function
    silu: Function
    reciprocal: Function
    cos: Function
    sin: Function
    elu: Function
    hard_sigmoid: Function

    def __init__(self, p: LayerParameters, gates: int, nonlinearity: Nonlinearity, end: str) -> None:
        self._p, self._gates, self._end = p, gates, end
        self._units = p.units(gates)
        self._functions = functions_of(nonlinearity)
        for name in (*CHOSEN, *FIXED):
            setattr(self, name, self._function(name))

    def input(self, x: Expression) -> Expression:
        """W_ih x + b_ih, packed."""
        return self._product("ih", x, self._p.bias_ih) if self._p.has_projection_of_x else self._refuse()

    def hidden(self, h: Expression) -> Expression:
        return self._product("hh", h, self._p.bias_hh)

    def split(self, packed: Expression) -> tuple[Expression, ...]:
        return self._apart(packed, self._p.split(torch.arange(len(self._p.weight_ih)), self._gates))

    def gates(self, wx: Expression, h: Expression) -> tuple[Expression, ...]:
        return self.split(wx + self.hidden(h))

    def rest(self, v: Expression) -> Expression:
        return Expression("number", numbers=(1.0,)) - v

    def constant(self, name: str) -> Expression:
        return Expression("number", numbers=(self._functions.constant(name),))

    def peepholes(self) -> tuple[Expression, ...]:
        packed = Expression("parameter", name="weight_ch" + self._end)
        return self._apart(packed, torch.split(torch.arange(len(self._p["weight_ch"])), self._units))

    def parameter(self, name: str) -> Expression:
        return Expression("parameter", name=name + self._end)

    def lerp(self, n: Expression, h: Expression, z: Expression) -> Expression:
        return n + z * (h - n)

    def carry(self, f: Expression, c: Expression, v: Expression) -> Expression:
        return f * c + v

    def project(self, m: Expression) -> Expression:
        return m if self._p.weight_hr is None else self._product("hr", m, None)

    def _product(self, name: str, v: Expression, bias: Tensor | None) -> Expression:
        products = Expression("sum", (v,), f"weight_{name}{self._end}")
        return products if bias is None else products + Expression("parameter", name=f"bias_{name}{self._end}")

    @staticmethod
    def _apart(packed: Expression, rows: tuple[Tensor, ...]) -> tuple[Expression, ...]:
        return tuple(packed.shifted(int(block[0])) for block in rows)

    def _function(self, name: str) -> Callable[[Expression], Expression]:
        f, clip = self._functions.named(name), self._functions.clip_of(name)
        numbers = tuple(getattr(f, number) for number in (KINDS | FIXED)[f.name].numbers)

        def applied(v: Expression) -> Expression:
            limited = v if clip is None else Expression("limit", (v,), numbers=(clip,))
            return Expression(f.name, (limited,), numbers=numbers)

        return applied


def input_projection_of(spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> Expression:
    """W_ih x + b_ih of one layer and direction, the rows of all gates one after the other."""
    return _recorder(spec, parameters, layer, direction).input(Expression("given", name="x"))


def equations_of(spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> dict[str, Expression]:
    """The expression of every quantity of one layer and direction, by the cell's own lines. Where one uses another, it
    is written with its name."""
    a, cell = _recorder(spec, parameters, layer, direction), spec.cell_type
    states = [Expression("given", name=name) for name in cell.states]
    found: dict[str, Expression] = cell.step(a, a.input(Expression("given", name="x")), *states)
    units = {one: Expression("quantity", name=name) for name, one in found.items() if one.kind != "given"}
    return {name: replace(one, of=operands_by_name(one, units)) for name, one in found.items()}


def _recorder(spec: Spec, parameters: Mapping[str, Tensor], layer: int, direction: str) -> Recorder:
    p = LayerParameters.of(parameters, layer, direction, spec)
    return Recorder(p, len(spec.cell_type.gates), spec.nonlinearity_of(direction), suffix(layer, direction))


def operands_by_name(whole: Expression, units: Mapping[Expression, Expression]) -> tuple[Expression, ...]:
    """What it is made of, with quantities by their name. Sums of sums are one sum: W_ih x + b_ih + W_hh h + b_hh."""
    made: list[Expression] = []
    for one in whole.of:
        part = units.get(one) or (replace(one, of=operands_by_name(one, units)) if one.of else one)
        made += part.of if part.kind == whole.kind == "+" else (part,)
    return tuple(made)


def given_of(x: Tensor, h: Tensor, c: Tensor | None) -> dict[str, Array]:
    """What a step is given, by name and in float64: x (I), and h (P) and c (H) of the step before."""
    return {name: _array(values) for name, values in (("x", x), ("h", h), ("c", c)) if values is not None}


class Evaluation:
    """The equations of one layer and direction at one step, in float64.

    Each number is computed when it is first asked for, and kept with the weights that went into it: it stays when a
    live module's parameters move on, and a network of any width costs what is read of it.
    """

    def __init__(
        self, equations: Mapping[str, Expression], parameters: Mapping[str, Tensor], given: Mapping[str, Array]
    ) -> None:
        """`given` is what `given_of` gives."""
        self._equations, self._parameters, self._given = equations, parameters, given
        self._values: dict[tuple[Expression, int], float] = {}
        self._rows: dict[tuple[str, int], Array] = {}
        self._vectors: dict[Expression, Array] = {}

    def value(self, one: Expression, unit: int) -> float:
        unit = 0 if one.kind in POOLED else unit
        if (one, unit) not in self._values:
            self._values[one, unit] = self._evaluated(one, unit)
        return self._values[one, unit]

    def factors(self, one: Expression, unit: int) -> tuple[Array, Array, Array]:
        """Of a sum of products: the row of the weight, the vector that it is multiplied with, and the products."""
        weights = self._row(one.name, one.row + unit)
        vector = self._vector(one.of[0], len(weights))
        with np.errstate(all="ignore"):
            return weights, vector, weights * vector

    def sums(self, one: Expression, units: int) -> Array:
        """A sum of products for the first units, by one matrix product: much faster, and each right to the roundings
        of adding up."""
        weights = _array(self._parameters[one.name][one.row : one.row + units])
        with np.errstate(all="ignore"):
            sums: Array = weights @ self._vector(one.of[0], weights.shape[1])
        self._values |= {(one, unit): value for unit, value in enumerate(sums.tolist())}
        return sums

    def _evaluated(self, one: Expression, unit: int) -> float:
        match one.kind:
            case "number":
                return one.numbers[0]
            case "parameter":  # of a matrix of a cell's own one row after the other
                return float(self._parameters[one.name].flatten()[one.row + unit])
            case "given":
                return float(self._given[one.name][unit])
            case "quantity":
                return self.value(self._equations[one.name], unit)
            case "sum":
                return total(self.factors(one, unit)[2].tolist())
            case "mean" | "deviation":
                return of_all(one.kind, self.pooled(one), one.numbers)
        values = [self.value(operand, unit) for operand in one.of]
        match one.kind:
            case "+":
                return total(values)
            case "−":
                return values[0] - values[1]
            case "·":
                return values[0] * values[1]
            case "max" | "larger":
                return of_two(one.kind, *values)
        s = torch.tensor(values[0], dtype=torch.float64, device="cpu")
        if one.kind == "limit":
            return float(s.clamp(-one.numbers[0], one.numbers[0]))
        return float(plain(Activation(one.kind, *one.numbers), None)(s))

    def pooled(self, one: Expression) -> list[float]:
        """All numbers that a mean or a deviation is of, block after block."""
        numbers: list[float] = np.concatenate([self._vector(each, int(one.numbers[0])) for each in one.of]).tolist()
        return numbers

    def _vector(self, one: Expression, units: int) -> Array:
        if one not in self._vectors:
            self._vectors[one] = np.array([self.value(one, unit) for unit in range(units)])
        return self._vectors[one]

    def _row(self, name: str, row: int) -> Array:
        if (name, row) not in self._rows:
            self._rows[name, row] = _array(self._parameters[name][row])
        return self._rows[name, row]


def largest_first(products: Array) -> list[int]:
    """The places of the products of a sum by their size, NaN before all."""
    size = np.abs(products)
    order: list[int] = np.argsort(-np.where(np.isnan(size), np.inf, size), kind="stable").tolist()
    return order


def total(values: Iterable[float]) -> float:
    """The sum, rounded once, so that no order of adding matters; where it is not finite, what adding up gives."""
    values = list(values)
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


def _array(values: Tensor) -> Array:
    array: Array = values.detach().to(torch.float64, copy=True).numpy()
    return array
