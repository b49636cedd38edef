"""The gradient of a parameter: a sum of terms over all steps and items, and its bound.

The sum Σ l r of N terms has an error of at most λ√N·u ‖l‖‖r‖ in any order (`arithmetic/product_bounds.py`); where l and
r have errors themselves, ‖e_l‖‖r‖ + ‖l‖‖e_r‖ is added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.judging.backward.over_rows import memory, norms, products, summed
from rnnspect.judging.chunks import ALL
from rnnspect.judging.finding import worst_and_first


@dataclass(frozen=True)
class Term:
    """Terms of the gradient of a parameter in some steps: left ⊗ right, or left alone; (rows, ·) each."""

    parameter: str
    left: Number
    right: Number | None = None


_PART = 2**16  # values

ParameterGradients = Mapping[str, tuple[Tensor, Tensor]]
"""By parameter its gradient and the bound of each entry, in float64."""
SumsChange = Callable[[ParameterGradients], ParameterGradients]
"""From the gradients by the equations to those of an engine with a known mistake."""


@dataclass(frozen=True)
class SumEntry:
    """An entry of a parameter's gradient, by its row and column (none of a vector), with both values."""

    place: tuple[int, ...]
    manual: float
    engine: float
    bound: float
    ratio: float


@dataclass(frozen=True)
class SumFinding:
    """What was found in the gradient of a parameter."""

    parameter: str
    worst: SumEntry
    """The one that is nearest to its bound."""
    first: SumEntry | None
    """The first one above its bound, row by row; None where there is none."""
    wrong: int
    """How many entries are above their bound."""
    count: int
    unjudged: int = 0
    """How many entries are beyond the range of the engine's dtype."""

    @property
    def ratio(self) -> float:
        return self.worst.ratio


@dataclass(frozen=True)
class _Product:
    """‖·‖ over the terms of one product, for each row or column."""

    left: Tensor
    right: Tensor
    left_error: Tensor
    right_error: Tensor

    def joined(self, more: _Product) -> _Product:
        return _Product(
            torch.hypot(self.left, more.left),
            torch.hypot(self.right, more.right),
            torch.hypot(self.left_error, more.left_error),
            torch.hypot(self.right_error, more.right_error),
        )


@dataclass
class Sums:
    """The sums over the steps so far, by parameter."""

    u: Roundoff
    limit: float = math.inf
    """The largest number of the engine's dtype."""
    values: dict[str, Tensor] = field(default_factory=dict)
    terms: dict[str, int] = field(default_factory=dict)
    _products: dict[tuple[str, int], _Product] = field(default_factory=dict)
    _sizes: dict[str, Tensor] = field(default_factory=dict)
    _seen: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)
    """Results for tensors that several terms of some steps have in common."""

    def add(self, terms: list[Term]) -> None:
        counts: dict[str, int] = {}
        pairs = [(term.left.v, None if term.right is None else term.right.v) for term in terms]
        for term, product in zip(terms, products(pairs), strict=True):
            at = counts.get(term.parameter, 0)
            counts[term.parameter] = at + 1
            if term.right is None or product is None:
                self._add_vector(term)
            else:
                self._add(term.parameter, product)
                self._add_norms(term, at, term.right)
            if not at:
                self.terms[term.parameter] = self.terms.get(term.parameter, 0) + len(term.left.v)
        self._seen.clear()

    def _add_vector(self, term: Term) -> None:
        v = term.left.v
        size = self._of(v, "abs", lambda v: summed(v, Tensor.abs)) * self._unit(1)
        error = term.left.e.sum(0).double() if term.left.e.dim() else torch.zeros_like(size)
        name, value = term.parameter, self._of(v, "sum", lambda v: v.sum(0).double()).clone()
        parts = torch.stack([size, error])
        self._add(name, value)
        self._sizes[name] = parts if name not in self._sizes else self._sizes[name] + parts

    def _add_norms(self, term: Term, at: int, right: Number) -> None:
        left, name = term.left, term.parameter
        one, other = (self._of(v, "norms", norms) for v in (left.v, right.v))
        new = _Product(one, other, _error(left), _error(right))
        old = self._products.get((name, at))
        self._products[name, at] = new if old is None else old.joined(new)

    def _add(self, name: str, value: Tensor) -> None:
        self.values[name] = self.values[name].double().add_(value) if name in self.values else value

    def _of(self, v: Tensor, what: str, made: Callable[[Tensor], Tensor]) -> Tensor:
        key = what, *memory(v)
        if key not in self._seen:
            self._seen[key] = made(v)
        return self._seen[key]

    def _unit(self, terms: int) -> float:
        return LAMBDA * math.sqrt(terms + 2) * self.u.sums

    def known(self, steps: int) -> ParameterGradients:
        """The gradient of every parameter and the bound of each entry; `steps` is how many steps were added up one
        after the other."""
        return {name: self._known(name, steps) for name in self.values}

    def _known(self, name: str, steps: int) -> tuple[Tensor, Tensor]:
        value = self.values[name].contiguous().double()
        return value, self._bound(name, value, steps)

    def _bound(self, name: str, value: Tensor, steps: int, rows: slice = ALL) -> Tensor:
        """The bound in some rows, whose gradient is `value`, in its dtype. What is too small for that dtype is lost, so
        that a bound may be too small, never too large."""
        terms = self.terms[name]
        unit = self._unit(terms) + 2 * self.u.stored
        if self.u.coarse:  # a sum that is stored at each step may stop growing
            unit += steps * self.u.stored
        bound: Tensor = value.abs().mul_(self.u.stored).add_(terms * self.u.tiny)
        largest = min(self.u.largest, self.limit)
        if name in self._sizes:
            size, error = self._sizes[name][:, rows].to(value.dtype)
            bound = torch.add(bound, error).add_(size, alpha=unit / self._unit(1))
            return bound.masked_fill_(size / self._unit(1) > largest, math.inf)
        most: list[tuple[Tensor, Tensor]] = []
        for (of, _), one in self._products.items():
            if of == name:
                left, left_error = one.left[rows].to(value.dtype), one.left_error[rows].to(value.dtype)
                right, right_error = one.right.to(value.dtype), one.right_error.to(value.dtype)
                relative = unit + 4 * self.u.products
                # A gradient that is shown as zero may be one that was lost by underflow, and h be large beside it.
                lost = math.sqrt(terms) * self.u.tiny / relative
                bound.addr_(left + lost, right + lost, alpha=relative)
                if bool(left_error.any()):
                    bound.addr_(left_error, right + right_error)
                if bool(right_error.any()):
                    bound.addr_(left, right_error)
                most.append((left, right))  # no partial sum is above their product
        if sum(float(left.amax()) * float(right.amax()) for left, right in most) <= largest:
            return bound
        within = torch.stack([torch.outer(*one) for one in most]).sum(0) <= largest  # not where it is 0 times infinity
        return bound.masked_fill_(~within, math.inf)

    def findings(
        self,
        engine: Mapping[str, Tensor],
        steps: int,
        change: SumsChange | None,
        again: Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor]],
    ) -> Iterator[SumFinding]:
        """Compares the engine's gradients. `again` (`sums_again.py`) is called where an entry is above its bound."""
        changed = None if change is None else change(self.known(steps))
        for name in self.values if changed is None else changed:
            if (given := engine.get(name)) is None:
                continue
            if changed is None and (inside := self._inside(name, given, steps)) is not None:
                yield inside
                continue
            value, bound = self._known(name, steps) if changed is None else changed[name]
            theirs = given.reshape(value.shape)  # that of a matrix of a cell's own is summed row by row
            ratio, beyond = compared(value, theirs, bound, self.limit)
            if float(ratio.amax()) > 1 and changed is None:
                value, more = again(name, value, ratio)
                bound = bound + more
                ratio, beyond = compared(value, theirs, bound, self.limit)
            shape = _table(given).shape
            value, theirs, bound, ratio = (one.reshape(shape) for one in (value, theirs, bound, ratio))
            yield _found(name, value, theirs, bound, ratio, int(beyond.sum()))

    def _inside(self, name: str, given: Tensor, steps: int) -> SumFinding | None:
        """The finding where every entry is inside its bound; else None. Computed in the dtype of the sums, in
        parts that stay in the cache."""
        values, worst = self.values[name].contiguous(), None  # transposed at once: part by part takes longer
        theirs, width = given.reshape(values.shape), values[0].numel()
        few = max(1, _PART // width)
        for start in range(0, len(values), few):
            rows = slice(start, start + few)
            value = values[rows]
            bound = self._bound(name, value, steps, rows)
            ratio = (value - theirs[rows]).abs_().div_(bound)
            if not (top := float(ratio.amax())) <= 1:
                return None
            if worst is None or top > worst.ratio:
                at = int(ratio.argmax())
                place = _place(start * width + at, _table(given))
                worst = SumEntry(place, *(float(one.flatten()[at]) for one in (value, theirs[rows], bound, ratio)))
        assert worst is not None, "a parameter has entries"
        return SumFinding(name, worst, None, 0, values.numel())


def _table(given: Tensor) -> Tensor:
    """A parameter's gradient as a matrix, whatever its dimensions; a vector as it is."""
    return given.flatten(1) if given.dim() > 1 else given


def _place(at: int, table: Tensor) -> tuple[int, ...]:
    return tuple(int(n) for n in np.unravel_index(at, tuple(table.shape)))


def compared(value: Tensor, engine: Tensor, bound: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """|difference| / bound, and which entries are beyond the range of the dtype: for these the ratio is 0, as they
    cannot be judged."""
    ratio = (value - engine).abs_().div_(bound)
    if float(ratio.amax()) <= 1:
        return ratio, torch.zeros((), dtype=torch.bool)
    ratio[value == engine] = 0
    ratio[ratio.isnan()] = torch.inf
    beyond = ~(value.abs() + bound <= limit) & ~(ratio <= 1)
    ratio[beyond] = 0
    return ratio, beyond


def _found(name: str, value: Tensor, engine: Tensor, bound: Tensor, ratio: Tensor, beyond: int) -> SumFinding:
    def entry(at: int) -> SumEntry:
        place = _place(at, ratio)
        return SumEntry(place, *(float(one[place]) for one in (value, engine, bound, ratio)))

    worst, over = worst_and_first(ratio)
    first = None if over is None else entry(over)
    wrong = 0 if over is None else int((ratio > 1).sum())
    return SumFinding(name, entry(worst), first, wrong, value.numel(), beyond)


def _error(one: Number) -> Tensor:
    return norms(one.e) if one.e.dim() else torch.zeros(one.v.shape[1], dtype=torch.float64)
