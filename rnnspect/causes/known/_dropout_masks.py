"""Finds which elements of an input, or of h before a step, dropout set to zero, from what a layer computed with it."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.cells.functions import Nonlinearity
from rnnspect.cells.interface import Cell
from rnnspect.judging.layer import cast
from rnnspect.network.parameters import LayerParameters

FEW = 10
"""For an input of at most so many elements every possible mask is tried."""
USUAL = tuple(n / 20 for n in range(1, 20))
"""The values of p that are tried then, where no other is given."""
MANY = 512
"""No mask is looked for in a larger input or h: each step would take seconds."""
_STARTS, _ITERATIONS = 8, 24
_HOPELESS_AFTER, _HOPELESS = 4, 0.1
"""If after so many iterations so much of the difference is left, it has another cause, or the start was bad."""
_STUCK = 6
"""The iteration ends, too, where the difference was not halved so many times in a row: up to 5 such times were seen
before a mask was found."""
_LOOKS = 2
"""In how many batch items p is looked for: each costs time, also in a run that differs for another reason."""
_SOLVED, _STILL = 1e-9, 1e-6
"""The iteration ends where h comes no nearer than this, or the factors change by no more than this."""
_MEASURED = 1e-5
"""How precisely 1/(1 − p) can be found at best."""
_KNOWN = 0.05
"""How near to 0 or 1/(1 − p), relative, an element's factor has to be found, and for what share of the factors it need
not be: elements that hardly change h are not found well."""


class Equations:
    """One step of one layer and direction, in float64, for rows of (input, state)."""

    def __init__(self, cell: Cell, p: LayerParameters, nonlinearity: Nonlinearity) -> None:
        self.cell, self.p = cell, cast(p, torch.float64)
        self.nonlinearity = nonlinearity
        self._a = Numbers(replace(self.p, weight_hr=None), len(cell.gates), nonlinearity)

    def step(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The next state, its h not projected, from u = W_ih x + b_ih (rows, G·H) and the state before (rows, ·)."""
        found = self.cell.step(self._a, u, *state)
        return tuple(found[name] for name in self.cell.states)

    def input(self, x: Tensor) -> Tensor:
        """W_ih x + b_ih."""
        return self._a.input(x)

    def projected(self, h: Tensor) -> Tensor:
        return h if self.p.weight_hr is None else linear(h, self.p.weight_hr)

    def slopes(self, u: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """h of each row (R, P), and ∂h/∂x (R, P, I) by finite differences. A unit's h depends only on its own u, so
        that u of all units of a gate can be shifted at once."""
        gates, by, rows = len(self.cell.gates), 1e-6, len(u)
        moved = u.repeat(1 + gates, 1, 1).view(1 + gates, rows, gates, -1)
        for gate in range(gates):
            moved[1 + gate, :, gate] += by
        state = tuple(s.repeat(1 + gates, 1) for s in state)
        h, *others = self.step(moved.flatten(2).flatten(0, 1), state)[0].view(1 + gates, rows, -1)
        w = self.p.weight_ih.view(gates, h.shape[1], -1)
        slopes = torch.einsum("grh,ghi->rhi", (torch.stack(others) - h) / by, w)
        return self.projected(h), slopes if self.p.weight_hr is None else self.p.weight_hr @ slopes


@dataclass(frozen=True)
class Step:
    """One step of a few batch items in one direction: the state before it, and h after it, each (B, ·) in float64."""

    of: Equations
    state: tuple[Tensor, ...]
    after: Tensor

    def items(self, at: Tensor) -> Step:
        return Step(self.of, tuple(s[at] for s in self.state), self.after[at])

    def h(self, x: Tensor) -> Tensor:
        """h by the equations for x (R, I)."""
        return self.of.projected(self.of.step(self.of.input(x), self.state)[0])

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.of.slopes(self.of.input(x), self.state)


@dataclass(frozen=True)
class StateStep(Step):
    """As `Step`, for dropout of h before the step. `state` is the rest of the state before it."""

    u: Tensor
    """W_ih x + b_ih, (B, G·H)."""

    def items(self, at: Tensor) -> StateStep:
        return StateStep(self.of, tuple(s[at] for s in self.state), self.after[at], self.u[at])

    def h(self, x: Tensor) -> Tensor:
        return self.of.projected(self.of.step(self.u, (x, *self.state))[0])

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As in `Step`; but all units depend on each element of h, so that one element is shifted at a time."""
        size, by = x.shape[1], 1e-6
        moved = torch.cat([torch.zeros(1, size, dtype=x.dtype), by * torch.eye(size, dtype=x.dtype)])
        each = self.items(torch.arange(len(x)).repeat_interleave(1 + size))
        h = each.h((x.unsqueeze(1) + moved).flatten(0, 1)).view(len(x), 1 + size, -1)
        return h[:, 0], ((h[:, 1:] - h[:, :1]) / by).mT


def telling(steps: list[Step]) -> Tensor:
    """How many values of each row's h depend on the input: those at 0, as relu gives, or at ±1, the ends of tanh, do
    not."""
    after = torch.cat([step.after for step in steps], 1)
    return ((after != 0) & ((after.abs() - 1).abs() > 2.0**-8)).sum(1)


def is_readable(steps: list[Step], inputs: int) -> bool:
    """Whether a mask can be found: for few elements, or for at most as many as h has values that depend on them, and at
    most `MANY`."""
    told = sum(step.after.shape[1] for step in steps)
    unclear = any(step.of.cell.mixes and not isinstance(step, StateStep) for step in steps)
    return inputs <= FEW or (inputs <= min(told, MANY) and not unclear)


def probability(steps: list[Step], x: Tensor, usual: tuple[float, ...], room: float) -> float | None:
    """The p of dropout in x (B, I), from the first item in which it can be found; None if there is none. `room` is how
    far h of a correct engine may be off."""
    for item in range(min(len(x), _LOOKS)):
        at = torch.tensor([item])
        one, values = [step.items(at) for step in steps], x[at]
        if x.shape[1] <= FEW:
            found = [(*_tried(one, values, 1 / (1 - p)), p) for p in usual]
            fitting = [(float(off), p) for mask, off, p in found if off <= room and bool(mask.any())]
            if fitting:
                return min(fitting)[1]
            continue
        factors, off = solved(one, values, torch.ones_like(values), room)
        seen = factors[values != 0]
        kept = seen[seen > 0.5]
        if not off <= max(room, _SOLVED) or not len(kept):
            continue
        scale = kept.median()
        near = torch.minimum((seen - scale).abs(), seen.abs()) < _KNOWN * scale
        if near.double().mean() >= 1 - _KNOWN:
            return said_by(float(scale), room)
    return None


def said_by(scale: float, room: float) -> float:
    """The simplest p near a measured 1/(1 − p), as people would write it."""
    p, room = 1 - 1 / scale, max(room, _MEASURED)
    near = (n / parts for parts in (*range(2, 21), 100) if abs((n := round(p * parts)) / parts - p) <= room)
    return next(near, round(p, 3))


def masks(steps: list[Step], x: Tensor, p: float, room: float) -> tuple[Tensor, Tensor]:
    """Which elements of x were kept (B, I), and for which items the mask was found (B,)."""
    scale = 1 / (1 - p)
    if x.shape[1] <= FEW:
        mask, off = _tried(steps, x, scale)
        return mask, off <= room
    mask, off = _rounded(steps, x, scale, torch.ones_like(x), room)
    draw = torch.Generator().manual_seed(0)
    for item in (off > room).nonzero().flatten().tolist():
        at = torch.full((_STARTS,), item)
        starts = scale * (torch.rand(_STARTS, x.shape[1], generator=draw, dtype=x.dtype) > p)
        found, offs = _rounded([step.items(at) for step in steps], x[at], scale, starts, room)
        mask[item], off[item] = found[offs.argmin()], offs.min()
    return mask, off <= room


def _rounded(steps: list[Step], x: Tensor, scale: float, start: Tensor, room: float) -> tuple[Tensor, Tensor]:
    factors, _ = solved(steps, x, start, room)
    mask = factors > scale / 2
    return mask, difference(steps, x * mask * scale)


def _tried(steps: list[Step], x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The best of all possible masks for each row, and the difference of h that it leaves."""
    every = _every(x.shape[1])
    rows = torch.arange(len(x)).repeat_interleave(len(every))
    off = difference([step.items(rows) for step in steps], x[rows] * every.repeat(len(x), 1) * scale)
    least, best = off.view(len(x), -1).min(1)
    return every[best], least


@functools.cache
def _every(inputs: int) -> Tensor:
    return (torch.arange(2**inputs).unsqueeze(1) >> torch.arange(inputs)) & 1 == 1


def difference(steps: list[Step], x: Tensor) -> Tensor:
    """The largest difference of each row's h from what x (rows, I) gives."""
    return _off(steps, x).amax(1)


def bits_shown(steps: list[Step], x: Tensor, room: float) -> Tensor:
    """(rows,): how many bits of each row's h the input as it is does not explain. Values that it gives within the
    `room` of a correct engine count 0."""
    return (_off(steps, x) / room).log2().clamp_(min=0).nan_to_num_(0).sum(1)


def _off(steps: list[Step], x: Tensor) -> Tensor:
    each = [(s.h(x) - s.after).abs() for s in steps]
    return torch.cat(each, 1)


def solved(steps: list[Step], x: Tensor, factors: Tensor, room: float) -> tuple[Tensor, Tensor]:
    """The factor for each element of x with which the equations give h, by the Levenberg-Marquardt method; and the
    difference of h that is left."""

    def linearised(factors: Tensor) -> tuple[Tensor, Tensor]:
        found = [(*s.slopes(x * factors), s.after) for s in steps]
        off = torch.cat([h - after for h, _, after in found], 1)
        return off, torch.cat([slopes for _, slopes, _ in found], 1) * x.unsqueeze(1)

    off, slopes = linearised(factors)
    first = difference(steps, x)
    damping = torch.full((len(x), 1, 1), 1e-2, dtype=x.dtype)
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    least, stuck = off.abs().amax(1), torch.zeros(len(x))
    for iteration in range(1, _ITERATIONS + 1):
        square = slopes.mT @ slopes
        size = square.diagonal(dim1=1, dim2=2).mean(1).view(-1, 1, 1)
        move, _ = torch.linalg.solve_ex(square + damping * size * eye, slopes.mT @ off.unsqueeze(2))
        there = factors - move.squeeze(2)
        off_there, slopes_there = linearised(there)
        better = off_there.square().sum(1) < off.square().sum(1)
        factors = torch.where(better.unsqueeze(1), there, factors)
        off = torch.where(better.unsqueeze(1), off_there, off)
        slopes = torch.where(better.view(-1, 1, 1), slopes_there, slopes)
        damping = torch.where(better.view(-1, 1, 1), damping / 10, damping * 4)
        left = off.abs().amax(1)
        halved = left <= least / 2
        least, stuck = torch.where(halved, left, least), torch.where(halved, 0, stuck + 1)
        done = (left <= min(room / 16, _SOLVED)) | (move.abs().amax((1, 2)) < _STILL) | (stuck >= _STUCK)
        if iteration >= _HOPELESS_AFTER:
            done |= ~(left <= _HOPELESS * first)
        if bool(done.all()):
            break
    return factors, off.abs().amax(1)
