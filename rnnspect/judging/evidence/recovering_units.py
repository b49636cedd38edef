"""Recovers an engine's parameters from its h by damped Gauss-Newton, unit by unit.

Each step starts from the engine's own h, so that a hidden unit depends only on its own rows of the weights, and all
units are solved side by side. The normal equations of a unit are made once, at our parameters, and again only where
steps no longer make the residual smaller; a step that makes it larger is damped (Marquardt, Journal of the SIAM 11,
1963). Parameters that the numbers do not determine stay at ours: those of an input that never changes; the second of
two biases that are only ever added; and those whose error is as large as the other numbers, as behind a gate that is
shut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import Chunk
from rnnspect.judging.evidence.allowed import allowed
from rnnspect.judging.evidence.elsewhere import OtherLayer
from rnnspect.judging.evidence.linearised import Computed, Steps
from rnnspect.judging.evidence.normal_equations import Columns, Normal
from rnnspect.judging.evidence.order import order_of
from rnnspect.judging.evidence.recovered import (
    Claim,
    PackedRows,
    Recovered,
    explains_as_well,
    like,
    squares,
    unknowns,
    with_second_bias,
)
from rnnspect.judging.evidence.starts import starts_of_units
from rnnspect.judging.evidence.target import FittedVector
from rnnspect.judging.layer import LayerEquations, cast
from rnnspect.network.parameters import LayerParameters

_ROUNDS, _SETTLED, _SLOW = 300, 1e-3, 0.8
"""At most so many steps are made. One that gains a smaller share of the residual is the last for a unit. One that gains
more than _SLOW times what the one before gained asks for new normal equations."""
_LEAST, _MOST = 1e-6, 1e4
"""The limits of the damping, as a share of a column's square."""
_DRAWN, _IN_VAIN, _FEW = 12, 3, 128
"""At most so many starts are drawn, for units of at most so many numbers; none after so many in a row that helped no
unit."""
_QUICK = 32
"""So many numbers, at most, where it is not to be thorough: that takes seconds."""
_AT_ONCE = 2**24
"""How many numbers the normal equations have of the units that are solved side by side."""


def recover_units(
    assumed: Assumption, chunk: Chunk, told: Callable[[int], None], others: Iterable[OtherLayer], thorough: bool = True
) -> Recovered:
    """The parameters as recovered from these steps. `told` is called with how many more units are done; the weights of
    `others` may be a start, and random ones, of a small unit or where it is to be `thorough`."""
    layer, run = assumed.equations, assumed.run
    given, most = Steps.of(chunk, run.c0), squares(allowed(layer, chunk, run.c0))
    ours = cast(assumed.p, torch.float64)
    before = squares(Computed(layer, ours, given).residual())
    start = starts_of_units(layer, ours, others, given, before > most)
    found = _Found.none(ours, before)
    for at in _side_by_side(assumed):
        found.take(_Units(layer, start, given, at, most[at]), told)
    # Far from ours a unit may not find the way by itself; what the others show of the order of columns is a start.
    lost = found.left > most
    again = [_reordered(ours, found.theirs, lost) if bool(lost.any()) else None, ours if start is not ours else None]
    for other in filter(None, again):
        for unit in (found.left > most).nonzero().flatten().tolist():
            found.take(_Units(layer, other, given, slice(unit, unit + 1), most[unit : unit + 1]), told)
    few = unknowns(assumed) <= (_FEW if thorough else _QUICK)
    for tries, other in enumerate(_drawn(ours) if few else ()):
        if not bool((found.left > most).any()) or (tries == _IN_VAIN and torch.equal(found.left > most, lost)):
            break
        for at in _side_by_side(assumed):
            found.take(_Units(layer, other, given, at, most[at]), lambda _units: None)
    lost = found.left > most
    started, ended = float(found.before[~lost].sum()), float(found.left[~lost].sum())
    shrinks = math.sqrt(started / max(ended, 1e-30 * started, 1e-300))
    for unit in lost.nonzero().flatten().tolist():
        found.forget(ours, unit)
    count, units = int(given.inside.sum()), tuple(lost.nonzero().flatten().tolist())
    theirs = with_second_bias(found.theirs, found.error, ours)
    packed = PackedRows.of(assumed.equations)
    return Recovered(assumed.at, packed, ours, theirs, found.error, count, shrinks, units, layer.units)


def claimed_units(assumed: Assumption, chunk: Chunk, found: Recovered, claim: Claim) -> Recovered | None:
    """The parameters with the values of a claim, and the others found again; None where some unit is explained less
    well by them."""
    layer, given = assumed.equations, Steps.of(chunk, assumed.run.c0)
    start, sums = claim.with_open(found), torch.zeros(2, dtype=torch.float64)
    p = like(start)
    for at in _side_by_side(assumed):
        nothing = torch.zeros(at.stop - at.start, dtype=torch.float64)
        freely = _Units(layer, found.theirs, given, at, nothing)
        units = _Units(layer, start, given, at, nothing)
        told, open_ = units.columns_of(found.error).isfinite(), units.columns_of(claim.open)
        units.find(open_ & ~(open_ == told).all(1, keepdim=True))
        counts = told.sum(1), open_.sum(1)
        if not bool(explains_as_well(units.left, freely.left, found.rows, *counts).all()):
            return None
        known = ~torch.tensor([unit in found.lost for unit in range(at.start, at.stop)])
        sums += torch.stack([freely.left[known].sum(), units.left[known].sum()])
        for name, of in units.p.tensors.items():
            p[name][units.rows[: len(of)]] = of
    shrinks = found.shrinks * math.sqrt(float(sums[0] / sums[1].clamp(min=1e-300)))
    return replace(found, theirs=p, shrinks=shrinks)


def _side_by_side(assumed: Assumption) -> Iterator[slice]:
    """The units that are solved together."""
    units = assumed.equations.units
    width = max(1, _AT_ONCE // unknowns(assumed) ** 2)
    for start in range(0, units, width):
        yield slice(start, min(start + width, units))


def _drawn(ours: LayerParameters) -> Iterator[LayerParameters]:
    """Random parameters as large as ours, to start from where ours lead nowhere."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(_DRAWN):
        drawn = like(ours)
        for of in drawn.tensors.values():
            of.copy_(torch.empty_like(of).normal_(generator=draw) * of.square().mean().sqrt())
        yield drawn


def _reordered(ours: LayerParameters, theirs: LayerParameters, lost: Tensor) -> LayerParameters | None:
    """Our parameters with their columns in the order that the units show that were recovered; None where they show
    none."""
    orders = {}
    for name in ("weight_ih", "weight_hh"):
        w, found = ours[name], theirs[name]
        known = ~lost.repeat(len(w) // len(lost))
        if bool(known.any()) and (order := order_of(w[known].t(), found[known].t())) is not None:
            orders[name] = w[:, order]
    return ours.with_changes(**orders) if orders else None


@dataclass
class _Found:
    """What was recovered of all units so far."""

    theirs: LayerParameters
    error: LayerParameters
    before: Tensor
    left: Tensor
    """(H,) each: Σ squares of the residual, before and after."""

    @classmethod
    def none(cls, ours: LayerParameters, before: Tensor) -> _Found:
        return cls(like(ours), like(ours, math.inf), before, torch.full_like(before, math.inf))

    def take(self, units: _Units, told: Callable[[int], None]) -> None:
        """Recovers some units, and keeps the parameters of those that have a smaller residual than before."""
        units.solve(told)
        at = units.slice
        better = units.left < self.left[at]
        self.left[at] = torch.where(better, units.left, self.left[at])
        for name, of in units.p.tensors.items():
            those = better.repeat(len(of) // len(better))
            rows = units.rows[: len(of)][those]
            self.theirs[name][rows], self.error[name][rows] = of[those], units.error[name][those]

    def forget(self, ours: LayerParameters, unit: int) -> None:
        """Sets a unit back to our parameters."""
        for name, of in ours.tensors.items():
            self.theirs[name][unit :: len(self.left)] = of[unit :: len(self.left)]
            self.error[name][unit :: len(self.left)] = math.inf


class _Units:
    """Some hidden units side by side: their present parameters, and the residual. `most` (units,) is the largest
    residual that a correct engine allows."""

    def __init__(self, layer: LayerEquations, ours: LayerParameters, steps: Steps, units: slice, most: Tensor) -> None:
        self._layer, self.slice, self._steps, self._most = layer, units, steps.of_units(units), most
        self._count = units.stop - units.start
        self.rows = (torch.arange(layer.gates)[:, None] * layer.units + torch.arange(units.start, units.stop)).flatten()
        self._ours = like(ours, rows=self.rows)
        self.p = like(self._ours)
        target = self._target(self.p)
        self._columns = Columns(target)
        self.before = self.left = squares(target.residual)
        self._normal: dict[int, Normal] = {}
        self._fixed = torch.zeros_like(self._columns.values(self.p), dtype=torch.bool)
        self.error = like(self._ours, math.inf)

    def solve(self, told: Callable[[int], None]) -> None:
        """Finds the parameters of these units; `told` is called with how many more are done."""
        zero, zeroed = self._zeroed()
        self._step((self.left > 0) & ~zeroed, told)
        told(int(zeroed.sum()))
        errors = self._errors()
        size = self._columns.values(
            self._ours.with_changes(**{n: _typical(of) for n, of in self._ours.tensors.items()})
        )
        wild = (errors > size) & errors.isfinite() & (self.left <= self._most)[:, None]
        if bool(wild.any()):
            errors = self._without(wild | errors.isinf(), errors)
        if bool(zeroed.any()):
            self._columns.put(self.p, torch.where(zeroed[:, None], zero, self._columns.values(self.p)))
            self.left = torch.where(zeroed, 0, self.left)
            errors = torch.where(zeroed[:, None], 0, errors)
        self._columns.put(self.error, errors)

    def columns_of(self, p: LayerParameters) -> Tensor:
        """(units, columns): the numbers of these units in the parameters of a layer."""
        return self._columns.values(like(p, rows=self.rows))

    def find(self, open_: Tensor) -> None:
        """Finds some of the numbers (units, columns); the others stay as they are."""
        self._fixed = ~open_
        self._step(open_.any(1), lambda _units: None)

    def _zeroed(self) -> tuple[Tensor, Tensor]:
        """The columns of units without any weights, and which units give what these would give, but not what ours
        give."""
        zero = like(self._ours)
        nothing = torch.zeros_like(self._columns.values(zero))
        self._columns.put(zero, nothing)
        if zero.bias_ih is not None and zero.bias_hh is not None:
            zero.bias_ih[:] = -zero.bias_hh  # of two biases that come together the second stays at ours
        left = squares(self._target(zero).residual)
        return self._columns.values(zero), (left <= self._most) & (self.before > self._most)

    def _without(self, fixed: Tensor, errors: Tensor) -> Tensor:
        """Finds the other numbers again with those that are `fixed` (units, columns) at ours, and keeps the result
        where it explains no less. Gives the standard errors."""
        free, left = self._columns.values(self.p), self.left
        self.p, self.left, self._fixed = like(self._ours), self.before, fixed
        self._step((self.left > 0) & fixed.any(1), lambda _units: None)
        kept = (self.left <= torch.maximum(2 * left, self._most)) & fixed.any(1)
        errors = torch.where(kept[:, None], self._errors(), errors).masked_fill_(fixed, math.inf)
        self._columns.put(self.p, torch.where(kept[:, None], self._columns.values(self.p), free))
        self.left = torch.where(kept, self.left, left)
        return errors

    def _errors(self) -> Tensor:
        """(units, columns)"""
        errors = torch.full_like(self._columns.values(self.p), math.inf)
        for unit, normal in self._normal.items():
            errors[unit] = normal.errors(float(self.left[unit]))
        return errors

    def _step(self, busy: Tensor, told: Callable[[int], None]) -> None:
        """Gauss-Newton steps of some units (units,). Making normal equations takes a hundred times as long as a step;
        they are made anew only where steps with the old ones no longer become smaller."""
        target = self._target(self.p)
        damping = torch.zeros(self._count, dtype=torch.float64)
        factor, gained = torch.full_like(damping, 2.0), torch.full_like(damping, math.inf)
        old: set[int] = set(range(self._count))  # whose normal equations are to be made
        for _ in range(_ROUNDS):
            if not bool(busy.any()):
                break
            units = busy.nonzero().flatten().tolist()
            for unit in old & {*units}:
                columns = self._columns.of(target, unit).masked_fill(self._fixed[unit], 0)
                self._normal[unit] = Normal(columns, int(self._steps.inside.sum()))
            pulled = self._columns.pulled(target).masked_fill_(self._fixed, 0)
            step = torch.zeros_like(pulled)
            for unit in units:
                step[unit] = self._normal[unit].step(pulled[unit], float(damping[unit]))
            gain = (step * pulled).sum(1)  # of the squares that are left, where all is linear
            tried = like(self.p)
            self._columns.put(tried, step, add=True)
            after = self._target(tried)
            left = squares(after.residual)
            better = busy & (left < self.left)
            self._columns.put(self.p, torch.where(better[:, None], step, 0), add=True)
            settled = busy & ((damping == 0) & (gain <= _SETTLED * self.left) | ~better & (damping > _MOST))
            told(int(settled.sum()))
            stuck = busy & ~settled & (~better | (gain > _SLOW * gained))
            old = {*stuck.nonzero().flatten().tolist()}
            gained = torch.where(stuck, math.inf, gain)
            damping = torch.where(better, damping / 3, (damping * factor).clamp(min=_LEAST))
            damping[damping < _LEAST] = 0
            factor = torch.where(better, 2.0, 2 * factor)
            self.left, busy = torch.where(better, left, self.left), busy & ~settled
            target = after if bool(better.all()) else self._target(self.p)

    def _target(self, p: LayerParameters) -> FittedVector:
        return Computed(self._layer, p, self._steps, self.slice).targets()[0]


def _typical(of: Tensor) -> Tensor:
    """For each number the root mean square of all numbers; infinite where all are zero."""
    return torch.full_like(of, float(of.square().mean().sqrt()) or math.inf)
