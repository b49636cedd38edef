"""The numbers of a recorded array, and which ways of rounding they fit, by chance or not."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.judging.rounding import EIGHT_BITS, RecordedPrecision, Rounding, bits

CHANCE = -3.0
"""log10 of the largest probability with which random numbers may look like that."""
PLAUSIBLE = 0.05
"""As a share of the largest number: nobody keeps less than two digits of it."""
_VALUES = 4096
"""How many values are looked at, from all over an array, and as many from its beginning."""
_HARDLY = -1.0
"""log10 of the largest probability with which the telling numbers may look rounded, where the others do not."""
_WRITTEN = 6
"""At most so many decimals are written."""
_FEW, _MANY, _LEVELS = 16, 16, 16
_FIRST = 64
"""Of a sample's values, so many or a few more are looked at before all are; it is no less than `_FEW`."""
_COUNTED = 2.0**24
"""An integer below it says nothing of the rounding; above it float32 holds no longer each of them, but those of other
dtypes that end in zeros were rounded."""
_FLOAT16_BITS = 11
_SCALED = 1e-6
"""Of the largest number of a dtype: beside an infinity a number above may have become one where np.round multiplied it
by ten for each of up to six decimals, but none that is no larger than a finite number beside it."""


@dataclass(frozen=True)
class Sample:
    """|v| of some finite values from all over an array, each once, in float64, and the dtype of the array."""

    values: Tensor
    dtype: torch.dtype
    zeros: bool = False
    """Whether some are zero, which are not among the values."""
    infinite: bool = False
    """Whether some are infinite."""

    @classmethod
    def of(cls, array: Tensor) -> Sample:
        if not array.is_floating_point():
            return cls(torch.zeros(0, dtype=torch.float64), torch.float64)
        if array.numel() > _VALUES:  # a mapped file is read at these places only; no period of theirs is a row's
            spread = (
                torch.arange(_VALUES, dtype=torch.float64).mul_((5**0.5 - 1) / 2).frac_().mul_(array.numel()).long()
            )
            first = torch.arange(_VALUES)  # what grows without end has its last finite numbers there
            array = array[torch.unravel_index(torch.cat([spread, first]), array.shape)]
        values = array.flatten().double().abs()
        distinct = values[values.isfinite() & (values != 0)].unique()  # type: ignore[no-untyped-call]
        return cls(distinct, array.dtype, bool((values == 0).any()), bool(values.isinf().any()))

    @cached_property
    def largest(self) -> float:
        """The largest value; 1 where all are zero, since a zero may have been any small number."""
        return float(self.values.max()) if len(self.values) else 1.0

    @cached_property
    def _few(self) -> Sample:
        return replace(self, values=self.values[:: len(self.values) // _FIRST or 1])

    @cached_property
    def telling(self) -> Tensor:
        """Which values tell something about the rounding. Integers do not, as saturated gates are ±1; nor do halves,
        as a saturated cell adds up, and small multiples of 1/16, which have few digits in any base."""
        unit = torch.where(self.values < 4, 16.0, 2.0)
        return self.values * unit != (self.values * unit).round()

    def changed(self, dtype: torch.dtype) -> Tensor:
        """Which of the telling values are no numbers of `dtype`, in which the run computed: these were made by
        rounding, while a number of bfloat16 may have few decimals by itself. All telling values where there is none, or
        where the array's own dtype is no wider."""
        changed = self.telling & ~_are_of(dtype, self.values)
        return changed if bits(dtype) < bits(self.dtype) and bool(changed.any()) else self.telling

    def fits(self, dtype: torch.dtype) -> bool:
        return bool(_are_of(dtype, self.values).all())

    def hardly_fits(self, dtype: torch.dtype) -> bool:
        """Whether random numbers of its own dtype would hardly all have as few bits as those of the other dtype."""
        return (bits(dtype) - bits(self.dtype)) * int(self.telling.sum()) * math.log10(2) <= CHANCE

    @property
    def scale_of_float16(self) -> float | None:
        """The power of two of which all values are numbers of float16, times it; None where they are not. Of several
        it is the smallest that allows each to be a multiple of what is next to 0."""
        fraction, exponent = self.values.frexp()
        whole = fraction.mul(2.0**_FLOAT16_BITS)
        if not len(whole) or bool((whole != whole.round()).any()):
            return None
        odd = whole.long()
        odd &= -odd  # the last bit that is not zero
        least = odd.log2().add(exponent - _FLOAT16_BITS).min()
        limits = torch.finfo(torch.float16)
        scale = 2.0 ** float(least) / (limits.tiny * limits.eps)
        return scale if self.largest <= scale * limits.max else None

    def scale(self, way: Rounding) -> Tensor:
        """1 / step where the numbers that a way allows are multiples of a step; 0 where it allows all, as it does those
        that their dtype holds with fewer digits than others."""
        if way.digits is not None:
            # 1 is the last of 0.98, 0.99, 1.0, or where numbers are few perhaps the first of 1.0, 1.1, 1.2
            decade = self.values.log10()
            decade = decade.floor() + 1 if len(self.values) < _FEW else decade.ceil()
            scale = 10.0 ** (way.digits - decade)
            return scale.masked_fill_(self.values < max(torch.finfo(self.dtype).tiny, 1e-290), 0)
        return torch.full_like(self.values, 0.0 if way.step is None else 1 / way.step)

    def on(self, way: Rounding) -> Tensor:
        """Which values are, when scaled, integers but for their storage, and but for the scaling itself; and fit its
        dtype."""
        scale = self.scale(way)
        dtype = min(way.dtype or self.dtype, self.dtype, key=bits)
        scaled, limits = self.values * scale, torch.finfo(dtype)
        room = scaled * (limits.eps + 2.0**-52) + scale * (limits.tiny * limits.eps)
        return ((scaled - scaled.round()).abs() <= room) & _are_of(dtype, self.values / way.scale)

    def lies_on(self, way: Rounding) -> bool:
        """Whether all values are on the grid. Few are tried first, since for most ways one of these is not."""
        return bool(self._few.on(way).all()) and bool(self.on(way).all())

    def refutes(self, way: Rounding) -> bool:
        """Whether it has many numbers that would show this rounding, but do not."""
        return int(self.telling.sum()) >= _MANY and not self.lies_on(way)

    @property
    def is_zero(self) -> bool:
        return self.zeros and not len(self.values)

    @property
    def is_one_short_number(self) -> bool:
        """Whether all of its numbers have one absolute value, of at most two digits, such as a limit. Not beside zeros,
        to which small numbers are rounded."""
        return len(self.values) == 1 and not self.zeros and self.lies_on(Rounding(digits=2))

    def is_fine_enough(self, kept: RecordedPrecision, way: Rounding) -> bool:
        """Whether two digits are left of the largest number of what was rounded so, as whoever chose it would see to
        for one array at least."""
        few = way.dtype in EIGHT_BITS or self.is_coarse_fixed_point(way)
        return few or kept.at(self.largest) <= PLAUSIBLE * self.largest

    def could_be(self, way: Rounding, taken: Rounding, steps: Tensor, dtype: torch.dtype) -> bool:
        """Whether it may have been rounded in a way that is coarser at some number than the one that was taken, which
        has these steps, of a run in `dtype`."""
        if not self.lies_on(way):
            return False
        to_zero = self.zeros and way.step is not None and (taken.step is None or way.step > taken.step)
        apart = self.step(way)
        # that numbers lie on a coarser grid than its own
        by_chance = float((apart / steps).log10().clamp(max=0)[self.changed(dtype)].sum())
        return by_chance >= CHANCE and (to_zero or bool((apart > steps * (1 + 1e-9)).any()))

    def is_coarse_fixed_point(self, way: Rounding) -> bool:
        """Whether it has numbers, and they would be at most `_LEVELS` steps."""
        return way.bits is not None and len(self.values) > 0 and self.largest * 2**way.bits <= _LEVELS

    def says(self, way: Rounding) -> bool:
        """Whether the rounding shows: not all numbers of the dtype look as if they had been rounded so."""
        says = bool((self.likely(way)[self.telling] < 1).all())
        few = way.decimals is not None and way.decimals <= _WRITTEN
        is_half = self.dtype in (torch.float16, torch.bfloat16)  # its large numbers are further apart than the grid
        says |= way.dtype in EIGHT_BITS and self.hardly_fits(way.dtype)
        return says or ((few or is_half) and self.chance(way) <= _HARDLY)

    def is_text_of(self, dtype: torch.dtype, way: Rounding) -> bool:
        """Whether these are numbers of a narrower dtype, written with enough digits to tell each from the next, which
        is at least ε/2 of its size away."""
        narrower = torch.finfo(dtype).eps > torch.finfo(self.dtype).eps
        if way.digits is None or way.off >= torch.finfo(dtype).eps / 4 or not narrower:
            return False
        apart = (self.values.to(dtype).double() - self.values).abs() * self.scale(way)
        decade = self.values.log10()
        powers = (decade - decade.round()).abs() < 1e-12  # 1.000 may have been 1.0004 or 0.99995: coarser above
        return bool((apart <= torch.where(powers, 5, 0.5) + 1e-6).all())

    def step(self, way: Rounding) -> Tensor:
        """How far apart the numbers are that a way allows, at each value: above 1.000 further than below."""
        limits = torch.finfo(min(way.dtype or self.dtype, self.dtype, key=bits))
        stored = torch.exp2(self.values.log2().floor()).clamp(min=way.scale * limits.tiny).mul_(limits.eps)
        scale, decade = self.scale(way), self.values.log10()
        apart = torch.where((decade == decade.round()) & (way.digits is not None), 10 / scale, 1 / scale)
        return torch.where(scale == 0, stored, torch.maximum(apart, stored))

    def likely(self, way: Rounding) -> Tensor:
        """How likely a random number of this dtype is to be so near its grid as each value is: three of them lie around
        each of its places, many between."""
        scale, limits = self.scale(way), torch.finfo(self.dtype)
        apart = limits.eps * self.values.clamp(min=limits.tiny)
        integers = torch.where(self.values < _COUNTED, torch.inf, apart.clamp(min=1))
        apart = torch.where(self.telling, apart, integers)
        says_nothing = (self.values * scale).round() == 0  # zero is on every grid, and so is what is hardly there
        return (3 * apart * scale).masked_fill_(says_nothing, 1).clamp_(max=1)

    def chance(self, way: Rounding) -> float:
        """log10 of how likely random numbers of this dtype are to be all on that grid."""
        return float(self.likely(way).log10().sum())

    def kept(self, way: Rounding, dtype: torch.dtype) -> RecordedPrecision:
        """How exactly an array that was rounded so holds numbers in `dtype`. Where its numbers fit both half types it
        is allowed what either loses."""
        stored = min(way.dtype or self.dtype, self.dtype, key=bits)
        may_be_float16 = dtype != torch.bfloat16 and self.fits(torch.float16)
        also = torch.float16 if self.dtype == torch.float16 or (stored == torch.bfloat16 and may_be_float16) else None
        kept = replace(way.kept(stored, dtype, also, self.is_text_of(dtype, way)), zeros=self.zeros and bool(way.cut))
        if not self.infinite:
            return kept
        shown = self.largest if len(self.values) else 0.0
        return replace(kept, largest=min(kept.largest, max(shown, way.scale * torch.finfo(stored).max * _SCALED)))


def _are_of(dtype: torch.dtype, values: Tensor) -> Tensor:
    """Which of them are numbers of the dtype."""
    return values.to(dtype).double() == values
