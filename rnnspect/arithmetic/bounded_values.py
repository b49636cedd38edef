"""A number with its error bound, and a sum of products that is computed when it is asked for: what `Bounded` computes
with.

Values and bounds are (steps, batch, units), bounds absolute. No tensor is written to once a value holds it. Whatever is
computed in place here is memory of its own operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from rnnspect.arithmetic.delta_rule import MatrixErrors
from rnnspect.arithmetic.forms import TermSums
from rnnspect.arithmetic.product_bounds import RowBlock, Rows, affine, squashed
from rnnspect.arithmetic.roundoff import Roundoff


@dataclass(frozen=True, eq=False)
class Number:
    """A value v and its bound e: a correct engine's value is in v ± e."""

    v: Tensor
    e: Tensor
    u: Roundoff
    rows: Rows | None = None
    """The whole vectors, where v is one unit of each."""
    is_gate: bool = False
    """Whether every value is in [0, 1]."""
    errors: MatrixErrors | None = None
    """For matrices of a delta rule, the errors of their columns."""
    sums: TermSums | None = None
    """For a cell state, the sums of its terms' sizes, where many steps may be computed at once (`forms.py`)."""
    added: Tensor | None = None
    """The sum of the sizes of what a gradient was added up from, each of which an engine stores: no sum on the way is
    larger. None where nothing was added."""

    @property
    def size(self) -> Tensor:
        """What no sum on the way to v is larger than."""
        return self.v.abs() if self.added is None else self.added

    def moved(self, move: Callable[[Tensor], Tensor]) -> Number:
        """With all values, and what belongs to each, at other places."""
        e, added = self.e, self.added
        return replace(self, v=move(self.v), e=move(e) if e.dim() else e, added=None if added is None else move(added))

    @property
    def each(self) -> Tensor:
        """The bound of each value: e may be one number for all, as for h that is handed on as observed."""
        return self.e.expand_as(self.v)

    def __add__(self, other: Operand) -> Number:
        return stored(self.v + other.v, self.e + other.e, self.u)

    @property
    def number(self) -> Number:
        """Itself. For a `Product` it is the computed sum."""
        return self

    def __sub__(self, other: Operand) -> Number:
        return stored(self.v - other.v, self.e + other.e, self.u)

    def added_to(self, product: Product) -> Number:
        return product.number + self

    def __mul__(self, other: Operand) -> Number:
        """The product. If one factor is a plain number, it is on the left."""
        v, size = self.v * other.v, self.v if self.is_gate else self.v.abs()
        if self.v.dim() == 0 and float(size) == 1 and float(self.e) == 0:  # a change of sign: nothing is rounded
            return Number(v, other.e.expand_as(v), self.u)
        other_size = other.v.expand_as(v).abs()
        if self.u.coarse:
            return stored(v, other_size.add_(other.e).mul_(self.e).addcmul_(size, other.e), self.u)
        e = other_size.mul_(torch.add(self.e, size, alpha=self.u.stored))  # own error, and the product's rounding
        return Number(v, e.addcmul_(size, other.e).addcmul_(self.e, other.e), self.u)

    def squashed(self, function: str) -> tuple[Tensor, Tensor]:
        """σ or tanh of v, and the bound of v itself."""
        return squashed(self.v, function), self.e


class SumBounds(Protocol):
    """What an arithmetic needs to tell about the error of its sums of products."""

    u: Roundoff

    def allowance(self, terms: tuple[tuple[Rows, RowBlock], ...]) -> Tensor: ...

    def weights_beside(self, rows: Rows, one: RowBlock, other: RowBlock) -> tuple[Tensor, Tensor | None] | None: ...

    def blank(self, v: Tensor, width: int | None = None) -> Tensor: ...


class Product:
    """A sum of products W x + b + W' x' + b' of one gate. It is computed when it is asked for, so that both products
    of a gate land in one buffer, with the function that follows, and share one bound."""

    is_gate, rows, sums = False, None, None

    def __init__(self, a: SumBounds, *terms: tuple[Rows, RowBlock]) -> None:
        self._a, self.terms = a, terms

    def __add__(self, other: Operand) -> Operand:
        return Product(self._a, *self.terms, *other.terms) if isinstance(other, Product) else other.added_to(self)

    def __sub__(self, other: Operand) -> Number:
        return self.number - other

    def __mul__(self, other: Operand) -> Number:
        return self.number * other

    def sum(self, then: str = "none") -> Tensor:
        """f of the sum, (steps, batch, units), in new memory; f is one that `products.squashed` knows."""
        (rows, block), *others = self.terms
        if len(others) == 1 and (joined := self._a.weights_beside(rows, block, others[0][1])):
            v = affine(rows.beside(others[0][0], self._a.blank), *joined, then=then)
        else:
            v = affine(rows.v, block.w, block.b, then="none" if others else then)
            for left, (other, its) in zip(reversed(range(len(others))), others, strict=True):
                v = affine(other.v, its.w, its.b, v, "none" if left else then)
        return v.view(*rows.shape, -1)

    @cached_property
    def allowance(self) -> Tensor:
        """The error of the sum, (steps, batch, units), without what `number` adds for coarse storage and for operands
        that are all cut off in one direction."""
        return self._a.allowance(self.terms).view(*self.terms[0][0].shape, -1)

    @cached_property
    def number(self) -> Number:
        """The sum with its whole bound."""
        u = self._a.u
        if not u.coarse:
            v, e = self.sum(), self.allowance
            return Number(v, torch.add(e, v.abs(), alpha=2 * u.products) if u.products else e, u)
        v, e = torch.zeros(()), self.allowance.clone()
        for rows, block in self.terms:  # each product is stored, with its bias, and their sum
            part = affine(rows.v, block.w, None).view(*rows.shape, -1)
            u.store(part, e)
            if block.b is not None:
                u.store(part.add_(block.b), e)
            v = v + part
            if rows is not self.terms[0][0]:  # the first one is there as it was stored
                u.store(v, e)
        return Number(v, e, u)

    @property
    def v(self) -> Tensor:
        return self.number.v

    @property
    def each(self) -> Tensor:
        return self.number.e

    @property
    def e(self) -> Tensor:
        return self.number.e

    def squashed(self, function: str) -> tuple[Tensor, Tensor]:
        """σ or tanh of the sum, in the same pass where possible, and the bound of the sum itself."""
        if self._a.u.coarse or self._a.u.products:
            return self.number.squashed(function)
        return self.sum(function), self.allowance


Operand = Number | Product
Packed = tuple[Product, ...]
"""One product for each gate."""


def stored(v: Tensor, e: Tensor, u: Roundoff) -> Number:
    """v as an engine stores it. e is overwritten, unless it is one number for many of v."""
    e = e if e.shape == v.shape else e.expand_as(v).clone()
    return Number(v, u.store(v, e), u)
