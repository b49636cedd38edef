"""A vector of a step whose units each answer to parameters of their own, linear in small changes of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.arithmetic.scan import Scan

_FAR, _PER_ONE = 16, 8
"""Bins of an argument: up to ±16, eight in 1. The errors of σ and tanh as libraries compute them wave no faster: exp is
reduced to an interval of log 2, and rational functions are one or a few over all."""


def _as_it_is(moved: Tensor) -> Tensor:
    return moved


@dataclass(frozen=True, eq=False)
class Path:
    """What a block of rows of one weight does to a target: row j multiplies `features` and moves unit j of it.

    `block` is the place of its rows among the blocks of the weight.
    `direct` is the slope of the target by step, (T, B, U), and `stored` that of the cell state, None where there is
    none. `features` (T, B, K) are followed by a 1 where the rows have a bias.
    """

    weight: str
    bias: str | None
    gate: str | None
    block: int
    direct: Tensor
    stored: Tensor | None
    features: Tensor
    product: Tensor
    """What the rows give, without their bias, (T, B, U)."""

    @property
    def is_vector(self) -> bool:
        """Whether the weight has one number for each unit, and no columns."""
        return self.weight not in ("weight_ih", "weight_hh", "weight_hr")

    @cached_property
    def multiplied(self) -> Tensor:
        """(T, B, width): the features, and the 1 of the bias."""
        if self.bias is None:
            return self.features
        return torch.cat([self.features, torch.ones_like(self.features[..., :1])], -1)

    @property
    def width(self) -> int:
        return self.features.shape[-1] + (self.bias is not None)

    def entry(self, units: int, unit: int, place: int) -> tuple[str, tuple[int, ...]]:
        """The parameter, and its index there, that a column of a unit is of."""
        row = self.block * units + unit
        if place >= self.features.shape[-1]:
            assert self.bias is not None
            return self.bias, (row,)
        return self.weight, (row,) if self.is_vector else (row, place)


@dataclass(frozen=True, eq=False)
class Site:
    """A place where an engine's own arithmetic errs: by `error` at most, (T, B, U) or one number, in a way that depends
    on `argument` (T, B, U). A single rounding of `value` (T, B, U) there usually errs by u times `size` (T, B, U).
    `direct` and `stored` are as those of a `Path`."""

    value: Tensor
    size: Tensor
    argument: Tensor
    error: Tensor | float
    direct: Tensor | None
    stored: Tensor | None


@dataclass(frozen=True, eq=False)
class Onward:
    """The product that a vector goes into before it reaches h: these rows of a weight, one column for each unit."""

    weight: str
    rows: Tensor
    grown: Tensor
    """(T, B, U): by how much the residual of the vector moves where a column is twice as large."""


@dataclass(frozen=True, eq=False)
class FittedVector:
    """A vector whose units each answer to rows of their own: (T, B, U) its residual, zero beyond an item's end.

    `kept` and `shown` are the slopes of the cell state and of this vector by the cell state before the step; None
    where the cell has none.
    """

    name: str
    residual: Tensor
    paths: tuple[Path, ...]
    kept: Tensor | None
    shown: Tensor | None
    inside: Tensor
    """(T, B): whether the item has that step."""
    sites: Callable[[], Iterable[Site]] = tuple
    """Asked for where a change is found."""
    onto_h: Callable[[Tensor], Tensor] = _as_it_is
    """From a move of this vector (T, B, U) to that of h (T, B, P)."""
    from_h: Callable[[Tensor], Tensor] = _as_it_is
    """From what is left of h (T, B, P) to what is left of this vector (T, B, U): the way back of `onto_h`."""
    onward: Onward | None = None
    """None of h itself."""
    allowed: Callable[[Tensor], Tensor] = _as_it_is
    """From how far h may be off (T, B, P) to how far the residual (T, B, U) may."""

    def rows(self, path: Path) -> slice:
        """Of the parameters of a path."""
        return slice(path.block * self.units, (path.block + 1) * self.units)

    def moved(self, by: Iterable[tuple[Path, Tensor]]) -> Tensor:
        """(T, B, U): by how much it moves where what the paths give changes by so much."""
        of_h, of_c = torch.zeros_like(self.residual), None
        for path, change in by:
            of_h.addcmul_(path.direct, change)
            if path.stored is not None:
                of_c = path.stored * change if of_c is None else of_c.addcmul_(path.stored, change)
        if of_c is not None and self.kept is not None and self.shown is not None:
            Scan(self.kept)(torch.zeros_like(of_c[0]), of_c)
            of_h[1:].addcmul_(of_c[:-1], self.shown[1:])
        return self._within(of_h)

    def _within(self, values: Tensor) -> Tensor:
        """Values (T, B, ·), zero where the item does not have that step."""
        return values if bool(self.inside.all()) else torch.where(self.inside[..., None], values, 0)

    def changed(self, direction: Mapping[str, Tensor]) -> Iterator[tuple[Path, Tensor]]:
        """What each path gives more where the parameters change by so much, by their names."""
        for path in self.paths:
            of, rows = direction.get(path.weight), self.rows(path)
            change = None if of is None else of[rows] if of.dim() == 1 else path.features @ of[rows].t()
            if path.bias is not None and path.bias in direction:
                change = direction[path.bias][rows] + (0 if change is None else change)
            if change is not None:
                yield path, change

    def mimicked(self, column: Tensor, unit: int | None) -> tuple[float, float]:
        """The largest Σ column ⊙ (what an engine errs by), and what it usually is at most: of a column (T, B, U) of one
        unit, or of all with None. Usually the bins fall either way and err by half as much, or one errs by it all.

        At each site the error is a function of the argument, whose sign may be another in each bin of it, no more: what
        falls either way within a bin is chance, and is counted as that.
        """
        units = slice(None) if unit is None else slice(unit, unit + 1)
        total, square, largest, pull = 0.0, 0.0, 0.0, self._pull(column[..., units], units)
        for site in self.sites():
            pulled = pull(site) * (site.error if isinstance(site.error, float) else site.error[..., units])
            bins = (site.argument[..., units].clamp(-_FAR, _FAR) * _PER_ONE).round_().long() + _FAR * _PER_ONE
            of_bins = torch.bincount(bins.flatten(), weights=pulled.flatten()).abs_()
            total += float(of_bins.sum())
            square += float(of_bins.square().sum())
            largest = max(largest, float(of_bins.max()))
        return total, max(math.sqrt(square) / 2, largest)

    def repeated(self, column: Tensor, unit: int | None, u: float) -> float:
        """What Σ column ⊙ (what an engine errs by) usually is at most, column as in `mimicked`, where all errors are
        single roundings, of unit roundoff u. Where a site has the same value of float32, it is rounded the same way;
        all else falls either way, so that the squares add up."""
        units = slice(None) if unit is None else slice(unit, unit + 1)
        square, pull = 0.0, self._pull(column[..., units], units)
        for site in self.sites():
            errors = pull(site) * site.size[..., units]
            alike = site.value[..., units].float().view(torch.int32).long()
            alike += torch.arange(errors.shape[-1]) << 32  # each unit by itself
            each, place = torch.unique(alike, return_inverse=True)
            sums = torch.zeros(len(each), dtype=errors.dtype).index_add_(0, place.flatten(), errors.flatten())
            square += float(sums.square().sum())
        return 2 * u * math.sqrt(square)

    def _pull(self, a: Tensor, units: slice) -> Callable[[Path | Site], Tensor]:
        """What gives Σ a ⊙ (by how much the vector moves), a (T, B, U) of some units, by number of a place that moves
        by 1: (T, B, U)."""
        later = None
        if self.kept is not None and self.shown is not None:
            later = _going_back(self.kept[..., units].contiguous(), self.shown[..., units] * a)

        def pull(place: Path | Site) -> Tensor:
            pulled = torch.zeros_like(a) if place.direct is None else place.direct[..., units] * a
            if place.stored is not None and later is not None:
                pulled = pulled + place.stored[..., units] * later
            return self._within(pulled)

        return pull

    @property
    def units(self) -> int:
        return self.residual.shape[-1]

    def entries(self, unit: int) -> list[tuple[Path, str, tuple[int, ...]]]:
        """Of each column of a unit its path, and the parameter that it is of with the index there."""
        return [(path, *path.entry(self.units, unit, place)) for path in self.paths for place in range(path.width)]

    def columns(self, unit: int, places: Tensor | None = None) -> Tensor:
        """(T · B, Σ widths): by how much each parameter of a unit's rows moves the residual, by one unit of it; or of
        some places among these, in rising order."""
        given = [(path, of) for path, of in zip(self.paths, self._multiplied(places), strict=True) if of.shape[-1]]
        columns = [path.direct[..., unit, None] * of for path, of in given]
        if self.kept is not None and self.shown is not None:
            stored = [at for at, (path, _) in enumerate(given) if path.stored is not None]
            moved = [by[..., unit, None] * of for path, of in given if (by := path.stored) is not None]
            if moved:
                through = self._through_c(torch.cat(moved, -1), unit)  # of all at once: there are few numbers in one
                for at, shown in zip(stored, torch.split(through, [of.shape[-1] for of in moved], -1), strict=True):
                    columns[at] += shown
        return self._within(torch.cat(columns, -1)).flatten(0, 1)

    def _multiplied(self, places: Tensor | None) -> Iterator[Tensor]:
        """What the rows of each path multiply; of some places among all of them, those."""
        start = 0
        for path in self.paths:
            own = None if places is None else places[(places >= start) & (places < start + path.width)] - start
            yield path.multiplied if own is None else path.multiplied[..., own]
            start += path.width

    def _through_c(self, moved: Tensor, unit: int) -> Tensor:
        """What earlier steps moved the cell state by, as it shows at each step."""
        assert self.kept is not None
        assert self.shown is not None
        Scan(self.kept[..., unit, None])(torch.zeros_like(moved[0]), moved)
        before = torch.cat([torch.zeros_like(moved[:1]), moved[:-1]])
        return before.mul_(self.shown[..., unit, None])

    def scores(self) -> Iterator[tuple[Path, Tensor]]:
        """For each path, (U, width): how well each parameter's column goes with the residual of its unit, −1 to 1.

        The lengths of the columns are taken as if what enters the cell state were of another sign at every step, and
        all is computed in float32: a first look, to choose the columns that are looked at exactly.
        """
        yield from zip(self.paths, self._narrow()._correlations(), strict=True)

    def _narrow(self) -> FittedVector:
        """In float32."""

        def of(values: Tensor | None) -> Tensor | None:
            return None if values is None else values.float()

        features = {id(path.features): path.features.float() for path in self.paths}
        paths = tuple(
            replace(path, direct=path.direct.float(), stored=of(path.stored), features=features[id(path.features)])
            for path in self.paths
        )
        return replace(self, residual=self.residual.float(), paths=paths, kept=of(self.kept), shown=of(self.shown))

    def _correlations(self) -> Iterator[Tensor]:
        size = torch.linalg.vector_norm(self.residual, dim=(0, 1)).clamp_(min=torch.finfo(self.residual.dtype).tiny)
        later2 = None
        if self.kept is not None and self.shown is not None:
            later2 = _going_back(self.kept**2, self._within(self.shown) ** 2)
        for path, along in self.pulled():
            square = path.direct**2
            if path.stored is not None and later2 is not None:
                square = square + path.stored**2 * later2
            length2 = self._summed(path, square, path.features.square())
            yield (along / (length2.sqrt() * size[:, None])).nan_to_num_(0, 0, 0)

    def pulled(self) -> Iterator[tuple[Path, Tensor]]:
        """For each path, (U, width): the residual times each parameter's column, Σ over steps and items."""
        r, later = self.residual, None
        if self.kept is not None and self.shown is not None:
            later = _going_back(self.kept, self._within(self.shown) * r)
        for path in self.paths:
            pulled = path.direct * r
            if path.stored is not None and later is not None:
                pulled = pulled + path.stored * later
            yield path, self._summed(path, pulled, path.features)

    def _summed(self, path: Path, left: Tensor, features: Tensor) -> Tensor:
        """(U, width): Σ over steps and items of left ⊗ (features, 1)."""
        left = self._within(left).flatten(0, 1)
        found = left.t() @ features.flatten(0, 1)
        return found if path.bias is None else torch.cat([found, left.sum(0)[:, None]], 1)


def _going_back(kept: Tensor, shown: Tensor) -> Tensor:
    """What a change of the cell state after each step does to all later steps: Σ shown ⊙ ∏ kept."""
    none = torch.zeros_like(kept[:1])
    factor, added = (torch.cat([none, of[1:].flip(0)]) for of in (kept, shown))
    return Scan(factor)(none[0], added).flip(0)
