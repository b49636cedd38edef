"""Linear recurrences s' = a ⊙ s + b: their steps can be computed many at a time, and what that may err by.

Chunks, parallel scans, matrices of decays and sums in log space all compute Σ a_t … a_{s+1} b_s, each grouped in its
own way. The bound here holds for any of them. With S_t the sum of the terms' absolute values and A_t that of
(t − s + 1) times theirs, both of which are linear recurrences themselves:

- a term is the product of t − s + 1 numbers, in any order: u A_t; and as much where it is added up step by step;
- n numbers of which it is the sum are added in any order: λ√n·u S_t (`product_bounds`). Terms of less than u S_t no
  longer round anything: of a memory of A_t / S_t steps about 17 times as many are above that;
- in log space L_t = log a_1 + … + log a_t is a rounded sum, and so is the logarithm of the result. What they err by is
  relative to the result: u |L| for each number that is rounded, at both ends of a product and at each step between.
  Where sums are known to begin anew after so many steps at most, L is the sum over as many steps back.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.product_bounds import LAMBDA
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.scan import Scan
from rnnspect.cells.interface import Cell

_MEMORIES = 32.0
"""How many numbers a sum effectively has per step of memory: with a constant decay 17 terms are above its unit
roundoff."""
_FEWEST = 8.0


_OTHER = 2


@dataclass(frozen=True)
class _Degree:
    """A value of which only the degree as a polynomial in the state of the step before is known: 0, 1, or more."""

    degree: int
    of: frozenset[int] = frozenset()
    """The blocks of the cell state that it depends on."""
    is_peak: bool = False
    """Whether it is the maximum of two values, one of which depends on the state."""

    def __add__(self, other: _Degree) -> _Degree:
        return _Degree(max(self.degree, other.degree), self.of | other.of, self.is_peak or other.is_peak)

    __sub__ = __add__

    def __mul__(self, other: _Degree) -> _Degree:
        return replace(self + other, degree=self.degree + other.degree)


class _Degrees:
    """An arithmetic in which a cell's lines tell the degree of every value."""

    def __init__(self, cell: Cell, known: frozenset[int]) -> None:
        self._cell, self._known, self.carried = cell, known, 0
        """The largest degree so far of a decay of a cell state, or of what is added to it."""
        self.parts: tuple[_Degree, ...] = ()
        """The blocks of the new cell state."""

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

    def blocks(self, _c: _Degree) -> tuple[_Degree, ...]:
        each = range(len(self._cell.cell_state))
        return tuple(_Degree(0) if at in self._known else _Degree(1, frozenset({at})) for at in each)

    def packed(self, *blocks: _Degree) -> _Degree:
        self.parts = blocks
        return _Degree(max(one.degree for one in blocks))

    def spread(self, f: _Degree, _s: _Degree) -> _Degree:
        return f

    def maximum(self, v: _Degree, w: _Degree) -> _Degree:
        made = v + w
        return replace(made, is_peak=made.degree > 0)

    def lerp(self, n: _Degree, h: _Degree, z: _Degree) -> _Degree:
        return n + (h + n) * z

    def carry(self, f: _Degree, c: _Degree, v: _Degree) -> _Degree:
        self.carried = max(self.carried, f.degree, v.degree)
        return f * c + v

    def carry_complex(self, p: _Degree, q: _Degree, c: _Degree, v: _Degree) -> _Degree:
        return self.carry(p + q, c, v)

    def delta(self, s: _Degree, f: _Degree | None, b: _Degree, k: _Degree, v: _Degree, *_: int, **_h: int) -> _Degree:
        return self.carry(b * k if f is None else f + b * k, s, b * k * v)

    def __getattr__(self, _operation: str) -> Callable[..., _Degree]:
        def other(*values: Any, **named: Any) -> _Degree:
            among = [one for one in (*values, *named.values()) if isinstance(one, _Degree)]
            of = frozenset[int]().union(*(one.of for one in among))
            return _Degree(_OTHER if any(one.degree for one in among) else 0, of)

        return other


@functools.cache
def linear_state(cell: Cell, known: frozenset[int] = frozenset()) -> str:
    """The state, h or c, that a step gives as a ⊙ state + b with a and b of x alone, and of the blocks of the cell
    state that are `known`; of c perhaps once the blocks that are running maxima are known, of each of which the new
    value depends on x and itself alone. Empty where there is none."""
    if cell.torch_name or cell.is_recurrent:
        return ""
    a = _Degrees(cell, known)
    if not cell.has_cell_state:
        return "h" if cell.step(a, None, _Degree(1))["h"].degree == 1 else ""
    peaks = running_maxima(cell, known)
    a = _Degrees(cell, known | peaks)
    given = cell.step(a, None, _Degree(_OTHER), _Degree(1, frozenset({0})))
    return "c" if given["c"].degree == 1 and not a.carried and not any(one.is_peak for one in a.parts) else ""


@functools.cache
def running_maxima(cell: Cell, known: frozenset[int] = frozenset()) -> frozenset[int]:
    """The blocks of the cell state that are the maximum of a sum with their value before, and of something else, and
    that depend only on x and themselves, as m of an mLSTM."""
    if cell.torch_name or cell.is_recurrent or not cell.has_cell_state:
        return frozenset()
    a = _Degrees(cell, known)
    cell.step(a, None, _Degree(_OTHER), _Degree(1, frozenset({0})))
    return frozenset(at for at, one in enumerate(a.parts) if one.degree == 1 and one.is_peak and one.of == {at})


@dataclass(frozen=True)
class TermSums:
    """What is carried from chunk to chunk of steps, (batch, units) each: S and A, and in log space the sum of |term|
    (|L_s| + |log |b_s||). `log` (·, batch, units) has sums of logarithms, less the angles of complex decays, up to
    earlier steps: L_t is the last less the first."""

    size: Tensor
    aged: Tensor
    log: Tensor
    logs: Tensor
    other: Tensor
    """Additional errors of a cell state: those of a and b themselves."""
    steps: int = 0

    @classmethod
    def begin(cls, size: Tensor, other: Tensor | None = None) -> TermSums:
        """Before the first step, where the state's absolute value is `size`."""
        none = torch.zeros_like(size)
        return cls(size, none, none[None], torch.special.entr(size).abs_(), none if other is None else other)

    def along(self, other: TermSums) -> TermSums:
        """For a block that a step hands on unchanged, beside one that it carries: nothing decays in that step."""
        missing = len(other.log) - len(self.log)
        return replace(self, log=torch.cat([self.log, self.log[-1:].expand(missing, *self.size.shape)]))

    def at(self, block: slice) -> TermSums:
        """The sums of some units."""
        return self.each(lambda of: of[..., block])

    @property
    def far(self) -> Tensor:
        """|L_t|"""
        return (self.log[-1] - self.log[0]).abs()

    @staticmethod
    def depth(steps: Tensor) -> Tensor:
        """How many roundings a sum of the logarithms of so many steps has, and the logarithm of the result."""
        return steps.log2().add_(2)

    def each(self, change: Callable[[Tensor], Tensor]) -> TermSums:
        """All fields changed in the same way: some items, or some units."""
        return self.joined([self], lambda of: change(of[0]))

    @classmethod
    def joined(cls, parts: Sequence[TermSums], how: Callable[[list[Tensor]], Tensor]) -> TermSums:
        """The fields of several joined."""
        names = ("size", "aged", "log", "logs", "other")
        made = {name: how([getattr(part, name) for part in parts]) for name in names}
        return cls(**made, steps=max(part.steps for part in parts))


def regrouped(
    a: Tensor, b: Tensor, before: TermSums, u: Roundoff, angle: Tensor | None = None
) -> tuple[Tensor, TermSums]:
    """The errors of the states after some steps because of how the steps may have been grouped, (steps, batch, units),
    and the sums after the last step. For complex decays a is the absolute value, and `angle` the angle."""
    f, terms = a.abs(), b.abs()
    decays, steps = Scan(f), before.steps + len(a)
    size = decays(before.size, terms.clone())
    aged = decays(before.aged, size.clone())
    n = aged.div(size).nan_to_num_(0).mul_(_MEMORIES).add_(_FEWEST)
    e = aged.mul(2).addcmul_(n.sqrt_().mul_(LAMBDA), size).mul_(u.regrouped)
    if not u.logs:
        sums = replace(before, size=size[-1], aged=aged[-1], steps=steps)
        return e, sums
    log = f.clamp(min=torch.finfo(f.dtype).tiny).log_()
    log = (log if angle is None else log.sub_(angle)).cumsum_(0).add_(before.log[-1])
    log = torch.cat([before.log, log])
    far = (log[-len(a) :] - log[_begun(len(before.log), len(log), u)]).abs_()
    logs = decays(before.logs, torch.special.entr(terms).abs_().addcmul_(terms, far))
    depth = TermSums.depth(torch.arange(before.steps + 1, steps + 1, dtype=f.dtype).clamp_(max=u.logs))
    e.addcmul_(aged, far, value=2 * u.sums)
    e.addcmul_(torch.addcmul(logs, far, size), depth.view(-1, *[1] * (e.dim() - 1)), value=u.sums)
    kept = log[[0, -1]] if u.logs == math.inf else log[-int(u.logs) - 1 :]
    return e, TermSums(size[-1], aged[-1], kept, logs[-1], before.other, steps)


def _begun(first: int, stop: int, u: Roundoff) -> Tensor:
    """The sums at the places where those at `first` to `stop` may have begun at the earliest."""
    at = torch.arange(first, stop)
    return torch.zeros_like(at) if u.logs == math.inf else (at - int(u.logs)).clamp_(min=0)
