"""A layer that was not observed: it is stepped in float64, together with a few randomly perturbed replicas.

A rigorous bound of a run without observations becomes useless within twenty steps; the spread of the replicas tells how
far roundings really carry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import Array, one_thread
from rnnspect.arithmetic.perturbed import REPEATED, RUNS, Perturbed
from rnnspect.arithmetic.product_bounds import length
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.files.on_disk import zeros
from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.layer import cast
from rnnspect.judging.overflow import may_overflow
from rnnspect.network.progress import StepsDone, untold

BLOCK, _ROWS = 64, 512
"""All but the step itself is computed for `BLOCK` steps at once; of a small batch for more, up to `_ROWS` rows."""
SPREADS = 2.0
"""The input of the layer above may be off by so many times the replicas' spread."""
FINAL_SPREADS = 8.0
"""A final state is compared alone, where the layer above adds up many: a few replicas may all fall close to it. For
replicas that draw new roundings at every step."""
_COARSE_REPEATED = 4.0
PARTED = 0.2
"""As a share of the largest ‖h‖ so far. Where replicas are further apart, a gate may open at one step in one of them
and not in another: they no longer tell where the run of an engine may be."""
_FLOORS = 16
"""So many times what is allowed where all replicas agree is a few roundings: no run of h = 0, as behind a dead relu,
has parted by them."""
SMALL = 2**24
"""Up to so many multiplications, one thread computes a step."""


@dataclass(frozen=True)
class Estimate:
    """h (T, B, P) by step of the input, and how far that of a correct engine may be from it; the same for the final
    state. The error is infinite where nothing is known."""

    h: Tensor
    error: Tensor
    final: tuple[tuple[Tensor, Tensor], ...]


def estimate(assumed: Assumption, progress: StepsDone = untold) -> Estimate:
    """h and final states by the equations, from the input of a layer, and how far those of a correct engine may be from
    them. The h of the run is not used."""
    return estimates([assumed], progress)[0]


Stepper = Callable[[Sequence[Assumption], StepsDone], list[Estimate]]
"""What steps one direction, or two that can share their steps, as `estimates` does."""


class Paired:
    """`estimate` for a run without mistakes: both directions of a layer that was not observed are stepped together,
    whichever is asked for first."""

    def __init__(self, observed: Collection[At], step: Stepper | None = None) -> None:
        self._observed, self._step = observed, step or estimates
        self._other: dict[At, Estimate] = {}

    def __call__(self, assumed: Assumption, progress: StepsDone = untold) -> Estimate:
        if assumed.at in self._other:
            return self._other.pop(assumed.at)
        if assumed.stack.spec.bidirectional and assumed.other not in self._observed:
            run = assumed.run
            other = Assumption.of(assumed.stack, assumed.other, run.x, run.error, assumed.u)
            if can_share(assumed, other):
                both = sorted([assumed, other], key=lambda one: one.direction)
                found = dict(zip([one.at for one in both], self._step(both, progress), strict=True))
                self._other[other.at] = found[other.at]
                return found[assumed.at]
        return self._step([assumed], progress)[0]


def can_share(a: Assumption, b: Assumption) -> bool:
    """Whether `estimates` takes both together: two directions of a layer that differ in their numbers alone."""
    alike = (a.cell, a.nonlinearity, a.u, a.run.x.shape[:2]) == (b.cell, b.nonlinearity, b.u, b.run.x.shape[:2])
    return alike and a.p.weight_hh.shape == b.p.weight_hh.shape and (a.p.bias_hh is None) == (b.p.bias_hh is None)


def block_of(batch: int) -> int:
    """How many steps of so many items are computed at once, as far as they can be."""
    return max(BLOCK, _ROWS // batch)


@torch.inference_mode()
@np.errstate(all="ignore")  # infinity and NaN are data here, as they are for torch
def estimates(assumptions: Sequence[Assumption], progress: StepsDone) -> list[Estimate]:
    """`estimate` of one direction, or of two that can share their steps. `progress` is told the steps of each."""
    cell, u, ways = assumptions[0].cell, assumptions[0].u, [_Direction(assumed) for assumed in assumptions]
    steps, batch = assumptions[0].run.x.shape[:2]
    block, products = block_of(batch), assumptions[0].p.weight_hh.numel() * RUNS * batch * len(ways)
    with one_thread() if products <= SMALL else nullcontext():
        ps = [cast(assumed.p, torch.float64) for assumed in assumptions]
        a = Perturbed(ps, len(cell.gates), assumptions[0].nonlinearity, u, batch)
        states = zip(*(assumed.run.state for assumed in assumptions), strict=True)
        now = tuple(np.stack([np.tile(one.double().numpy(), (RUNS, 1)) for one in state]) for state in states)
        kept = torch.empty(block, *now[0].shape, dtype=torch.float64).numpy()
        for start in range(0, steps, block):
            stop = min(steps, start + block)
            inside = torch.arange(start, stop).unsqueeze(1) < assumptions[0].run.step_counts
            masks = None if bool(inside.all()) else inside.repeat(1, RUNS).unsqueeze(-1).numpy()
            found, before = kept[: stop - start], now[0][:, :batch].copy()
            wx = zip(*a.of_x([way.received(start, stop) for way in ways]), strict=True)
            for t, (s, off) in enumerate(wx):
                a.begin_step()
                step = cell.step(a, a.input(s, off), *now)
                new = tuple(a.kept(step[name]) for name in cell.states)
                if masks is not None:
                    new = tuple(np.where(masks[t], one, other) for one, other in zip(new, now, strict=True))
                found[t], *others = new
                now = found[t], *(np.copy(other) for other in others)
            for n, (way, first) in enumerate(zip(ways, before, strict=True)):
                way.add(found[:, n], torch.from_numpy(first), inside)
            progress((stop - start) * len(ways))
    return [way.estimate([state[n] for state in now]) for n, way in enumerate(ways)]


class _Direction:
    """The estimate of one direction, as far as it is computed."""

    def __init__(self, assumed: Assumption) -> None:
        self._run, self._p, self._u = assumed.run, assumed.p, assumed.u
        steps, self._batch = assumed.run.x.shape[:2]
        self._each = torch.arange(self._batch)
        shape = steps, self._batch, assumed.p.weight_hh.shape[1]
        self._h, self._errors = (zeros(shape, torch.float64, "a layer that was not recorded") for _ in range(2))
        self._lost = torch.zeros(self._batch, dtype=torch.bool)
        self._largest = torch.zeros(self._batch, dtype=torch.float64)

    def received(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """x and its error, (steps, B, I) in float64, at these places of processing order."""
        run = self._run
        self._at = run.order(start, stop)
        self._x = run.x[self._at, self._each].double()
        self._error = None if run.error is None else run.error[self._at, self._each].double()
        return self._x, self._error

    def add(self, runs: Array, first: Tensor, inside: Tensor) -> None:
        """Adds h of every run at the steps that `received` gave last, (steps, RUNS · B, P); `first` (B, P) is the exact
        h before them, and `inside` (steps, B) says whether an item has a step."""
        exact, spread = _spread(runs, self._batch, self._u)
        gone = self._parted(exact, spread)
        overflow = may_overflow(self._p, self._u, self._x, torch.cat([first[None], exact[:-1]]), self._error)
        gone = gone if overflow is None else gone | overflow.any(-1)
        gone = (self._lost | (gone & inside)).cumsum(0).bool()
        if bool(gone.any()):
            spread, self._lost = spread.masked_fill(gone.unsqueeze(-1), torch.inf), gone[-1]
        places = self._at, self._each
        if not bool(inside.all()):
            places = self._at[inside], self._each.expand_as(self._at)[inside]
            exact, spread = exact[inside], spread[inside]
        self._h[places], self._errors[places] = exact, spread

    def _parted(self, h: Tensor, spread: Tensor) -> Tensor:
        """(steps, B): where replicas are so far apart that they are independent runs."""
        off, size = (length(values.flatten(0, 1)).view(values.shape[:2]) for values in (spread, h))
        largest = torch.maximum(size.cummax(0).values, self._largest)
        self._largest = largest[-1]
        least = (2 * self._u.sums + self._u.tiny) * h.shape[-1] ** 0.5  # what `_spread` allows where all agree
        return off > (PARTED * largest).clamp(min=_FLOORS * least)

    def estimate(self, finals: list[Array]) -> Estimate:
        """`finals` are the states (RUNS · B, ·) after the last step."""
        each = (_spread(final, self._batch, self._u, FINAL_SPREADS, final_repeated(self._u)) for final in finals)
        lost = self._lost.unsqueeze(1)
        return Estimate(self._h, self._errors, tuple((v, e.masked_fill(lost, torch.inf)) for v, e in each))


def final_repeated(u: Roundoff) -> float:
    """As `FINAL_SPREADS`, for replicas that repeat their roundings. Where each value is stored in a half type it is
    more: one unit alone may keep what is rounded the same way at every step."""
    return _COARSE_REPEATED if u.coarse else SPREADS


def _spread(
    values: Array, batch: int, u: Roundoff, times: float = SPREADS, repeated: float = SPREADS
) -> tuple[Tensor, Tensor]:
    """The exact values (…, B, units) among those of all runs (…, RUNS · B, units), and how far correct ones may be from
    them. The distances of replicas whose roundings repeat, and do not cancel, count `repeated` times, those of the
    others `times`."""
    runs = torch.from_numpy(values.reshape(*values.shape[:-2], RUNS, batch, -1))
    exact = runs[..., 0, :, :]
    off = (runs - exact.unsqueeze(-3)).abs_()
    spread = off[..., 1 + REPEATED :, :, :].amax(-3).mul_(times)
    spread = torch.maximum(spread, off[..., 1 : 1 + REPEATED, :, :].amax(-3).mul_(repeated))
    # A few replicas of one unit may fall close together by chance; those of the whole row do not.
    typical = spread.square().mean(-1, keepdim=True).sqrt_()
    return exact, torch.maximum(spread, typical).add_(exact.abs(), alpha=u.stored).add_(2 * u.sums + u.tiny)
