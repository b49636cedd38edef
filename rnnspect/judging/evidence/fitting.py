"""A change of parameters by Gauss–Newton, and what it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.judging.evidence.chance import log10_chance, that_count
from rnnspect.judging.evidence.hypotheses import Hypothesis
from rnnspect.judging.evidence.look import Look

_NEWTON, _SETTLED = 8, 1e-5  # steps of Newton's method, the last of which is so small a part of the change
_DEVIATIONS = 6  # standard deviations of what roundings that fall either way make of the change
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, eq=False)
class Fit:
    """A hypothesis with the change that leaves least. `start` are its columns before the change."""

    hypothesis: Hypothesis
    before: Look
    after: Look
    by: Tensor
    start: Tensor

    @property
    def shrinks(self) -> float:
        """How many times smaller the residual is after it."""
        one, other = (float(self.hypothesis.residual(at).norm()) for at in (self.before, self.after))
        return one / max(other, one * 1e-16)

    def leaves(self, error: Tensor) -> float:
        """What it leaves, as a share of what an engine may err by that is off by `error` of h (T, B, P)."""
        left, allowed = self.hypothesis.residual(self.after), self._allowed(error)
        return _rms(left) / max(_rms(allowed), _TINY)

    def _allowed(self, error: Tensor) -> Tensor:
        return self.before.allowed(error, self.hypothesis.target, self.hypothesis.unit)

    @property
    def log10_chance(self) -> float:
        moved, r = self.start @ self.by, self.hypothesis.residual(self.before)
        n = that_count(moved, r) - self.hypothesis.freedom + 1
        return log10_chance(1 - self.shrinks**-2, n, self.hypothesis.candidates)

    def size_and_floor(self, error: Tensor) -> tuple[float, float]:
        """How large the change is, and the largest that a correct engine can look like: of one parameter or factor,
        else as root mean squares of h. Where the arithmetic is coarse, or a product comes between, the engine may err
        by `error` of h (T, B, P) in the worst direction at each step."""
        one, allowed = self.hypothesis, self._allowed(error)
        if one.freedom > 1:
            return _rms(self.start @ self.by), _rms(allowed)
        column = self.start[:, 0]
        if self._falls_either_way:
            most = self.before.mimicked(column, one.target or 0, one.unit)
            most += _DEVIATIONS * float((column * self.hypothesis.residual(self.after)).norm())
        else:
            most = float((column.abs() * allowed).sum())
        return float(self.by.abs()), most / float(column.square().sum()) + self.rounding

    @cached_property
    def rounding(self) -> float:
        """By how much the parameter may be off, or the factor, where an engine keeps a product of it with something,
        and by how much single roundings make it look to be off, which repeat where values do."""
        one, u = self.hypothesis, self.before.layer.u.sums
        if one.freedom > 1:
            return 0.0
        repeated = 0.0
        if self._falls_either_way:
            column = self.start[:, 0]
            repeated = self.before.repeated(column, one.target or 0, one.unit) / float(column.square().sum())
        if one.direction is not None:
            return 4 * u + repeated
        values = [float(getattr(self.before.layer.p, name)[at]) for _, name, at in one.entries(self.before)]
        return 8 * u * max(1.0, *map(abs, values)) + repeated

    @property
    def _falls_either_way(self) -> bool:
        """Whether the engine's errors are those of single roundings and functions, each known by its place."""
        one = self.hypothesis
        return self.before.layer.u.is_plain and (one.target is not None or len(self.before.targets) == 1)


def fit(look: Look, hypothesis: Hypothesis) -> Fit | None:
    """The change that leaves least, by Gauss–Newton; None where it does not settle, or the steps are too few."""
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
        if float(step.norm()) <= _SETTLED * float(total.norm()):
            return Fit(hypothesis, look, at, total, start)
        if [len(of.paths) for of in at.targets] != [len(of.paths) for of in look.targets]:
            return None  # a gate is shut there, so that its columns are not among them
        columns = hypothesis.columns(at)
    return None


def _rms(v: Tensor) -> float:
    return float(v.square().mean().sqrt())


def _least_squares(columns: Tensor, r: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(columns, dim=0).clamp(min=_TINY)
    if columns.shape[1] == 1:
        return torch.div(columns.t() @ r, length.square())
    found: Tensor = torch.linalg.lstsq(columns / length, r[:, None], rcond=1e-10, driver="gelsd").solution
    return torch.div(found[:, 0], length)
