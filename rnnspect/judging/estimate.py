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
from collections.abc import Callable, Sequence
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
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.interpretation import Interpretation
from rnnspect.judging.layer import cast
from rnnspect.judging.layer_inputs import zeros
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
    """Plain numbers of one or both directions of a layer in `RUNS` runs, (directions, RUNS · B, units): the first run
    is exact, the others are disturbed at random by as much as an engine's roundings may be. What an operation gives is
    overwritten in its replicas. Both directions share every operation but the products, since calls cost more than
    numbers."""

    def __init__(
        self, ps: Sequence[LayerParameters], gates: int, nonlinearity: Nonlinearity, u: Roundoff, batch: int
    ) -> None:
        super().__init__(ps[0], gates, nonlinearity)
        self._ps, self._u, self._batch = ps, u, batch
        self._sum = ps[0].terms ** 0.5 * u.sums + u.stored + u.narrow
        self._w_hh = [p.weight_hh.numpy().T for p in ps]
        self._b_hh = None if self._bias_hh is None else np.stack([_array(p.bias_hh) for p in ps])[:, None]
        self._norms_hh = np.stack([length(p.weight_hh).numpy() for p in ps])[:, None]
        self._w_hr = None if self._weight_hr is None else [_array(p.weight_hr).T for p in ps]
        self._draw, self._place = np.random.default_rng(0), random.Random(0)  # noqa: S311
        self._pool = self._draw.uniform(-1, 1, _POOL)
        self._repeated_input = self._draw.uniform(-1, 1, (len(ps), REPEATED, batch, len(ps[0].weight_ih)))
        self._repeated: list[Array] = []
        self._operation = 0
        for name in ("sigmoid", "tanh", "squash", "phi"):
            setattr(self, name, self._disturbed(getattr(self, name)))

    def begin_step(self) -> None:
        """What follows is one step: in each step the same operations come in the same order."""
        self._operation = 0

    def input(self, direction: int, x: Tensor, error: Tensor | None) -> Array:
        """W_ih x + b_ih of one direction's x (steps, B, I), which may be off by `error`: (steps, RUNS · B, G·H)."""
        p, (steps, batch) = self._ps[direction], x.shape[:2]
        s = linear(x, p.weight_ih, p.bias_ih)
        rows = x.flatten(0, 1)
        off = s.abs().addcmul_(length(rows).view(steps, batch, 1), length(p.weight_ih)).mul_(self._sum)
        if self._u.products:
            off += self._rounded_operands(rows, p.weight_ih, s)
        if error is not None:
            off += linear(error.square(), p.weight_ih.square()).sqrt_()
        exact, by = s.numpy()[:, None], off.numpy()[:, None]
        runs = np.empty((steps, RUNS, *s.shape[1:]))
        runs[:, :1] = exact
        runs[:, 1 : 1 + REPEATED] = exact + by * self._repeated_input[direction]
        fresh = by * self._fresh((steps, FRESH, *s.shape[1:]))
        np.add(fresh, exact, out=runs[:, 1 + REPEATED :])
        return runs.reshape(steps, RUNS * batch, -1)

    def hidden(self, h: Array) -> Array:
        s = np.empty((*h.shape[:-1], self._w_hh[0].shape[1]))
        for rows, w, out in zip(h, self._w_hh, s, strict=True):
            np.dot(rows, w, out=out)
        if self._b_hh is not None:
            s += self._b_hh
        own, before = s[:, : self._batch], h[:, : self._batch]
        by = np.abs(own)
        by += np.sqrt(np.einsum("dbk,dbk->db", before, before))[..., None] * self._norms_hh
        by *= self._sum
        if self._u.products:
            for one, rows, sums, p in zip(by, before, own, self._ps, strict=True):
                one += self._rounded_operands(torch.from_numpy(rows), p.weight_hh, torch.from_numpy(sums)).numpy()
        return self._disturb(s, by)

    def _rounded_operands(self, rows: Tensor, w: Tensor, s: Tensor) -> Tensor:
        """What rounding the operands of the products s of the rows with w may change: by its usual size, or all of it
        one way."""
        usual = torch.outer(length4(rows), length4(w)).view(s.shape)
        return usual.add_(s.abs()).mul_(2 * self._u.products)

    def split(self, packed: Array) -> tuple[Array, ...]:
        return tuple([packed[..., block] for block in self._blocks])

    def peepholes(self) -> tuple[Array, ...]:
        each = np.stack([_array(p.weight_ch).reshape(-1, self._units) for p in self._ps], 1)
        return tuple(each[:, :, None])

    def _disturbed(self, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda v: self._stored(function(v))

    def carry(self, f: Array, c: Array, v: Array) -> Array:
        return self._stored(super().carry(f, c, v))

    def project(self, m: Array) -> Array:
        m = self._stored(m)
        if self._w_hr is None:
            return m
        return self._stored(np.stack([rows @ w for rows, w in zip(m, self._w_hr, strict=True)]))

    def _stored(self, v: Array) -> Array:
        by = np.abs(v[:, : self._batch])
        by *= self._u.stored
        by += 2 * self._u.sums
        return self._disturb(v, by, FRESH - 1)

    def kept(self, state: Array) -> Array:
        """A new state. The last replica stores what the engine's dtype can hold: beside a long memory each small step
        is lost in it, or counts for more, which no random rounding shows."""
        last = state[:, -self._batch :]
        if self._u.stored == 2.0**-24:
            last[...] = last.astype(np.float32)
        elif self._u.stored in _HALF:
            last[...] = torch.from_numpy(last).to(_HALF[self._u.stored]).double().numpy()
        return state

    def _disturb(self, v: Array, by: Array, fresh: int = FRESH) -> Array:
        """v with its replicas changed by up to `by` (directions, B, units), in place: those that repeat, and so many
        others."""
        directions, batch, units = by.shape
        runs, by = v.reshape(directions, RUNS, batch, units), by[:, None]
        if self._operation == len(self._repeated):
            self._repeated.append(self._draw.uniform(-1, 1, (directions, REPEATED, batch, units)))
        runs[:, 1 : 1 + REPEATED] += self._repeated[self._operation] * by
        runs[:, 1 + REPEATED : 1 + REPEATED + fresh] += self._fresh((directions, fresh, batch, units)) * by
        self._operation += 1
        return v

    def _fresh(self, shape: tuple[int, ...]) -> Array:
        """Uniform in [-1, 1]; not to be written to."""
        count = math.prod(shape)
        if 2 * count > _POOL:
            return self._draw.uniform(-1, 1, shape)
        start = self._place.randrange(_POOL - count)
        return self._pool[start : start + count].reshape(shape)


def estimate(reading: Interpretation, progress: Callable[[int], None] = lambda _steps: None) -> Estimate:
    """h and final states that the equations give for what a layer and direction received, and how far those of a
    correct engine may be. The h of the run is not looked at."""
    return estimates([reading], progress)[0]


def can_share(a: Interpretation, b: Interpretation) -> bool:
    """Whether `estimates` takes both together: two directions of a layer that differ in their numbers alone."""
    alike = (a.cell, a.nonlinearity, a.u, a.run.x.shape[:2]) == (b.cell, b.nonlinearity, b.u, b.run.x.shape[:2])
    return alike and a.p.weight_hh.shape == b.p.weight_hh.shape and (a.p.bias_hh is None) == (b.p.bias_hh is None)


@torch.inference_mode()
@np.errstate(all="ignore")  # infinity and NaN are data here, as they are for torch
def estimates(
    readings: Sequence[Interpretation], progress: Callable[[int], None] = lambda _steps: None
) -> list[Estimate]:
    """`estimate` of one direction, or of two that can share their steps. `progress` is told the steps of each."""
    cell, u, runs = readings[0].cell, readings[0].u, [reading.run for reading in readings]
    steps, batch = runs[0].x.shape[:2]
    ps = [cast(reading.p, torch.float64) for reading in readings]
    a = Perturbed(ps, len(cell.gates), readings[0].nonlinearity, u, batch)
    now = tuple(
        np.stack([np.tile(one.double().numpy(), (RUNS, 1)) for one in states])
        for states in zip(*(run.state for run in runs), strict=True)
    )
    each = torch.arange(batch)
    kept = [
        (zeros(steps, batch, ps[0].weight_hh.shape[1]), zeros(steps, batch, ps[0].weight_hh.shape[1])) for _ in runs
    ]
    products = ps[0].weight_hh.numel() * RUNS * batch * len(runs)
    with one_thread() if products <= _SMALL else nullcontext():
        for start in range(0, steps, BLOCK):
            stop = min(steps, start + BLOCK)
            places = [run.order(start, stop) for run in runs]
            inside = torch.arange(start, stop).unsqueeze(1) < runs[0].step_counts
            given = [
                a.input(n, *_received(run, at, each)) for n, (run, at) in enumerate(zip(runs, places, strict=True))
            ]
            ragged, found = not bool(inside.all()), []
            for row, mine in zip(np.stack(given, 1), inside, strict=True):
                a.begin_step()
                step = cell.step(a, row, *now)
                new = tuple(a.kept(step[name]) for name in cell.states)
                if ragged:
                    mask = np.tile(mine.numpy(), RUNS)[:, None]
                    new = tuple(np.where(mask, one, other) for one, other in zip(new, now, strict=True))
                now = new
                found.append(step["h"])
            for (h, errors), at, values in zip(kept, places, np.stack(found, 1), strict=True):
                exact, spread = _spread(values, batch, u)
                where = (at[inside], each.expand_as(at)[inside])
                h[where], errors[where] = exact[inside], spread[inside]
            progress((stop - start) * len(runs))
    finals = [tuple(_spread(state[n], batch, u, FINAL_SPREADS) for state in now) for n in range(len(runs))]
    return [Estimate(h, errors, final) for (h, errors), final in zip(kept, finals, strict=True)]


def _received(run: LayerRun, at: Tensor, each: Tensor) -> tuple[Tensor, Tensor | None]:
    """x and how far it may be off, (steps, B, I) in float64, at these steps of the input."""
    return run.x[at, each].double(), None if run.error is None else run.error[at, each].double()


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


def _array(tensor: Tensor | None) -> Array:
    assert tensor is not None
    return tensor.numpy()
