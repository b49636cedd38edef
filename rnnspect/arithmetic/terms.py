"""Terms, one step: each unit is a float64 number that knows how it came about, down to what has an address.

A unit is computed when it is asked for, so that a network of any width costs what is read of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnnspect.arithmetic.activations import plain
from rnnspect.cells.functions import KINDS, functions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt
    from torch import Tensor

    from rnnspect.cells.functions import Activation, Nonlinearity
    from rnnspect.cells.interface import Cell
    from rnnspect.network.parameters import LayerParameters

    Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Address:
    """Where a number stands: an entry of a parameter, or a unit of x, of a state or of a gate at one step."""

    name: str
    index: tuple[int, ...]
    step: int | None = None
    """The index in the input; None for what belongs to no step."""

    def __str__(self) -> str:
        return self.of(", ".join(map(str, self.index)))

    def of(self, unit: str) -> str:
        """The same with the index as it is given, such as weight_ih_l0[5, k]."""
        return f"{self.name}[{unit}]" if self.step is None else f"{self.name}[step {self.step}, {unit}]"


@dataclass(frozen=True)
class Term:
    """A number. What has an address can be named where it is used; what was `made` can be taken apart."""

    value: float
    address: Address | None = None
    made: Operation | Applied | Products | None = None


@dataclass(frozen=True)
class Operation:
    """+ of any number of terms, · or − of two."""

    sign: str
    operands: tuple[Term, ...]


@dataclass(frozen=True)
class Applied:
    """A function of a term, with its numbers α and β where it has them; `limit` keeps a term within ± its number."""

    function: str
    numbers: tuple[float, ...]
    operand: Term


@dataclass(frozen=True)
class Product:
    """One weight times one unit; `k` is the unit's place in the sum."""

    k: int
    weight: Term
    operand: Term
    value: float


@dataclass(frozen=True, eq=False)
class Products:
    """Σ w·v, the products of a row of a weight with a vector, as data."""

    weight: str
    row: int
    weights: Array
    vector: Vector = field(repr=False)

    @property
    def values(self) -> Array:
        """Each product, rounded to float64."""
        with np.errstate(all="ignore"):
            products: Array = self.weights * self.vector.values
        return products

    def largest(self, most: int | None = None) -> Iterator[Product]:
        """The largest first, NaN before all."""
        size = np.abs(self.values)
        for k in np.argsort(-np.where(np.isnan(size), np.inf, size), kind="stable")[:most].tolist():
            weight = Term(float(self.weights[k]), Address(self.weight, (self.row, k)))
            yield Product(k, weight, self.vector.at(k), float(self.values[k]))


class Vector:
    """Units that are computed when they are asked for."""

    def __init__(self, units: int, make: Callable[[int], Term]) -> None:
        self.units = units
        self._make = make
        self._made: dict[int, Term] = {}
        self._name: tuple[str, int] | None = None

    def call(self, name: str, step: int) -> None:
        """From now on each unit is known by this name, unless it has an address already."""
        self._name = name, step
        self._made.clear()

    def at(self, unit: int) -> Term:
        if unit not in self._made:
            term = self._make(unit)
            if self._name is not None and term.address is None:
                name, step = self._name
                term = replace(term, address=Address(name, (unit,), step))
            self._made[unit] = term
        return self._made[unit]

    @cached_property
    def values(self) -> Array:
        return np.array([self.at(unit).value for unit in range(self.units)], dtype=np.float64)

    def __add__(self, other: Vector) -> Vector:
        return Vector(self.units, lambda unit: _added(self.at(unit), other.at(unit)))

    def __sub__(self, other: Vector) -> Vector:
        return Vector(self.units, lambda unit: _subtracted(self.at(unit), other.at(unit)))

    def __mul__(self, other: Vector) -> Vector:
        return Vector(self.units, lambda unit: _multiplied(self.at(unit), other.at(unit)))


class Known(Vector):
    """Numbers that are given: x, a state, a bias."""

    def __init__(self, values: Tensor, address: Callable[[int], Address]) -> None:
        known = _array(values)
        super().__init__(len(known), lambda unit: Term(float(known[unit]), address(unit)))
        self.values = known


class Terms:
    """The arithmetic of one layer and direction over terms; `end` is how its parameters' names end: _l0_reverse."""

    def __init__(self, p: LayerParameters, gates: int, nonlinearity: Nonlinearity, end: str) -> None:
        self._p, self._end = p, end
        self._units = p.weight_hh.shape[0] // gates
        self._functions = functions_of(nonlinearity)

    def input(self, x: Vector) -> Vector:
        """W_ih x + b_ih, packed."""
        return self._product("ih", self._p.weight_ih, self._p.bias_ih, x)

    def hidden(self, h: Vector) -> Vector:
        return self._product("hh", self._p.weight_hh, self._p.bias_hh, h)

    def split(self, packed: Vector) -> tuple[Vector, ...]:
        return tuple(self._block(packed, start) for start in range(0, packed.units, self._units))

    def gates(self, wx: Vector, h: Vector) -> tuple[Vector, ...]:
        return self.split(wx + self.hidden(h))

    def sigmoid(self, v: Vector) -> Vector:
        return self._applied("sigmoid", v)

    def tanh(self, v: Vector) -> Vector:
        return self._applied("tanh", v)

    def squash(self, c: Vector) -> Vector:
        return self._applied("squash", c)

    def phi(self, v: Vector) -> Vector:
        return self._applied("phi", v)

    def rest(self, v: Vector) -> Vector:
        return Vector(v.units, lambda unit: _subtracted(Term(1.0), v.at(unit)))

    def peepholes(self) -> tuple[Vector, ...]:
        assert self._p.weight_ch is not None
        return self.split(Known(self._p.weight_ch, lambda at: Address("weight_ch" + self._end, (at,))))

    def lerp(self, n: Vector, h: Vector, z: Vector) -> Vector:
        return n + z * (h - n)

    def carry(self, f: Vector, c: Vector, v: Vector) -> Vector:
        return f * c + v

    def project(self, m: Vector) -> Vector:
        return m if self._p.weight_hr is None else self._product("hr", self._p.weight_hr, None, m)

    def _product(self, name: str, w: Tensor, b: Tensor | None, v: Vector) -> Vector:
        def make(row: int) -> Term:
            products = Products(f"weight_{name}{self._end}", row, _array(w[row]), v)
            found = Term(total(products.values.tolist()), made=products)
            return (
                found if b is None else _added(found, Term(float(b[row]), Address(f"bias_{name}{self._end}", (row,))))
            )

        return Vector(len(w), make)

    def _block(self, packed: Vector, start: int) -> Vector:
        return Vector(self._units, lambda unit: packed.at(start + unit))

    def _applied(self, name: str, v: Vector) -> Vector:
        f: Activation = getattr(self._functions, name)
        clip, function = self._functions.clip_of(name), plain(f, None)
        numbers = tuple(getattr(f, number) for number in KINDS[f.name].numbers)

        def make(unit: int) -> Term:
            s = v.at(unit)
            if clip is not None:
                s = Term(_of(lambda t: t.clamp(-clip, clip), s.value), made=Applied("limit", (clip,), s))
            return Term(_of(function, s.value), made=Applied(f.name, numbers, s))

        return Vector(v.units, make)


def step_of(cell: Cell, a: Terms, x: Vector, state: tuple[Vector, ...], step: int) -> dict[str, Vector]:
    """Every quantity of one step by the cell's own lines; each is known by its name wherever another one uses it."""
    found: dict[str, Vector] = cell.step(a, a.input(x), *state)
    for name, vector in found.items():
        vector.call(name, step)
    return found


def total(values: Iterable[float]) -> float:
    """The sum, rounded once, so that no order of adding matters; where it is not finite, what adding up gives."""
    values = list(values)
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):
        return sum(values)


def below(term: Term) -> Iterator[Term]:
    """What a term is made of that has an address, each once and in reading order, without the units of a sum of
    products."""
    found: dict[Address, Term] = {}
    _collect(term, found)
    yield from found.values()


def _collect(term: Term, found: dict[Address, Term]) -> None:
    for operand in operands_of(term):
        if operand.address is None:
            _collect(operand, found)
        else:
            found.setdefault(operand.address, operand)


def operands_of(term: Term) -> tuple[Term, ...]:
    """What a term was made of in its last step; nothing for a sum of products."""
    match term.made:
        case Operation(_, operands):
            return operands
        case Applied(_, _, operand):
            return (operand,)
    return ()


def _added(p: Term, q: Term) -> Term:
    """Sums of sums are one sum: W_ih x + b_ih + W_hh h + b_hh."""
    operands = (*_addends(p), *_addends(q))
    return Term(total(one.value for one in operands), made=Operation("+", operands))


def _addends(p: Term) -> tuple[Term, ...]:
    if p.address is None and isinstance(p.made, Operation) and p.made.sign == "+":
        return p.made.operands
    return (p,)


def _subtracted(p: Term, q: Term) -> Term:
    return Term(p.value - q.value, made=Operation("−", (p, q)))


def _multiplied(p: Term, q: Term) -> Term:
    return Term(p.value * q.value, made=Operation("·", (p, q)))


def _of(function: Callable[[Tensor], Tensor], value: float) -> float:
    return float(function(torch.tensor(value, dtype=torch.float64)))


def _array(values: Tensor) -> Array:
    """A copy: a derivation stays what it is when the parameters of a live module move on."""
    array: Array = values.detach().to(torch.float64, copy=True).numpy()
    return array
