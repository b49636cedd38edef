"""How h changes with all parameters of a layer at once, by products with the Jacobian J: for layers with a matrix
between their units and h (an LSTM with `proj_size`, a GRU that resets before its product).

To first order h changes by J v where the parameters change by v. J has a column for each parameter and is never stored:
J v and Jᵀ r are computed along the paths of `target.py`. The normal equations of each unit by itself give a first
guess, which `conjugate_gradients.py` corrects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.judging.evidence.conjugate_gradients import solved
from rnnspect.judging.evidence.linearised import Computed, Steps
from rnnspect.judging.evidence.normal_equations import Columns, Normal
from rnnspect.judging.evidence.recovered import like
from rnnspect.judging.evidence.target import FittedVector, Onward
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters

_SLOW = 100
"""After so many steps of conjugate gradients the preconditioner is computed anew."""
_ALONE = 0.1
"""A variance is at least this share of the one by the equations of a single unit."""


class JacobianProducts:
    """The Jacobian at some parameters. A change of the parameters is one row of numbers (n,), one for each parameter
    that moves h."""

    def __init__(
        self, layer: LayerEquations, p: LayerParameters, steps: Steps, columns: Sequence[Columns] | None = None
    ) -> None:
        """`columns`, if given, are those of other parameters, so that a change has the same numbers as there."""
        self._open: Tensor | None = None
        self.p, self._layer, self._steps = p, layer, steps
        self.targets = Computed(layer, p, steps).targets(every=columns is not None)
        self.columns = columns or [Columns(target) for target in self.targets]
        self.targets = self.targets[: len(self.columns)]
        self.residual = self.targets[0].residual
        self.left = float(self.residual.square().sum())
        self.zero = p.with_changes(**{name: torch.zeros_like(of) for name, of in p.tensors.items()})
        self._shapes = [of.values(p).shape for of in self.columns]
        numbers, start = {}, 0
        for name, of in p.tensors.items():
            numbers[name] = torch.arange(start, start := start + of.numel(), dtype=torch.float64).view(of.shape)
        found = self._values(p.with_changes(**numbers))
        self._first, self._place = _distinct(found)
        self.count = len(self._first)

    def _values(self, p: LayerParameters) -> Tensor:
        """The numbers of each unit of each target, one after the other. A parameter of two targets is in it twice."""
        return torch.cat([columns.values(p).flatten() for columns in self.columns])

    def packed(self, p: LayerParameters) -> Tensor:
        """The numbers of some parameters."""
        return self._values(p)[self._first]

    def units(self, change: Tensor) -> tuple[Tensor, ...]:
        """A change as (units, columns) for each target."""
        parts = torch.split(change[self._place], [shape.numel() for shape in self._shapes])
        return tuple(part.view(shape) for part, shape in zip(parts, self._shapes, strict=True))

    def summed(self, of_targets: Sequence[Tensor]) -> Tensor:
        """The transpose of `units`."""
        whole = torch.cat([of.flatten() for of in of_targets])
        return torch.zeros(self.count, dtype=torch.float64).index_add_(0, self._place, whole)

    def spread(self, change: Tensor) -> LayerParameters:
        """The change of each parameter."""
        p = like(self.zero)
        self.put(p, change)
        return p

    def changed(self, change: Tensor) -> LayerParameters:
        """The parameters after a change."""
        by = self.spread(change)
        return self.p.with_changes(**{name: of + by[name] for name, of in self.p.tensors.items()})

    def put(self, p: LayerParameters, values: Tensor) -> None:
        """Writes a value for each number into some parameters."""
        for columns, part in zip(self.columns, self.units(values), strict=True):
            columns.put(p, part)

    def at(self, p: LayerParameters) -> JacobianProducts:
        """The Jacobian at other parameters."""
        other = JacobianProducts(self._layer, p, self._steps, self.columns)
        other._open = self._open
        return other

    def only(self, open_: Tensor) -> JacobianProducts:
        """The same with only some of the numbers (n,) free to change."""
        other = copy(self)
        other._open = open_
        return other

    def within(self, change: Tensor) -> Tensor:
        """The change, zero for parameters that are fixed."""
        return change if self._open is None else change * self._open

    def about(self) -> UnitEquations:
        return UnitEquations(self)

    def moved(self, change: Tensor) -> Tensor:
        """J v, (T, B, P)."""
        direction = self.spread(change).tensors
        return torch.stack([one.onto_h(one.moved(one.changed(direction))) for one in self.targets]).sum(0)

    def pulled(self, r: Tensor) -> Tensor:
        """Jᵀ r of (T, B, P)."""
        both = zip(self.columns, self.targets, strict=True)
        return self.within(self.summed([columns.pulled(replace(one, residual=one.from_h(r))) for columns, one in both]))

    def products(self, change: Tensor) -> Tensor:
        """JᵀJ v"""
        return self.pulled(self.moved(change))


class UnitEquations:
    """About (JᵀJ)⁻¹: the sum of the solutions of each unit's normal equations, as if all other units were right.

    A unit before a product grows with its own rows, or with its column of the product's weight, and h hardly tells the
    two apart. So its equations have a factor of that column as an additional unknown.
    """

    stale = False
    """Whether a step took so many iterations that the equations should be made anew at the present parameters."""

    def __init__(self, of: JacobianProducts) -> None:
        self._of, rows = of, int(of.targets[0].inside.sum())
        self._normal = [
            [Normal(_with_factor(one, columns.of(one, unit), unit), rows) for unit in range(one.units)]
            for columns, one in zip(of.columns, of.targets, strict=True)
        ]

    def __call__(self, pulled: Tensor) -> Tensor:
        found, factors = [], torch.zeros_like(pulled)
        for one, normal, part in zip(self._of.targets, self._normal, self._of.units(pulled), strict=True):
            if one.onward is not None:
                weight, rows = one.onward.weight, one.onward.rows
                along = self._of.spread(pulled)[weight][rows] * self._of.p[weight][rows]
                part = torch.cat([part, along.sum(0)[:, None]], 1)
            steps = torch.stack([each.step(row, 0.0) for each, row in zip(normal, part, strict=True)])
            if one.onward is not None:
                factors = self._grown(one.onward, steps[:, -1])
                steps = steps[:, :-1]
            found.append(steps)
        return self._of.within(self._of.summed(found) + factors)

    def solved(self, now: JacobianProducts, g: Tensor, damping: float, left: tuple[float, int]) -> Tensor:
        """The v with (JᵀJ + damping · these equations) v = g, with the J of `now`."""
        step, taken = solved(now.products, self, g, damping, left)
        self.stale = len(taken.by) > _SLOW
        return step

    def variances(self) -> Tensor:
        """The variance of each parameter if each number of h has the variance 1; infinite where it is not
        determined."""
        signs = torch.randint(2, self._of.residual.shape, generator=torch.Generator().manual_seed(0)) * 2.0 - 1
        drawn = torch.where(self._of.targets[0].inside[..., None], signs.double(), 0)
        count = int(drawn.abs().sum())
        found, taken = solved(self._of.products, self, self._of.pulled(drawn), 0.0, (float(count), count))
        alone = self._alone()
        variances = torch.maximum(alone + taken.correction(), _ALONE * alone)
        # The correction leaves out what the steps did not go along. Errors of 1 at random were found as errors of the
        # parameters: as a mean of all, their squares are what the variances are to be.
        told = variances.isfinite() & (variances > 0)
        larger = float((found[told].square() / variances[told]).mean()) if bool(told.any()) else 1.0
        return variances * max(1.0, larger)

    def _alone(self) -> Tensor:
        """The diagonal of this approximate inverse."""
        found, factors = [], torch.zeros(())
        for one, normal in zip(self._of.targets, self._normal, strict=True):
            own = torch.stack([each.variances() for each in normal])
            if one.onward is not None:
                factors = self._grown(one.onward, own[:, -1].masked_fill(own[:, -1].isinf(), 0).sqrt()).square()
                own = own[:, :-1]
            found.append(own)
        told = self._of.summed([own.isfinite().double() for own in found]) > 0
        whole = self._of.summed([own.masked_fill(own.isinf(), 0) for own in found]) + factors
        return torch.where(told, whole, math.inf)

    def _grown(self, onward: Onward, by: Tensor) -> Tensor:
        """The change that makes each column of the product's weight larger by such a share."""
        change = torch.zeros_like(self._of.p[onward.weight])
        change[onward.rows] = self._of.p[onward.weight][onward.rows] * by
        return self._of.packed(self._of.zero.with_changes(**{onward.weight: change}))


def _with_factor(one: FittedVector, columns: Tensor, unit: int) -> Tensor:
    if one.onward is None:
        return columns
    return torch.cat([columns, one.onward.grown[..., unit].reshape(-1, 1)], 1)


def _distinct(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The first place of each different number, and for each place the number that it holds, counted so."""
    each, place = torch.unique(numbers, return_inverse=True)
    first = torch.full((len(each),), len(numbers)).scatter_reduce(0, place, torch.arange(len(numbers)), "amin")
    return first, place
