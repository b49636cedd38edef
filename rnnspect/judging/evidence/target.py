"""A vector of a step whose units each depend on parameters of their own, linearised in small changes of these."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.arithmetic.product_bounds import affine
from rnnspect.arithmetic.scan import Scan
from rnnspect.judging.chunks import ALL

_FAR, _PER_ONE = 16, 8
"""The bins of an argument: up to ±16, eight in 1. The errors of σ and tanh in libraries vary no faster: exp is reduced
to an interval of log 2, and rational functions are used in one or a few pieces."""
_ALIKE = 4
"""So many neighbouring numbers of float32 count as about the same: σ computed as 1 / (1 + exp(−s)) is rounded more
coarsely than its value, namely at 1 + exp(−s)."""


def _as_it_is(moved: Tensor) -> Tensor:
    return moved


@dataclass(frozen=True, eq=False)
class Path:
    """How a block of rows of one weight moves a target: row j multiplies `features` and moves unit j. `block` is the
    place of the rows among the blocks of the weight. `direct` is the slope of the target by step, (T, B, U), and
    `stored` that of the cell state, None where there is none. `features` (T, B, K) are followed by a 1 where the rows
    have a bias."""

    weight: str
    bias: str | None
    gate: str | None
    block: int
    direct: Tensor
    stored: Tensor | None
    features: Tensor
    product: Tensor
    """The product of the rows without their bias, (T, B, U)."""

    @property
    def is_vector(self) -> bool:
        """Whether the weight is a vector, with one number for each unit."""
        return self.weight not in ("weight_ih", "weight_hh", "weight_hr")

    @cached_property
    def multiplied(self) -> Tensor:
        """(T, B, width): the features, and the 1 for the bias."""
        if self.bias is None:
            return self.features
        return torch.cat([self.features, torch.ones_like(self.features[..., :1])], -1)

    @property
    def width(self) -> int:
        return self.features.shape[-1] + (self.bias is not None)

    def entry(self, units: int, unit: int, place: int) -> tuple[str, tuple[int, ...]]:
        """The parameter of a column of a unit, and the index in it."""
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
    """The product that a vector enters before it reaches h: these rows of a weight, with one column for each unit."""

    weight: str
    rows: Tensor
    grown: Tensor
    """(T, B, U): the change of the vector's residual if a column were twice as large."""


@dataclass(frozen=True, eq=False)
class FittedVector:
    """A vector whose units each depend on rows of their own, with its residual (T, B, U), which is zero beyond an
    item's end. `kept` and `shown` are the slopes of the cell state and of this vector by the cell state before the
    step; None where the cell has none."""

    residual: Tensor
    paths: tuple[Path, ...]
    kept: Tensor | None
    shown: Tensor | None
    inside: Tensor
    """(T, B): whether the item has that step."""
    sites: Callable[[], Iterable[Site]] = tuple
    """The places where an engine's arithmetic errs; called only where a change was found."""
    onto_h: Callable[[Tensor], Tensor] = _as_it_is
    """From a change of this vector (T, B, U) to that of h (T, B, P)."""
    from_h: Callable[[Tensor], Tensor] = _as_it_is
    """From the residual of h (T, B, P) to that of this vector (T, B, U): the adjoint of `onto_h`."""
    onward: Onward | None = None
    """None where the vector is h itself."""
    allowed: Callable[[Tensor], Tensor] = _as_it_is
    """From how far h may be off (T, B, P) to how far the residual (T, B, U) may be."""

    def rows(self, path: Path) -> slice:
        """The rows of a path in the parameters."""
        return slice(path.block * self.units, (path.block + 1) * self.units)

    def moved(self, by: Iterable[tuple[Path, Tensor]], units: slice = ALL) -> Tensor:
        """(T, B, U): the change of the vector, or of some of its units, if the results of the paths change by so
        much."""
        of_h, of_c = torch.zeros_like(self.residual[..., units]), None
        for path, change in by:
            own = change[..., units]
            of_h.addcmul_(path.direct[..., units], own)
            if path.stored is not None:
                stored = path.stored[..., units]
                of_c = stored * own if of_c is None else of_c.addcmul_(stored, own)
        if of_c is not None and self.kept is not None and self.shown is not None:
            Scan(self.kept[..., units].contiguous())(torch.zeros_like(of_c[0]), of_c)
            of_h[1:].addcmul_(of_c[:-1], self.shown[1:, :, units])
        return self.within(of_h)

    def moved_each(self, by: Sequence[tuple[Path, Tensor]]) -> Tensor:
        """(n, T, B, U): as `moved`, for each of n changes by itself."""
        of_h = torch.stack([path.direct * change for path, change in by])
        stored = [(at, path.stored * change) for at, (path, change) in enumerate(by) if path.stored is not None]
        if stored and self.kept is not None and self.shown is not None:
            of_c = torch.stack([of for _, of in stored], 1)  # step by step, all at once
            Scan(self.kept[:, None])(torch.zeros_like(of_c[0]), of_c)
            for place, (at, _) in enumerate(stored):
                of_h[at, 1:].addcmul_(of_c[:-1, place], self.shown[1:])
        return self.within(of_h)

    def within(self, values: Tensor) -> Tensor:
        """Values (T, B, ·), zero where the item does not have that step."""
        return values if bool(self.inside.all()) else torch.where(self.inside[..., None], values, 0)

    def changed(self, direction: Mapping[str, Tensor]) -> Iterator[tuple[Path, Tensor]]:
        """The change of each path's result if the parameters, by their names, change by so much."""
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
        single roundings, of unit roundoff u. Where a site has about the same value of float32, it is rounded the same
        way, or one way up to some value there and the other from it on, as where a gate is nearly saturated; all else
        falls either way, so that the squares add up."""
        units = slice(None) if unit is None else slice(unit, unit + 1)
        square, pull = 0.0, self._pull(column[..., units], units)
        for site in self.sites():
            errors, value = pull(site) * site.size[..., units], site.value[..., units]
            alike = value.float().view(torch.int32).long().div_(_ALIKE, rounding_mode="floor")
            alike += torch.arange(errors.shape[-1]) << 32  # each unit by itself
            square += float(_worst_split(errors.flatten(), alike.flatten(), value.flatten()).square().sum())
        return 2 * u * math.sqrt(square)

    def _pull(self, a: Tensor, units: slice) -> Callable[[Path | Site], Tensor]:
        """A function that gives Σ a ⊙ (change of the vector) for a change by 1 at one number of a path or site: (T, B,
        U). a is (T, B, U) of some units."""
        later = None
        if self.kept is not None and self.shown is not None:
            later = going_back(self.kept[..., units].contiguous(), self.shown[..., units] * a)

        def pull(place: Path | Site) -> Tensor:
            pulled = torch.zeros_like(a) if place.direct is None else place.direct[..., units] * a
            if place.stored is not None and later is not None:
                pulled = pulled + place.stored[..., units] * later
            return self.within(pulled)

        return pull

    @property
    def units(self) -> int:
        return self.residual.shape[-1]

    def entries(self, unit: int) -> list[tuple[Path, str, tuple[int, ...]]]:
        """For each column of a unit its path, its parameter and the index in it."""
        return [(path, *path.entry(self.units, unit, place)) for path in self.paths for place in range(path.width)]

    def columns(self, unit: int, places: Tensor | None = None) -> Tensor:
        """(T · B, Σ widths): the change of the residual by each parameter of a unit's rows, per unit of the parameter;
        or by some of these parameters, in rising order."""
        given = [(path, of) for path, of in zip(self.paths, self._multiplied(places), strict=True) if of.shape[-1]]
        columns = self._side_by_side([(path.direct[..., unit, None], of) for path, of in given])
        through = [(by[..., unit, None], of) for path, of in given if (by := path.stored) is not None]
        if through and self.kept is not None and self.shown is not None:
            moved = self._side_by_side(through)  # of all at once: there are few numbers in one
            Scan(self.kept[..., unit, None])(torch.zeros_like(moved[0]), moved)
            shown, start, taken = self.shown[1:, :, unit, None], 0, 0
            for path, of in given:
                width = of.shape[-1]
                if path.stored is not None:
                    columns[1:, :, start : start + width].addcmul_(moved[:-1, :, taken : taken + width], shown)
                    taken += width
                start += width
        return self.within(columns).flatten(0, 1)

    def _side_by_side(self, products: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """(T, B, Σ widths)"""
        made = self.residual.new_empty(*self.inside.shape, sum(of.shape[-1] for _, of in products))
        for (slope, of), part in zip(
            products, torch.split(made, [of.shape[-1] for _, of in products], -1), strict=True
        ):
            torch.mul(slope, of, out=part)
        return made

    def _multiplied(self, places: Tensor | None) -> Iterator[Tensor]:
        """What the rows of each path multiply; or only some places among all of these."""
        start = 0
        for path in self.paths:
            own = None if places is None else places[(places >= start) & (places < start + path.width)] - start
            if own is None or torch.equal(own, torch.arange(len(own))):
                yield path.multiplied[..., : path.width if own is None else len(own)]
            else:
                yield path.multiplied[..., own]
            start += path.width

    def pulled(self) -> Iterator[tuple[Path, Tensor]]:
        """For each path, (U, width): the scalar product of the residual with the column of each parameter, over steps
        and items."""
        r, later = self.residual, None
        if self.kept is not None and self.shown is not None:
            later = going_back(self.kept, self.within(self.shown) * r)
        pulled = [path.direct * r for path in self.paths]
        if later is not None:
            for of, path in zip(pulled, self.paths, strict=True):
                if path.stored is not None:
                    of.addcmul_(path.stored, later)
        yield from zip(self.paths, self.summed(pulled), strict=True)

    def summed(self, left: Sequence[Tensor], squared: bool = False) -> list[Tensor]:
        """For each path, (U, width): Σ over steps and items of left ⊗ (features, 1); of their squares if `squared`."""
        found: dict[int, Tensor] = {}
        alike: dict[tuple[int, bool], list[int]] = {}  # paths with the same features: one product has them all
        for at, path in enumerate(self.paths):
            alike.setdefault((id(path.features), path.bias is None), []).append(at)
        for places in alike.values():
            given = self.paths[places[0]].multiplied.flatten(0, 1)
            rows = self.within(torch.cat([left[at] for at in places], -1)).flatten(0, 1)
            product = affine(rows.t(), (given.square() if squared else given).t(), None)
            found |= dict(zip(places, torch.split(product, self.units), strict=True))
        return [found[at] for at in range(len(self.paths))]


def _worst_split(errors: Tensor, cell: Tensor, value: Tensor) -> Tensor:
    """For each cell (rows with about the same value), the largest |Σ errors| if the errors above some value may have
    the opposite sign: (cells,)."""
    order = torch.argsort(value)
    order = order[torch.argsort(cell[order], stable=True)]
    _, place, counts = torch.unique_consecutive(cell[order], return_inverse=True, return_counts=True)
    below = errors[order].cumsum(0)
    ends = below[counts.cumsum(0) - 1]
    starts = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])
    total = ends - starts
    split = (total[place] - 2 * (below - starts[place])).abs_()
    return total.abs().scatter_reduce(0, place, split, "amax")


def going_back(kept: Tensor, shown: Tensor) -> Tensor:
    """The effect of a change of the cell state after each step on all later steps: Σ shown ⊙ ∏ kept."""
    none = torch.zeros_like(kept[:1])
    factor, added = (torch.cat([none, of[1:].flip(0)]) for of in (kept, shown))
    return Scan(factor)(none[0], added).flip(0)
