"""The numbers of expressions at one step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnnspect.arithmetic.activations import plain
from rnnspect.arithmetic.expression import POOLED, Expression
from rnnspect.cells.functions import Activation

Floats = npt.NDArray[np.float64]


def given_of(x: Tensor, h: Tensor, c: Tensor | None) -> dict[str, Floats]:
    """The inputs of a step by name, in float64: x (I), and h (P) and c (H) of the step before."""
    return {name: _array(values) for name, values in (("x", x), ("h", h), ("c", c)) if values is not None}


class Evaluation:
    """The equations of one layer and direction at one step, in float64.

    Each number is computed when it is first asked for, and kept with the weights that went into it: it stays when a
    live module's parameters move on, and a network of any width costs what is read of it.
    """

    def __init__(
        self, equations: Mapping[str, Expression], parameters: Mapping[str, Tensor], given: Mapping[str, Floats]
    ) -> None:
        """`given` is what `given_of` gives."""
        self._equations, self._parameters, self._given = equations, parameters, given
        self._values: dict[tuple[Expression, int], float] = {}
        self._rows: dict[tuple[str, int], Floats] = {}
        self._vectors: dict[Expression, Floats] = {}

    def value(self, one: Expression, unit: int) -> float:
        one, unit = one.place(unit)
        unit = unit - unit % int(one.numbers[0]) if one.kind in POOLED else unit
        if (one, unit) not in self._values:
            self._values[one, unit] = self._evaluated(one, unit)
        return self._values[one, unit]

    def factors(self, one: Expression, unit: int) -> tuple[Floats, Floats, Floats]:
        """The parts of a sum of products: the row of the weight, the vector that it is multiplied with, and the
        products."""
        weights = self._row(one.name, one.row + unit)
        vector = self._vector(one.of[0], len(weights))
        with np.errstate(all="ignore"):
            return weights, vector, weights * vector

    def sums(self, one: Expression, units: int) -> Floats:
        """A sum of products for the first units, by one matrix product: much faster, and each one right up to the
        rounding of adding up."""
        weights = _array(self._parameters[one.name][one.row : one.row + units])
        with np.errstate(all="ignore"):
            sums: Floats = weights @ self._vector(one.of[0], weights.shape[1])
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
                return _of_all(one.kind, self.pooled(one, unit), one.numbers)
        values = [self.value(operand, unit) for operand in one.of]
        match one.kind:
            case "+":
                return total(values)
            case "−":
                return values[0] - values[1]
            case "·":
                return values[0] * values[1]
            case "max" | "larger":
                return _of_two(one.kind, *values)
        s = torch.tensor(values[0], dtype=torch.float64, device="cpu")
        if one.kind == "limit":
            return float(s.clamp(-one.numbers[0], one.numbers[0]))
        return float(plain(Activation(one.kind, *one.numbers), None)(s))

    def pooled(self, one: Expression, unit: int) -> list[float]:
        """All numbers over which the mean or deviation of a unit is taken, block after block."""
        each = int(one.numbers[0])
        among = slice(unit - unit % each, unit - unit % each + each)
        numbers: list[float] = np.concatenate([self._vector(block, among.stop)[among] for block in one.of]).tolist()
        return numbers

    def _vector(self, one: Expression, units: int) -> Floats:
        if len(self._vectors.get(one, ())) < units:
            self._vectors[one] = np.array([self.value(one, unit) for unit in range(units)])
        return self._vectors[one][:units]

    def _row(self, name: str, row: int) -> Floats:
        if (name, row) not in self._rows:
            self._rows[name, row] = _array(self._parameters[name][row])
        return self._rows[name, row]


def _of_all(kind: str, values: list[float], numbers: tuple[float, ...]) -> float:
    """A mean or a deviation of these; the expression's own numbers are the number of units of each block, and ε."""
    if kind == "mean":
        return math.fsum(values) / len(values)
    return math.sqrt(math.fsum(value * value for value in values) / len(values) + numbers[1])


def _of_two(kind: str, v: float, w: float) -> float:
    """The larger one; or 1 where that is v, ½ where both are equal, else 0."""
    if kind == "larger":
        return float(v > w) + float(v == w) / 2
    return math.nan if math.isnan(v + w) else max(v, w)


def largest_first(products: Floats) -> list[int]:
    """The places of the products of a sum in decreasing order of size, NaN first."""
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


def _array(values: Tensor) -> Floats:
    array: Floats = values.detach().to(torch.float64, copy=True).numpy()
    return array
