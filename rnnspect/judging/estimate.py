"""A layer that nobody observed: stepped in float64, together with a few randomly perturbed replicas.

This is Monte Carlo arithmetic (Parker, Pierce & Eggert 2000). A rigorous bound through a free run grows past use
within twenty steps; the replicas' spread says how far roundings really carry.

Some replicas draw new roundings at every step; together these grow as √T. The others draw theirs once and repeat them:
on an input that hardly changes an engine rounds the same numbers the same way at every step, and where the memory is
long that grows as T.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.numbers import Array, SmallNumbers, one_thread
from rnnspect.arithmetic.product_bounds import length, length4
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.cells.functions import Nonlinearity
from rnnspect.judging.interpretation import Interpretation
from rnnspect.judging.layer import cast
from rnnspect.judging.layer_inputs import zeros
from rnnspect.judging.overflow import may_overflow
from rnnspect.network.parameters import LayerParameters

REPEATED, FRESH = 4, 4
"""Replicas that repeat the roundings of their first step, and those that draw new ones at every step."""
RUNS = 1 + REPEATED + FRESH
"""The exact run comes first, then the replicas that repeat, then the others, of which the last stores what the engine's
dtype holds."""
BLOCK = 64
"""Steps whose products with x are computed together."""
SPREADS = 2.0
"""The layer above is allowed so many times the replicas' spread."""
FINAL_SPREADS = 8.0
"""A final state is compared alone, where the layer above adds up many: a few replicas may all fall close to it. For
replicas that draw new roundings at every step."""
PARTED = 0.5
"""Of the largest ‖h‖ so far. Where roundings have carried replicas so far apart, they are runs of their own: how far
apart they are then says no more where an engine's run is."""
_HALF = {2.0**-11: torch.float16, 2.0**-8: torch.bfloat16}
"""The dtype by its unit roundoff."""
_POOL = 2**18
"""Random numbers that are drawn once and read from places that are drawn each time: drawing takes longer than all
else. An operation that needs more of them draws its own."""
_SMALL = 2**24
"""Multiplications of a step up to which one thread computes it."""


@dataclass(frozen=True)
class Estimate:
    """h (T, B, P) by step of the input, and how far a correct engine's may be; the same of the final state."""

    h: Tensor
    error: Tensor
    final: tuple[tuple[Tensor, Tensor], ...]


class Perturbed(SmallNumbers):
    """Plain numbers of `RUNS` runs, (RUNS · B, units): the first is exact, the others are disturbed at random by as
    much as an engine's roundings may be. What an operation gives is overwritten in its replicas."""

    def __init__(self, p: LayerParameters, gates: int, nonlinearity: Nonlinearity, u: Roundoff, batch: int) -> None:
        super().__init__(p, gates, nonlinearity)
        self._p, self._u, self._batch = p, u, batch
        self._sum = p.terms**0.5 * u.sums + u.stored + u.narrow
        self._norms_hh = length(p.weight_hh).numpy()
        self._draw, self._place = np.random.default_rng(0), random.Random(0)  # noqa: S311
        self._pool = self._draw.uniform(-1, 1, _POOL)
        self._repeated_input = self._draw.uniform(-1, 1, (REPEATED, batch, len(p.weight_ih)))
        self._repeated: list[Array] = []
        self._operation = 0
        for name in ("sigmoid", "tanh", "squash", "phi"):
            setattr(self, name, self._disturbed(getattr(self, name)))

    def begin_step(self) -> None:
        """What follows is one step: in each step the same operations come in the same order."""
        self._operation = 0

    def input(self, x: Tensor, error: Tensor | None) -> Array:
        """W_ih x + b_ih of x (steps, B, I), which may be off by `error`: (steps, RUNS · B, G·H)."""
        w, (steps, batch) = self._p.weight_ih, x.shape[:2]
        s = linear(x, w, self._p.bias_ih)
        rows = x.flatten(0, 1)
        off = s.abs().addcmul_(length(rows).view(steps, batch, 1), length(w)).mul_(self._sum)
        if self._u.products:
            off += self._rounded_operands(rows, w, s)
        if error is not None:
            off += linear(error.square(), w.square()).sqrt_()
        exact, by = s.numpy()[:, None], off.numpy()[:, None]
        runs = np.empty((steps, RUNS, *s.shape[1:]))
        runs[:, :1] = exact
        runs[:, 1 : 1 + REPEATED] = exact + by * self._repeated_input
        fresh = by * self._fresh((steps, FRESH, *s.shape[1:]))
        np.add(fresh, exact, out=runs[:, 1 + REPEATED :])
        return runs.reshape(steps, RUNS * batch, -1)

    def hidden(self, h: Array) -> Array:
        s = super().hidden(h)
        own, rows = s[: self._batch], h[: self._batch]
        by = np.abs(own)
        by += np.sqrt(np.einsum("bk,bk->b", rows, rows))[:, None] * self._norms_hh
        by *= self._sum
        if self._u.products:
            by += self._rounded_operands(torch.from_numpy(rows), self._p.weight_hh, torch.from_numpy(own)).numpy()
        return self._disturb(s, by)

    def _rounded_operands(self, rows: Tensor, w: Tensor, s: Tensor) -> Tensor:
        """What rounding the operands of the products s of the rows with w may change: by its usual size, or all of it
        one way."""
        usual = torch.outer(length4(rows), length4(w)).view(s.shape)
        return usual.add_(s.abs()).mul_(2 * self._u.products)

    def _disturbed(self, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda v: self._stored(function(v))

    def lerp(self, n: Array, h: Array, z: Array) -> Array:
        return self._stored(super().lerp(n, h, z), kernel=0.0)

    def carry(self, f: Array, c: Array, v: Array) -> Array:
        return self._stored(super().carry(f, c, v))

    def project(self, m: Array) -> Array:
        m = self._stored(m)
        return m if self._weight_hr is None else self._stored(super().project(m))

    def _stored(self, v: Array, kernel: float = 2.0) -> Array:
        """v as it is stored; the function that gave it errs by so many unit roundoffs, absolute."""
        by = np.abs(v[: self._batch])
        by *= self._u.stored
        by += kernel * self._u.sums
        return self._disturb(v, by, FRESH - 1)

    def kept(self, state: Array) -> Array:
        """A new state. The last replica stores what the engine's dtype can hold: beside a long memory each small step
        is lost in it, or counts for more, which no random rounding shows."""
        last = state[-self._batch :]
        if self._u.stored == 2.0**-24:
            last[...] = last.astype(np.float32)
        elif self._u.stored in _HALF:
            last[...] = torch.from_numpy(last).to(_HALF[self._u.stored]).double().numpy()
        return state

    def _disturb(self, v: Array, by: Array, fresh: int = FRESH) -> Array:
        """v with its replicas changed by up to `by` (B, units), in place: those that repeat, and so many others."""
        runs = v.reshape(RUNS, *by.shape)
        if self._operation == len(self._repeated):
            self._repeated.append(self._draw.uniform(-1, 1, (REPEATED, *by.shape)))
        runs[1 : 1 + REPEATED] += self._repeated[self._operation] * by
        runs[1 + REPEATED : 1 + REPEATED + fresh] += self._fresh((fresh, *by.shape)) * by
        self._operation += 1
        return v

    def _fresh(self, shape: tuple[int, ...]) -> Array:
        """Uniform in [-1, 1]; not to be written to."""
        count = math.prod(shape)
        if 2 * count > _POOL:
            return self._draw.uniform(-1, 1, shape)
        start = self._place.randrange(_POOL - count)
        return self._pool[start : start + count].reshape(shape)


@torch.inference_mode()
@np.errstate(all="ignore")  # infinity and NaN are data here, as they are for torch
def estimate(reading: Interpretation, progress: Callable[[int], None] = lambda _steps: None) -> Estimate:
    """h and final states that the equations give for what a layer and direction received, and how far those of a
    correct engine may be: infinitely far where nobody can tell. The h of the run is not looked at."""
    cell, u, run = reading.cell, reading.u, reading.run
    steps, batch = run.x.shape[:2]
    p = cast(reading.p, torch.float64)
    a = Perturbed(p, len(cell.gates), reading.nonlinearity, u, batch)
    now = tuple(np.tile(initial.double().numpy(), (RUNS, 1)) for initial in run.state)
    each = torch.arange(batch)
    h, errors = (zeros(steps, batch, p.weight_hh.shape[1]) for _ in range(2))
    lost, scale = torch.zeros(batch, dtype=torch.bool), torch.zeros(batch, dtype=torch.float64)
    with one_thread() if p.weight_hh.numel() * RUNS * batch <= _SMALL else nullcontext():
        for start in range(0, steps, BLOCK):
            stop = min(steps, start + BLOCK)
            at, inside = run.order(start, stop), torch.arange(start, stop).unsqueeze(1) < run.step_counts
            error = None if run.error is None else run.error[at, each].double()
            ragged, found, first = not bool(inside.all()), [], torch.from_numpy(now[0][:batch])
            for row, mine in zip(a.input(run.x[at, each].double(), error), inside, strict=True):
                a.begin_step()
                step = cell.step(a, row, *now)
                new = tuple(a.kept(step[name]) for name in cell.states)
                if ragged:
                    mine = np.tile(mine.numpy(), RUNS)[:, None]
                    new = tuple(np.where(mine, one, other) for one, other in zip(new, now, strict=True))
                now = new
                found.append(step["h"])
            exact, spread = _spread(np.stack(found), batch, u)
            parted, scale = _parted(exact, spread, scale)
            before = torch.cat([first[None], exact[:-1]])
            overflow = may_overflow(reading.p, u, run.x[at, each], before, error)
            gone = parted if overflow is None else parted | overflow.any(-1)
            gone = (lost | (gone & inside)).cumsum(0).bool()
            if bool(gone.any()):
                spread, lost = spread.masked_fill(gone.unsqueeze(-1), torch.inf), gone[-1]
            places = (at[inside], each.expand_as(at)[inside])
            h[places], errors[places] = exact[inside], spread[inside]
            progress(stop - start)
    finals = (_spread(final, batch, u, FINAL_SPREADS) for final in now)
    return Estimate(h, errors, tuple((v, e.masked_fill(lost.unsqueeze(1), torch.inf)) for v, e in finals))


def _parted(h: Tensor, spread: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """(steps, B): where replicas have parted; and the largest ‖h‖ by now, (B,), which was `scale` before."""
    off, size = (length(values.flatten(0, 1)).view(values.shape[:2]) for values in (spread, h))
    largest = torch.maximum(size.cummax(0).values, scale)
    return off > PARTED * largest, largest[-1]


def _spread(values: Array, batch: int, u: Roundoff, times: float = SPREADS) -> tuple[Tensor, Tensor]:
    """The exact values (…, B, units) of those of all runs (…, RUNS · B, units), and how far correct ones may be: the
    replicas that repeat, whose roundings do not cancel, count `SPREADS` times, the others `times`."""
    runs = torch.from_numpy(values.reshape(*values.shape[:-2], RUNS, batch, -1))
    exact = runs[..., 0, :, :]
    off = (runs - exact.unsqueeze(-3)).abs_()
    spread = off[..., 1 + REPEATED :, :, :].amax(-3).mul_(times)
    spread = torch.maximum(spread, off[..., 1 : 1 + REPEATED, :, :].amax(-3).mul_(SPREADS))
    # A few replicas of one unit may fall close together by chance; those of the whole row do not.
    typical = spread.square().mean(-1, keepdim=True).sqrt_()
    return exact, torch.maximum(spread, typical).add_(exact.abs(), alpha=u.stored).add_(2 * u.sums + u.tiny)
