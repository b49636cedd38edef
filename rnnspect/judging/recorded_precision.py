"""How exactly a recording holds the numbers of a run: what its dtype, decimals or digits have rounded off.

Nobody says how a recording was rounded, but the numbers do. Numbers that all lie on the grid of a few decimals, of a
few significant digits or of a narrower dtype were rounded to it, unless they are there by chance. How likely that is
follows from how much closer together the numbers of their dtype lie; a reading that chance may explain is not taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

CHANCE = -3.0
"""log10 of how likely random numbers may at most be to look so."""
_NARROWEST_FIRST = (torch.bfloat16, torch.float16, torch.float32)
_MOST_DIGITS = 17
_VALUES = 4096  # looked at of an array
_OF_ZEROS = 2
_FEW = 64  # of which one or two may look like decimals and like digits


@dataclass(frozen=True)
class RecordedPrecision:
    """A recorded number v may be off by relative · |v| + absolute. `how` says it in words; empty where it is exact."""

    relative: float = 0.0
    absolute: float = 0.0
    how: str = ""

    @property
    def rounded(self) -> bool:
        return bool(self.relative or self.absolute)

    def error(self, values: Tensor) -> Tensor:
        """How far each of these may be off, in float64."""
        if not self.rounded:
            return torch.zeros_like(values, dtype=torch.float64)
        return values.double().abs().mul_(self.relative).add_(self.absolute)


EXACT = RecordedPrecision()


def kept_exactly(arrays: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, RecordedPrecision]:
    """How exactly each array of one recording holds the numbers of a run in `dtype`, by name.

    An array of too few numbers to tell is taken to be rounded as the coarsest of the others that its numbers fit. An
    array of zeros alone is taken to be rounded to two decimals: any small numbers may have been there.
    """
    samples = {name: _Sample.of(values) for name, values in arrays.items()}
    readings = {name: _reading(sample) for name, sample in samples.items()}
    coarsest = sorted({r for r in readings.values() if r.found}, key=lambda r: -r.error)
    for name, sample in samples.items():
        if not readings[name].found:
            others = (r for r in coarsest if sample.stored_as(r.dtype).lies_on(r))
            if other := next(others, None):
                readings[name] = replace(other, dtype=min(other.dtype, sample.dtype, key=_bits))
            elif sample.zeros and not len(sample.values):
                readings[name] = replace(readings[name], decimals=_OF_ZEROS, found=True)
    return {name: _kept(reading, dtype) for name, reading in readings.items()}


@dataclass(frozen=True)
class _Reading:
    """How an array was rounded: to a dtype, and to so many decimals or significant digits; 0 for neither. Both where
    it cannot be told which."""

    dtype: torch.dtype
    decimals: int = 0
    digits: int = 0
    found: bool = False
    """Whether the numbers say more than the dtype of their array."""

    @property
    def error(self) -> float:
        """About how far a number near 1 may be off."""
        decimals = 10.0**-self.decimals if self.decimals else 0.0
        return decimals + (10.0 ** (1 - self.digits) if self.digits else 0.0) + torch.finfo(self.dtype).eps


@dataclass(frozen=True)
class _Sample:
    """|v| of some finite values from all over an array, each once, in float64, and the dtype that they fit into."""

    values: Tensor
    dtype: torch.dtype
    count: int = 0
    """How many there were, equal ones included."""
    zeros: bool = False

    @classmethod
    def of(cls, array: Tensor) -> _Sample:
        if not array.is_floating_point():
            return cls(torch.zeros(0, dtype=torch.float64), torch.float64)
        if array.numel() > _VALUES:  # a mapped file is read at these places only; no period of theirs is a row's
            spread = torch.arange(_VALUES, dtype=torch.float64).mul_((5**0.5 - 1) / 2).frac()
            array = array[torch.unravel_index(spread.mul_(array.numel()).long(), array.shape)]
        values = array.flatten().double().abs()
        values = values[values.isfinite()]
        others = values[values != 0]
        distinct = others.unique()  # type: ignore[no-untyped-call]
        return cls(distinct, array.dtype, len(others), len(others) < len(values))

    def stored_as(self, dtype: torch.dtype) -> _Sample:
        return replace(self, dtype=min(dtype, self.dtype, key=_bits))

    @cached_property
    def telling(self) -> Tensor:
        """Which values say something of the rounding. Integers do not, as gates saturate at ±1; nor do small multiples
        of 1/16, which have few digits in every base."""
        unit = torch.where(self.values < 4, 16.0, 1.0)
        return self.values * unit != (self.values * unit).round()

    def fits(self, dtype: torch.dtype) -> bool:
        return bool((self.values.to(dtype).double() == self.values).all())

    def lies_on(self, reading: _Reading) -> bool:
        return self.fits(reading.dtype) and self.on_grid(self.scale(reading)) if len(self.values) else True

    def scale(self, reading: _Reading) -> Tensor:
        """10ⁿ where the numbers that a reading allows are multiples of 10⁻ⁿ; 0 where it allows all."""
        if reading.digits and not reading.decimals:
            return 10.0 ** (reading.digits - 1 - self.values.log10().floor())
        return torch.full_like(self.values, 10.0**reading.decimals if reading.decimals else 0.0)

    def on_grid(self, scale: Tensor) -> bool:
        """Whether each is, when scaled, an integer but for its storage, and but for the scaling itself."""
        scaled, limits = self.values * scale, torch.finfo(self.dtype)
        room = scaled * (limits.eps + 2.0**-52) + scale * (limits.tiny * limits.eps)
        return bool(((scaled - scaled.round()).abs() <= room).all())

    def chance(self, scale: Tensor) -> float:
        """log10 of how likely random numbers of this dtype are to be so on that grid: three of them lie around each
        of its places, many between."""
        likely = (3 * torch.finfo(self.dtype).eps * self.values * scale)[self.telling]
        return float(likely.clamp(max=1).log10().sum())


def _reading(sample: _Sample) -> _Reading:
    """How a sample was rounded: in the way that is least likely by chance; not at all where chance may explain each."""
    plain = _Reading(sample.dtype)
    count = int(sample.telling.sum())
    for dtype in _NARROWEST_FIRST:
        spared = _bits(sample.dtype) - _bits(dtype)
        if spared > 0 and -spared * count * math.log10(2) <= CHANCE and sample.fits(dtype):
            sample, plain = sample.stored_as(dtype), _Reading(dtype, found=True)
            break
    if not count:
        return plain
    decimals = (_Reading(plain.dtype, decimals=n, found=True) for n in range(1, _MOST_DIGITS + 1))
    digits = (_Reading(plain.dtype, digits=n, found=True) for n in range(1, _MOST_DIGITS + 1))
    tried = []
    for grids in (decimals, digits):
        coarsest = next((grid for grid in grids if sample.on_grid(sample.scale(grid))), None)
        if coarsest and (chance := sample.chance(sample.scale(coarsest))) <= CHANCE:
            tried.append((chance, coarsest))
    if len(tried) < 2:
        return tried[0][1] if tried else plain
    (one, by_decimals), (other, by_digits) = tried
    better = other < one * (1 + 1e-9)
    alike = torch.equal(sample.scale(by_decimals), sample.scale(by_digits))
    if not alike and abs(one - other) < -CHANCE and (sample.count < _FEW or (better and sample.zeros)):
        return replace(by_decimals, digits=by_digits.digits)  # no number was rounded to 0 by digits
    return by_digits if better else by_decimals


def _kept(reading: _Reading, dtype: torch.dtype) -> RecordedPrecision:
    """How exactly numbers in `dtype` are held by an array that was rounded so."""
    have, had = torch.finfo(reading.dtype), torch.finfo(dtype)
    relative = have.eps / 2 if have.eps > had.eps else 0.0
    absolute = have.tiny * have.eps if have.tiny * have.eps > had.tiny * had.eps else 0.0
    grids = []
    if reading.decimals:
        absolute += 0.5 * 10.0**-reading.decimals
        grids.append(f"{reading.decimals} decimal{'s' if reading.decimals > 1 else ''}")
    if (lost := 0.5 * 10.0 ** (1 - reading.digits)) > had.eps / 8 and reading.digits:  # %.9g loses nothing of float32
        relative += lost
        grids.append(f"{reading.digits} significant digit{'s' if reading.digits > 1 else ''}")
    narrow = str(reading.dtype).removeprefix("torch.") if have.eps > had.eps else ""
    return RecordedPrecision(relative, absolute, ", ".join(filter(None, (narrow, " or ".join(grids)))))


def _bits(dtype: torch.dtype) -> int:
    """How many bits the fraction of a number has."""
    return round(-math.log2(torch.finfo(dtype).eps))
