"""The equations of one layer and direction over a chunk of steps, with a bound for each value, compared with the
engine's h.

Every step starts from the h that the engine gave for the step before. An LSTM's cell state was not observed: it is
carried from chunk to chunk, with its error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import KERNEL, Bounded
from rnnspect.arithmetic.bounded_values import Number, Packed
from rnnspect.arithmetic.product_bounds import largest
from rnnspect.arithmetic.roundoff import ROUNDOFF, Roundoff
from rnnspect.arithmetic.screen import Screening
from rnnspect.cells.functions import TANH, Nonlinearity, functions_of
from rnnspect.cells.interface import Cell
from rnnspect.cells.trial import is_stepwise
from rnnspect.judging import stabilisers
from rnnspect.judging.cell_state import State, at_each_step, last_errors
from rnnspect.judging.chunks import Chunk, LayerRun, chunks
from rnnspect.judging.finding import PAST_USE, ComparedValues
from rnnspect.judging.overflow import may_overflow, own_may_overflow
from rnnspect.judging.rounding import sizes_of
from rnnspect.network.parameters import LayerParameters


@dataclass(frozen=True)
class ComparedChunk:
    """A chunk compared: the equations' values, the engine's, the bound and |difference| / bound, all of h
    (steps, batch, units)."""

    chunk: Chunk
    c: State | None
    """The cell state that the chunk began with."""
    q: dict[str, Number]
    """Every quantity of the cell by name, with the bound of each value."""
    after: Tensor
    """The engine's h."""
    bound: Tensor
    ratio: Tensor
    most: Tensor | None = None
    """After the quick screening alone: the largest bound of a pre-activation, (steps, batch)."""

    @property
    def values(self) -> ComparedValues:
        return ComparedValues(self.chunk, self.q["h"].v, self.after, self.bound, self.ratio)

    @property
    def top(self) -> float:
        return float(self.ratio.amax())

    @property
    def past_use(self) -> int:
        """How many values have a bound above `PAST_USE`, too wide to say anything."""
        vague = ~(self.bound <= PAST_USE * self.after.abs().clamp(min=1))
        return int((vague & self.chunk.inside.unsqueeze(-1)).sum())


class LayerEquations:
    """The equations of one layer and direction, in float32 and in float64.

    Without u, the roundoff is that of the parameters' dtype.
    """

    def __init__(self, cell: Cell, p: LayerParameters, u: Roundoff | None, nonlinearity: Nonlinearity) -> None:
        self.cell, self.p, self.nonlinearity = cell, p, nonlinearity
        functions = functions_of(nonlinearity)
        own = not cell.torch_name  # a cell of somebody's own, of which nothing is known but its lines
        plain = functions.squash == TANH and functions.clip_of("squash") is None
        self.c_from_h = plain and p.weight_hr is None and not own
        self.stepwise = is_stepwise(cell, nonlinearity)
        self.mixes = cell.mixes or p.weight_hr is not None
        self.u = u or ROUNDOFF[p.weight_ih.dtype]
        self.gates = len(cell.gates)
        self.units, self.gate_sizes = p.units(self.gates), p.gate_sizes(self.gates)
        self.state_units = sum(p.state_sizes(self.gates))
        self.widest = max(self.units, self.state_units)
        self.largest = torch.finfo(p.weight_ih.dtype).max
        self.limit = min(self.largest, self.u.readable)
        narrow = self.u.sums > 2.0**-25
        self.dtype = torch.float32 if narrow else torch.float64
        self.bound_factor = 1 if narrow else 2  # nothing is wider than float64: the reference's own error is added
        self.weights = cast(p, self.dtype)
        self.plain = Bounded(self.weights, self.gates, self.u, nonlinearity)
        screened = self.gates > 1 and p.weight_hr is None and not self.u.coarse and not self.u.products
        screened = screened and functions.are_usual and not cell.variant and not cell.mixes and not own
        self.is_screened = screened

    @cached_property
    def screen(self) -> Screening | None:
        return Screening(self.weights, self.gates, self.u) if self.is_screened else None

    @cached_property
    def wide(self) -> Bounded:
        return Bounded(cast(self.p, torch.float64), self.gates, self.u, self.nonlinearity)

    @property
    def unseen(self) -> Tensor:
        """(gates, units): infinite, which is the resolution of a finding before any shift was tried."""
        return torch.full((self.gates, self.units), torch.inf, dtype=self.dtype)

    @cached_property
    def stabiliser(self) -> int | None:
        """Which block of the cell state keeps exponentials in range (`stabilisers.py`)."""
        own = not self.cell.torch_name and self.cell.has_cell_state and self.u.regrouped
        return stabilisers.stabiliser(self.cell, self.wide, self.nonlinearity) if own else None

    def rounding_more(self, times: float) -> Bounded:
        """The plain arithmetic for an engine whose roundings are so many times as large."""
        return Bounded(self.weights, self.gates, self.u.times(times), self.nonlinearity)

    def one(self, unit: int | None, kind: type[Bounded] = Bounded, u: Roundoff | None = None) -> Bounded:
        """The arithmetic in float64, of one hidden unit alone; of all with None."""
        rows = None if unit is None else torch.arange(self.gates) * self.units + unit
        return kind(cast(self.p, torch.float64, rows), self.gates, u or self.u, self.nonlinearity)

    def compare(self, chunk: Chunk, c: State | None, a: Bounded, unit: int | None = None) -> ComparedChunk:
        """Computes a chunk from the cell state c, or from the observed one, in the arithmetic a, and compares h. `unit`
        is the hidden unit that a computes alone, if it does."""
        c = None if c is None else self._observed(chunk, c, unit)
        after = chunk.after.to(a.dtype)
        error = None if chunk.before_error is None else self.known_to(chunk).to(a.dtype)
        h = a.observed(chunk.before.to(a.dtype), unit, error)
        if unit is not None:
            after = after[..., unit, None]
        wx = a.input(chunk.x.to(a.dtype), None if chunk.error is None else chunk.error.to(a.dtype))
        q = self.stepped(a, wx, h, None if c is None else c.number(a.dtype))
        for name in self.cell.states:
            q[name] = at_each_step(q[name].number, len(after))
        bound = q["h"].e
        if self.u.relative or self.u.absolute:
            bound = torch.add(bound, sizes_of(after), alpha=self.u.relative).add_(self.u.absolute)
        if chunk.regrouped is not None:
            regrouped = chunk.regrouped if unit is None else chunk.regrouped[..., unit, None]
            bound = bound + regrouped.to(a.dtype)
        if self.bound_factor != 1 or a.dtype == torch.float64:  # a second look widens it in place
            bound = bound * self.bound_factor
        ratio = torch.sub(q["h"].v, after, out=a.blank(after)).abs_().div_(bound)
        if chunk.valid is not None:
            ratio.masked_fill_(~chunk.valid.unsqueeze(-1), 0)
        return ComparedChunk(chunk, c, q, after, bound, ratio, a.most if isinstance(a, Screening) else None)

    def compared(self, run: LayerRun, rows: int, a: Bounded | None = None) -> Iterator[ComparedChunk]:
        """The run compared in chunks of at most so many rows, or step by step for cells that need the step before; each
        chunk begins with the cell state that the one before ends with. The default arithmetic is the plain one."""
        c = self.begin(run.c0, run.begun_error)
        for chunk in chunks(run, 1 if self.stepwise else rows):
            compared = self.compare(chunk, c, a or self.plain)
            yield compared
            c = self.after(compared)

    def ended(self, run: LayerRun, c: State | None, rows: int) -> State:
        """The cell state after the last step of a run that begins with c, in such chunks."""
        for chunk in chunks(run, 1 if self.stepwise else rows):
            c = self.after(self.compare(chunk, c, self.plain))
        assert c is not None, "asked of cells with a cell state alone"
        return c

    def _observed(self, chunk: Chunk, c: State, unit: int | None) -> State:
        """The observed cell state that the chunk begins with, for items that have that step; for others c."""
        if chunk.c_before is None or chunk.c_error is None:
            return c
        units = slice(None) if unit is None else slice(unit, unit + 1)
        over = ~chunk.inside[0].unsqueeze(-1)
        v, e = (
            torch.where(over, old, seen[0, :, units].to(old))
            for old, seen in ((c.v, chunk.c_before), (c.e, chunk.c_error))
        )
        return State(v, e, self.u)

    def stepped(self, a: Bounded, wx: Packed, h: Number, c: Number | None) -> dict[str, Number]:
        """Every quantity of the steps of a chunk from the cell state c."""
        state = () if c is None else (c,)
        if c is not None and self.stabiliser is not None:
            return stabilisers.stepped(lambda c: self.cell.step(a, wx, h, c), c, self.stabiliser, a)
        return self.cell.step(a, wx, h, *state)

    def known_to(self, chunk: Chunk) -> Tensor:
        """The precision of h before each step, where the first h was not shown."""
        assert chunk.before_error is not None
        return chunk.before.abs().mul(self.u.relative).add_(self.u.absolute).add_(chunk.before_error)

    def begin(self, c0: Tensor | None, error: tuple[Tensor, ...] | None = None) -> State | None:
        """The initial cell state; None for a cell that has none. `error` is the error of h0 and of c0."""
        if not self.cell.has_cell_state:
            return None
        assert c0 is not None, "a sequence has a c0 wherever the cell has one"
        c0 = c0.to(self.dtype)
        return State(c0, torch.zeros_like(c0) if error is None else error[1].to(c0), self.u)

    def after(self, compared: ComparedChunk, n: int | None = None) -> State | None:
        """The cell state after step n of a chunk; without n, after each item's last step in it."""
        if not self.cell.has_cell_state:
            return None
        valid = compared.chunk.valid if n is None else None
        at: Any = -1 if n is None else n
        if valid is not None:
            at = (valid.sum(0) - 1).clamp_(min=0), torch.arange(valid.shape[1])
        c, h = compared.q["c"].v[at], compared.after[at]
        gate = compared.q["o" if self.c_from_h else "h"]  # h = o tanh(c) tells c back
        o = gate.v[at]
        if compared.most is not None:
            assert compared.c is not None
            e = self._grown(compared, compared.c.e)
            o_error = (0.35 * compared.most[at] + (KERNEL + 1) * self.u.sums).unsqueeze(1)  # σ' ≤ ¼ and its growth
            c, edge = c.clone(), (o.clone(), o_error.expand_as(o), h)  # their memory is the next look's
        else:
            own = 2 if c.dtype == torch.float32 else 1
            lost = ~compared.bound[at].isfinite()  # then c may be anything
            lost = lost.any(-1, keepdim=True) if self.mixes else lost
            e = compared.q["c"].each[at].masked_fill(lost, torch.inf)
            edge = (o, (gate.e[at] * own).masked_fill(lost, torch.inf), h)
        over = kept = None
        if valid is not None and compared.c is not None:  # who ended before this chunk keeps the state that it had
            over, kept = ~valid.any(0).unsqueeze(1), compared.c.number(c.dtype)
            c, e = torch.where(over, kept.v, c), torch.where(over, kept.e, e)
            edge = (edge[0], edge[1].masked_fill(over, torch.inf), edge[2])
        errors = last_errors(compared.q["c"], None if over is None or kept is None else (over, kept.errors))
        sums = compared.q["c"].sums
        sums = sums and replace(sums, other=sums.other.masked_fill(e.isinf(), torch.inf))
        return State(c, e, self.u, edge if self.c_from_h else None, sums, errors)

    def _grown(self, compared: ComparedChunk, e: Tensor) -> Tensor:
        """A bound of the cell state's error after a chunk that was only screened, which had the error e before it."""
        assert compared.most is not None
        assert compared.c is not None
        size = max(largest(compared.q["c"].v), largest(compared.c.v))
        # |∂c'/∂s| ≤ 5/4 + |c|/4 over all gates, and its growth; f ≤ 1 carries it on
        grown = compared.most.sum(0).mul_(1.25 * (1.25 + size / 4))
        return e + grown.add_(len(compared.most) * (2 * KERNEL + 1 + (KERNEL + 2) * size) * self.u.sums).unsqueeze(1)

    def window(self, compared: ComparedChunk, rows: int) -> ComparedChunk:
        """The last few steps of a chunk that was only screened, with the exact bound."""
        if compared.chunk.valid is not None:  # the last steps may be nobody's
            return self.compare(compared.chunk, compared.c, self.plain)
        steps, batch = compared.chunk.x.shape[:2]
        few = slice(None, None, max(1, batch // 4))
        n = max(0, steps - max(1, rows // min(batch, 4)))
        state = self.after(compared, n - 1) if n else compared.c
        few_of = None if state is None else state.of(few, slice(None))
        return self.compare(compared.chunk.cut(n, steps, few), few_of, self.plain)

    def repair(self, compared: ComparedChunk) -> int:
        """Sets the ratios where a value, or perhaps a sum on the way to it, is infinite, NaN or beyond the range of the
        engine's dtype; gives how many cannot be judged. See `ComparedValues.repair`."""
        if not compared.top <= 1:
            chunk = compared.chunk
            lost = self.overflow(chunk.x, chunk.before, chunk.error)
            if lost is not None:
                compared.bound.masked_fill_(lost, torch.inf)
            c = compared.q.get("c")  # where that may exceed the largest number, c and h may be anything
            if c is not None and bool((beyond := ~(c.v.abs() + c.e <= self.largest)).any()):
                compared.bound.masked_fill_(beyond.any(-1, keepdim=True).cumsum(0).bool(), torch.inf)
            if not (self.cell.torch_name or bool(compared.after.isfinite().all())):
                lost = own_may_overflow(self.u, self.largest, lambda u: self._states_with(u, compared))
                compared.bound.masked_fill_(lost, torch.inf)
        return compared.values.repair(self.limit)

    def _states_with(self, u: Roundoff, compared: ComparedChunk) -> list[Number]:
        made = self.compare(compared.chunk, compared.c and replace(compared.c, u=u), self.one(None, u=u))
        return [made.q[name].number for name in self.cell.states]

    def overflow(self, x: Tensor, h: Tensor, error: Tensor | None) -> Tensor | None:
        """(steps, batch, units), or 1 in place of units that depend on each other: where an engine's h, and its cell
        state from there on, may be anything; None where that is nowhere. See `may_overflow`."""
        found = may_overflow(self.p, self.u, x, h, error)
        if found is None:
            return None
        if self.mixes:
            lost = found.any(-1, keepdim=True)
        else:
            lost = found.view(*found.shape[:-1], self.gates, self.units).any(-2)
        return lost.cumsum(0).bool() if self.cell.has_cell_state else lost


def cast(p: LayerParameters, dtype: torch.dtype, rows: Tensor | None = None) -> LayerParameters:
    """The parameters in another dtype; with `rows` only some rows, and without the projection."""

    def of(w: Tensor) -> Tensor:
        # Some products of a matrix that lies otherwise take a thousand times as long (oneDNN).
        return (w if rows is None else w[rows]).to(dtype).contiguous()

    w_hr = None if rows is not None or p.weight_hr is None else of(p.weight_hr)
    b_ih, b_hh = (None if b is None else of(b) for b in (p.bias_ih, p.bias_hh))
    w_ch = p.weight_ch
    if w_ch is not None and rows is not None:  # fewer gates see the cell state than there are
        unit, units = int(rows[0]), p.weight_hh.shape[1]
        w_ch = w_ch[unit::units]
    w_ch = None if w_ch is None else w_ch.to(dtype)
    one = slice(None) if rows is None else slice(int(rows[0]), int(rows[0]) + 1)
    own = {name: w[one].to(dtype).contiguous() for name, w in p.own.items()}
    return type(p)(of(p.weight_ih), of(p.weight_hh), b_ih, b_hh, w_hr, w_ch, own, p.blocks, p.has_projection_of_x)
