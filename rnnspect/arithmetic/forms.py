"""Linear recurrences s' = a ⊙ s + b: their steps can be computed many at a time, and what that may err by.

Chunks, parallel scans, matrices of decays and sums in log space all compute Σ a_t … a_{s+1} b_s, each grouped in its
own way. The bound here holds for any of them. With S_t the sum of the terms' absolute values and A_t that of
(t − s + 1) times theirs, both of which are linear recurrences themselves:

- a term is the product of t − s + 1 numbers, in any order: u A_t; and as much where it is added up step by step;
- n numbers of which it is the sum are added in any order: λ√n·u S_t (`product_bounds`). Terms of less than u S_t no
  longer round anything: of a memory of A_t / S_t steps about 17 times as many are above that;
- in log space L_t = log a_1 + … + log a_t is a rounded sum, and so is the logarithm of the result. What they err by is
  relative to the result: u |L| for each number that is rounded, at both ends of a product and at each step between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.scan import Scan
from rnnspect.cells.interface import Cell

_MEMORIES = 32.0
"""Numbers that a sum is made of, per step of memory: where a decays evenly 17 of them are above its unit roundoff."""
_FEWEST = 8.0


class _Degree:
    """A value of which only the degree in the state of the step before is known: 0, 1, or more."""

    def __init__(self, degree: int) -> None:
        self.degree = degree

    def __add__(self, other: _Degree) -> _Degree:
        return _Degree(max(self.degree, other.degree))

    __sub__ = __add__

    def __mul__(self, other: _Degree) -> _Degree:
        return _Degree(self.degree + other.degree)


_OTHER = 2


class _Degrees:
    """The arithmetic in which a cell's lines say of every value what degree it has."""

    def __init__(self, cell: Cell) -> None:
        self._cell, self.carried = cell, 0
        """The degree of what carries a cell state on, and of what is added to it."""

    def split(self, _packed: Any) -> tuple[_Degree, ...]:
        return (_Degree(0),) * len(self._cell.gates)

    def hidden(self, _h: Any) -> Any:
        return _Degree(_OTHER)  # a product with a matrix: no unit's own recurrence

    def gates(self, _wx: Any, _h: Any) -> tuple[_Degree, ...]:
        return (_Degree(_OTHER),) * len(self._cell.gates)

    def peepholes(self) -> tuple[_Degree, ...]:
        return (_Degree(0),) * len(self._cell.peepholes)

    def constant(self, _name: str) -> _Degree:
        return _Degree(0)

    parameter = constant

    def rest(self, v: _Degree) -> _Degree:
        return v

    def project(self, m: _Degree) -> _Degree:
        return m

    def blocks(self, c: _Degree) -> tuple[_Degree, ...]:
        return (c,) * len(self._cell.cell_state)

    def packed(self, *blocks: _Degree) -> _Degree:
        return _Degree(max(one.degree for one in blocks))

    def spread(self, f: _Degree, _s: _Degree) -> _Degree:
        return f

    def lerp(self, n: _Degree, h: _Degree, z: _Degree) -> _Degree:
        return n + (h + n) * z

    def carry(self, f: _Degree, c: _Degree, v: _Degree) -> _Degree:
        self.carried = max(self.carried, f.degree, v.degree)
        return f * c + v

    def __getattr__(self, _operation: str) -> Callable[..., _Degree]:
        return lambda *values: _Degree(_OTHER if any(getattr(one, "degree", 0) for one in values) else 0)


@functools.cache
def linear_state(cell: Cell) -> str:
    """The state, h or c, that a step gives as a ⊙ state + b with a and b of x alone. Empty where there is none."""
    if cell.torch_name or cell.is_recurrent:
        return ""
    a = _Degrees(cell)
    if not cell.has_cell_state:
        return "h" if cell.step(a, None, _Degree(1))["h"].degree == 1 else ""
    given = cell.step(a, None, _Degree(_OTHER), _Degree(1))
    return "c" if given["c"].degree == 1 and not a.carried else ""


@dataclass(frozen=True)
class TermSums:
    """What is carried from chunk to chunk of steps, (batch, units) each: S and A, and in log space L_t and the sum of
    |term| (|L_s| + |log |b_s||)."""

    size: Tensor
    aged: Tensor
    log: Tensor
    logs: Tensor
    steps: int = 0

    @classmethod
    def begin(cls, size: Tensor) -> TermSums:
        """Before the first step, where the state's absolute value is `size`."""
        none = torch.zeros_like(size)
        return cls(size, none, none, torch.special.entr(size).abs_())


def regrouped(a: Tensor, b: Tensor, before: TermSums, u: Roundoff) -> tuple[Tensor, TermSums]:
    """How far the states after some steps may be off for the way in which they were grouped, (steps, batch, units), and
    the sums after the last of them."""
    f, terms = a.abs(), b.abs()
    decays, steps = Scan(f), before.steps + len(a)
    size = decays(before.size, terms.clone())
    aged = decays(before.aged, size.clone())
    n = aged.div(size).nan_to_num_(0).mul_(_MEMORIES).add_(_FEWEST)
    e = aged.mul(2).addcmul_(n.sqrt_().mul_(LAMBDA), size)
    if not u.logs:
        return e.mul_(u.regrouped), TermSums(size[-1], aged[-1], before.log, before.logs, steps)
    log = f.clamp(min=torch.finfo(f.dtype).tiny).log_().cumsum_(0).add_(before.log)
    far = log.abs()
    logs = decays(before.logs, torch.special.entr(terms).abs_().addcmul_(terms, far))
    depth = torch.arange(before.steps + 1, steps + 1, dtype=f.dtype).log2_().add_(2)  # of adding up so many logarithms
    e.addcmul_(aged, far, value=2)
    e.addcmul_(torch.addcmul(logs, far, size), depth.view(-1, *[1] * (e.dim() - 1)))
    return e.mul_(u.regrouped), TermSums(size[-1], aged[-1], log[-1], logs[-1], steps)
