"""A change of parameters by Gauss-Newton, and the residual that it leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.judging.evidence.chance import log10_chance, log10_chance_of_signs, that_count
from rnnspect.judging.evidence.hypotheses import Hypothesis
from rnnspect.judging.evidence.look import Look

_NEWTON, _SETTLED = 8, 1e-5  # steps of Newton's method, the last of which is so small a part of the change
_USUAL_FUNCTION = 2 / KERNEL
"""A function usually errs by one unit roundoff of the many that are allowed, and around some arguments by two."""
_USUAL = 1 / 50
"""The usual error as a share of the worst error at every step."""
_DEVIATIONS = 6  # standard deviations of what roundings that fall either way make of the change
_TINY = torch.finfo(torch.float64).tiny


class Measured(NamedTuple):
    """How large a change is, the largest change that the rounding of a correct engine can look like, and the largest
    that it usually looks like."""

    size: float
    floor: float
    usual: float


@dataclass(frozen=True, eq=False)
class Fit:
    """A hypothesis with the change that leaves the smallest residual. `start` are its columns before the change."""

    hypothesis: Hypothesis
    before: Look
    after: Look
    by: Tensor
    start: Tensor

    @property
    def shrinks(self) -> float:
        """How many times smaller the residual is after the change."""
        one, other = (float(self.hypothesis.residual(at).norm()) for at in (self.before, self.after))
        return one / max(other, one * 1e-16)

    def leaves(self, error: Tensor) -> float:
        """The largest residual that is left, divided by how far an engine may be off there: `error` of h (T, B, P)."""
        left, allowed = self.hypothesis.residual(self.after), self._allowed(error)
        return float((left.abs() / allowed.clamp(min=_TINY)).max())

    def _allowed(self, error: Tensor) -> Tensor:
        return self.before.allowed(error, self.hypothesis.target, self.hypothesis.unit)

    @property
    def log10_chance(self) -> float:
        moved, r = self.start @ self.by, self.hypothesis.residual(self.before)
        n, candidates = that_count(moved, r) - self.hypothesis.freedom + 1, self.hypothesis.candidates
        chance = log10_chance(1 - self.shrinks**-2, n, candidates)
        return chance if self.hypothesis.freedom > 1 else min(chance, log10_chance_of_signs(moved, r, 1, candidates))

    def measured(self, error: Tensor) -> Measured:
        """How large the change is compared with what the rounding of a correct engine can look like: in units of the
        parameter or factor, or else as root mean squares of h. Where the arithmetic is coarse, or a product comes
        between the parameters and h, the engine may be off by `error` of h (T, B, P) in the worst direction at each
        step."""
        one, allowed = self.hypothesis, self._allowed(error)
        if one.freedom > 1:
            floor = rms(allowed)
            return Measured(rms(self.start @ self.by), floor, _USUAL * floor)
        look, column, number = self.before, self.start[:, 0], self._number()
        square = float(column.square().sum())
        if look.layer.u.is_plain and (one.target is not None or len(look.targets) == 1):
            place = column, one.target or 0, one.unit
            (most, either_way), repeated = look.mimicked(*place), look.repeated(*place)
            by_chance = _DEVIATIONS * float((column * self.hypothesis.residual(self.after)).norm())
            floor, usual = most + by_chance + repeated, math.hypot(_USUAL_FUNCTION * either_way, repeated)
        else:
            # Where the change shuts a gate the same roundings look like a larger one at its end than at its beginning.
            ends = column, one.columns(self.after)[:, 0]
            most_like = max(float((of.abs() * allowed).sum() / of.square().sum().clamp(min=_TINY)) for of in ends)
            floor, usual = most_like * square, _USUAL * most_like * square
        return Measured(float(self.by.abs()), floor / square + number, max(usual / square, number))

    def _number(self) -> float:
        """By how much the parameter, or the factor, may be off because an engine stores a rounded product of it with
        something."""
        one, u = self.hypothesis, self.before.layer.u.sums
        if one.direction is not None:
            return 4 * u
        values = [float(self.before.layer.p[name][at]) for _, name, at in one.entries(self.before)]
        return 8 * u * max(1.0, *map(abs, values))


def fit(look: Look, hypothesis: Hypothesis) -> Fit | None:
    """The change that leaves the smallest residual, by Gauss-Newton; None where it does not converge, or where there
    are too few steps."""
    total, at = torch.zeros(hypothesis.freedom, dtype=torch.float64), look
    columns = start = hypothesis.columns(look)
    for _ in range(_NEWTON):
        if len(columns) < 2 * hypothesis.freedom + 2 or not bool(columns.isfinite().all()):
            return None
        step = _least_squares(columns, hypothesis.residual(at))
        total = total + step
        if not bool(total.isfinite().all()):
            return None
        at = look.changed(hypothesis.changes(look, total))
        if [len(of.paths) for of in at.targets] != [len(of.paths) for of in look.targets]:
            return None  # a gate is shut there, so that its columns are not among them
        if float(step.norm()) <= _SETTLED * float(total.norm()):
            return Fit(hypothesis, look, at, total, start)
        columns = hypothesis.columns(at)
    return None


def rms(v: Tensor) -> float:
    """The root of the mean square."""
    return float(v.square().mean().sqrt())


def _least_squares(columns: Tensor, r: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(columns, dim=0).clamp(min=_TINY)
    if columns.shape[1] == 1:
        return torch.div(columns.t() @ r, length.square())
    found: Tensor = torch.linalg.lstsq(columns / length, r[:, None], rcond=1e-10, driver="gelsd").solution
    return torch.div(found[:, 0], length)
