"""The cell state between two chunks of steps. It was not observed, and is carried on with its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.delta_rule import MatrixErrors
from rnnspect.arithmetic.forms import TermSums
from rnnspect.arithmetic.roundoff import Roundoff


@dataclass(frozen=True)
class State:
    """The cell state (B, H) between two chunks: its value v and error, and the numbers from which h was made."""

    v: Tensor
    e: Tensor
    u: Roundoff
    edge: tuple[Tensor, Tensor, Tensor] | None = None
    """o, how far o may be off, and the engine's h of the same step, where c can be computed back from h = o tanh(c)."""
    sums: TermSums | None = None
    """The sums of its terms' sizes, where many steps may be computed at once."""
    errors: MatrixErrors | None = None
    """For the matrices of a delta rule, the errors of their columns."""

    def number(self, dtype: torch.dtype) -> Number:
        v, e = self._anchored
        own = 2 if v.dtype != dtype == torch.float64 else 1  # a float32 state errs itself, as a correct engine may
        sums = None if self.sums is None else self.sums.each(lambda of: of.to(dtype))
        sums = sums and replace(sums, other=sums.other * own)
        errors = None if self.errors is None else self.errors.times(own, dtype)
        return Number(v.to(dtype), own * e.to(dtype), self.u, sums=sums, errors=errors)

    @cached_property
    def _anchored(self) -> tuple[Tensor, Tensor]:
        """The cell state and its error: computed back from h = o tanh(c) where that is more exact, else as carried."""
        if self.edge is None:
            return self.v, self.e
        (o, oe, h), u = self.edge, self.u
        size = h.abs()
        room = size * (2 * u.stored + u.relative) + o * (KERNEL * u.sums) + (u.tiny + u.absolute)
        high = (size + room) / (o - oe)
        low = h / o
        e = (high - low.abs()).div_(torch.addcmul(torch.ones((), dtype=h.dtype), high, high, value=-1))
        better = (e < self.e) & (oe < o / 2) & (high < 1)
        c = (low.log1p() - low.neg().log1p()).div_(2)  # atanh, whose own kernel is ten times as slow
        return torch.where(better, c, self.v), torch.where(better, e, self.e)

    @classmethod
    def side_by_side(cls, parts: Sequence[State]) -> State | None:
        """The states of several parts of the batch, joined. None where there are none: the cell has no cell state."""
        if not parts:
            return None
        edges = [part.edge for part in parts if part.edge is not None]
        edge = tuple(map(torch.cat, zip(*edges, strict=True))) if edges else None
        v, e = (torch.cat([getattr(part, name) for part in parts]) for name in ("v", "e"))
        sums = [part.sums for part in parts if part.sums is not None]
        errors = MatrixErrors.side_by_side([part.errors for part in parts if part.errors is not None])
        return cls(v, e, parts[0].u, edge, TermSums.joined(sums, partial(torch.cat, dim=-2)) if sums else None, errors)  # type: ignore[arg-type]

    @classmethod
    def ending(cls, c: Number, valid: Tensor | None = None, before: Number | None = None) -> State:
        """The state after the last step of a chunk with these cell states, or after each item's last step in it. Items
        that ended before the chunk keep the state that they had."""
        if valid is None or before is None:
            return cls(c.v[-1], c.each[-1], c.u, sums=c.sums, errors=last_errors(c))
        at = (valid.sum(0) - 1).clamp_(min=0), torch.arange(valid.shape[1])
        over = ~valid.any(0).unsqueeze(1)
        v, e = (torch.where(over, *pair) for pair in ((before.v, c.v[at]), (before.each, c.each[at])))
        return cls(v, e, c.u, sums=c.sums, errors=last_errors(c, (over, before.errors)))

    def of(self, batch: slice, units: slice) -> State:
        """The state of some items of the batch and some units."""
        edge = None if self.edge is None else tuple(a[batch, units] for a in self.edge)
        sums = None if self.sums is None else self.sums.each(lambda of: of[..., batch, units])
        errors = None if self.errors is None else self.errors.each(lambda of: of[batch])
        return State(self.v[batch, units], self.e[batch, units], self.u, edge, sums, errors)  # type: ignore[arg-type]


def last_errors(c: Number, kept: tuple[Tensor, MatrixErrors | None] | None = None) -> MatrixErrors | None:
    """The errors of matrices after the last step of a chunk, which has one step. Items that ended before keep
    theirs."""
    last = None if c.errors is None else c.errors.each(lambda of: of[-1])
    return last if last is None or kept is None else last.kept_where(*kept)


def at_each_step(state: Number, steps: int) -> Number:
    """A state after each step (steps, batch, ·), with a bound for each value. A cell that hands on its state unchanged
    has one state for all steps; h that is handed on as observed has one bound for all values."""
    if state.v.ndim == state.e.ndim == 3:
        return state
    v = state.v if state.v.ndim == 3 else state.v.repeat(steps, 1, 1)
    return replace(state, v=v, e=state.e.expand_as(v).clone())
