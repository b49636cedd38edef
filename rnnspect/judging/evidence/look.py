"""The residual of some steps of a run, and how it changes with the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.judging.evidence.first_look import FirstLook
from rnnspect.judging.evidence.linearised import Computed, Steps
from rnnspect.judging.evidence.target import FittedVector, Path
from rnnspect.judging.layer import LayerEquations, cast

ParameterChanges = Mapping[str, Tensor]
"""What is added to each parameter, by the names of `LayerParameters`."""


class Look:
    """The first steps of a run, with some parameters. Of the rows (step × item) only those in `kept` count."""

    def __init__(self, layer: LayerEquations, steps: Steps, kept: Tensor) -> None:
        self.layer, self.steps, self.kept = layer, steps, kept
        self.targets: tuple[FittedVector, ...] = Computed(layer, cast(layer.p, torch.float64), steps).targets()
        count, batch = steps.x.shape[:2]
        self.items = torch.arange(batch).repeat(count)[kept]
        self.candidates = sum(path.width for target in self.targets for path in target.paths) * layer.units

    def changed(self, changes: ParameterChanges) -> Look:
        """The same steps, with other parameters."""
        return Look(self.with_changes(changes), self.steps, self.kept)

    def with_changes(self, changes: ParameterChanges) -> LayerEquations:
        """The equations with other parameters."""
        p = cast(self.layer.p, torch.float64)
        p = p.with_changes(**{name: p[name] + by for name, by in changes.items()})
        return LayerEquations(self.layer.cell, p, self.layer.u, self.layer.nonlinearity)

    @cached_property
    def first(self) -> list[FirstLook]:
        """At each target."""
        return [FirstLook(target, self.layer.p, self.rows) for target in self.targets]

    def rows(self, values: Tensor) -> Tensor:
        """The rows of (T, B, ·) that count."""
        flat = values.flatten(0, 1)
        return flat if len(self.kept) == len(flat) else flat[self.kept]

    def columns(self, target: int, unit: int, places: Tensor | None = None) -> Tensor:
        """(rows, columns) of one unit, or of some places among them."""
        return self.rows(self.targets[target].columns(unit, places).unsqueeze(1))

    def residual(self, target: int | None, unit: int | None) -> Tensor:
        """(rows,): the residual of one unit; with None of all of h, row after row."""
        r = self.rows(self.targets[target or 0].residual)
        return r.flatten() if unit is None else r[:, unit]

    def allowed(self, error: Tensor, target: int | None, unit: int | None) -> Tensor:
        """How far `residual` may be off where h may be off by `error` (T, B, P)."""
        of = self.rows(self.targets[target or 0].allowed(error))
        return of.flatten() if unit is None else of[:, unit]

    def mimicked(self, column: Tensor, target: int, unit: int | None) -> tuple[float, float]:
        """As `FittedVector.mimicked`, for a column of the rows that count, (rows,) or (rows · units,)."""
        each = [of.mimicked(seen, at) for of, seen, at in self._erring(column, target, unit)]
        most, either_way = zip(*each, strict=True)
        return sum(most), math.hypot(*either_way)

    def repeated(self, column: Tensor, target: int, unit: int | None) -> float:
        """As `FittedVector.repeated`, for such a column."""
        u = self.layer.u.sums
        return math.hypot(*(of.repeated(seen, at, u) for of, seen, at in self._erring(column, target, unit)))

    def _erring(
        self, column: Tensor, target: int, unit: int | None
    ) -> Iterator[tuple[FittedVector, Tensor, int | None]]:
        """The vectors whose rounding errors a column may be mistaken for, each with the column as it is there. For all
        of h that includes the vector before the product, each unit of which has an effect on all of h; and for that
        vector h, since its residual is made of that of h."""
        whole = self._whole(column, target, unit)
        yield self.targets[target], whole, unit
        if target:
            yield self.targets[0], self.targets[target].onto_h(whole), None
        for before in self.targets[1:] if target == 0 else ():
            yield before, before.from_h(whole), None

    def _whole(self, column: Tensor, target: int, unit: int | None) -> Tensor:
        """(T, B, U), zero where a row does not count."""
        whole = torch.zeros_like(self.targets[target].residual)
        flat = whole.flatten(0, 1)
        if unit is None:
            flat[self.kept] = column.view(len(self.kept), -1)
        else:
            flat[self.kept, unit] = column
        return whole

    def moved(self, direction: ParameterChanges) -> Tensor:
        """The change of h, row after row, with a change of parameters."""
        return self.moved_by(lambda target: target.changed(direction))

    def moved_by(self, by: Callable[[FittedVector], Iterable[tuple[Path, Tensor]]]) -> Tensor:
        """The change of h where the paths to each target change by `by`."""
        every = torch.stack([target.onto_h(target.moved(by(target))) for target in self.targets]).sum(0)
        return self.rows(every).flatten()
