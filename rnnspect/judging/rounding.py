"""Ways of rounding numbers as they are written down, their names, and how far each moves a number."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from rnnspect.errors import InputError, nearest

EIGHT_BITS = (torch.float8_e5m2, torch.float8_e4m3fn)
_DTYPES = {
    str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.float16, torch.bfloat16, *EIGHT_BITS)
}
_EXACT = "exact"
_HALF = 0.501
"""As a share of a step. Who divides by the step rounds before, so that a number between two multiples may become the
further one."""
_SMALLEST_WRITTEN = 1e-12
"""A smaller step is not written as one of so many in 1."""
_ALLOWED = (
    "exact, float32, float16, float16:1/1024, bfloat16, float8_e4m3fn, float8_e5m2, multiples:1/127, decimals:4, "
    "digits:5, bits:7, %.4f, %.3e, %.6g; truncated: or floored: before one of these"
)
_NUMBERED = re.compile(r"(decimals|digits|bits):(\d{1,2})")
_MULTIPLES = re.compile(r"multiples:(1/)?(\d+(?:\.\d+)?(?:e-?\d+)?)", re.IGNORECASE)
_SCALED = re.compile(r"float16:(1/)?(\d{1,12})")
_FORMAT = re.compile(r"%\.(\d{1,2})([feg])", re.IGNORECASE)


@dataclass(frozen=True)
class RecordedPrecision:
    """A recorded number v may be off by relative · |v| + absolute. `how` says it in words; empty where it is exact."""

    relative: float = 0.0
    absolute: float = 0.0
    how: str = ""
    largest: float = math.inf
    """Numbers beyond it are infinite in the recording."""
    restored: torch.dtype | None = None
    """The dtype whose nearest number is what was meant: text of enough digits for it, which was read in a wider one."""
    cut: Rounding | None = None
    """How the numbers were truncated or rounded down; None where they were rounded to nearest."""
    zeros: bool = False
    """Whether some of them are 0, which a number of either sign may have become."""

    def times(self, factor: float) -> RecordedPrecision:
        """The same with `factor` times the error."""
        return replace(self, relative=factor * self.relative, absolute=factor * self.absolute)

    @property
    def rounded(self) -> bool:
        return bool(self.relative or self.absolute)

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype that the numbers are of, if it is narrower than the engine's."""
        return _DTYPES.get(re.split("[ ,]", self.how)[0])

    @property
    def relative_as_written(self) -> float:
        """`relative` of the numbers as they stand in the recording: text that tells each number of a dtype from the
        next is off by up to a quarter of what lies between them."""
        return self.relative if self.restored is None else max(self.relative, torch.finfo(self.restored).eps / 4)

    def at(self, value: float) -> float:
        """How far a number of that size may be off."""
        return self.relative * value + self.absolute

    def beyond(self, own: Tensor, error: Tensor, recorded: Tensor) -> Tensor:
        """Where a recorded number is the infinity, or the largest number, that a right one, own ± error, became for
        want of range."""
        return (recorded.abs() >= self.largest) & (own * recorded.sign() + error > self.largest)

    def numbers(self, values: Tensor) -> Tensor:
        """These numbers as they were before they were written as text, where that is known."""
        return values if self.restored is None else values.to(self.restored)

    def centred(self, values: Tensor) -> tuple[Tensor, RecordedPrecision]:
        """Truncated numbers moved to the middle of the range that each may come from, so that they are off by half as
        much; others as they are."""
        if self.cut is None:
            return values, self
        absolute = self.absolute if self.zeros else self.absolute / 2
        return self.cut.centred(values), replace(self, relative=self.relative / 2, absolute=absolute, cut=None)

    def error(self, values: Tensor) -> Tensor:
        """How far each of these may be off, in float64."""
        if not self.rounded:
            return torch.zeros_like(values, dtype=torch.float64)
        return values.double().abs().mul_(self.relative).add_(self.absolute)


EXACT = RecordedPrecision()


def sizes_of(values: Tensor) -> Tensor:
    """The sizes of recorded numbers that are compared, by which they may be off, in new memory. Of infinity and NaN
    that is 0: where the equations give a number that could be recorded, they are wrong."""
    return values.abs().nan_to_num_(0.0, 0.0)


@dataclass(frozen=True)
class Rounding:
    """How numbers were rounded: to a dtype, to so many decimals, to so many significant digits, in fixed point to so
    many bits after the binary point, or to multiples of a step; None for not so. `scale` is a power of two by which
    numbers of the dtype were multiplied: gradients of a scaled loss are numbers of float16, divided by its factor.
    `cut` says that they were not rounded to nearest, but truncated (towards zero) or floored (down)."""

    dtype: torch.dtype | None = None
    decimals: int | None = None
    digits: int | None = None
    bits: int | None = None
    multiples: float | None = None
    scale: float = 1.0
    cut: Literal["", "truncated", "floored"] = ""

    @property
    def name(self) -> str:
        """As a user says it: decimals:4, truncated:decimals:4."""
        return f"{self.cut}:{self._nearest}" if self.cut else self._nearest

    @property
    def _nearest(self) -> str:
        for kind, count in (("decimals", self.decimals), ("digits", self.digits), ("bits", self.bits)):
            if count is not None:
                return f"{kind}:{count}"
        if self.multiples is not None:
            return f"multiples:{_written(self.multiples)}"
        times = "" if self.scale == 1 else f":{_written(self.scale)}"
        return _EXACT if self.dtype is None else str(self.dtype).removeprefix("torch.") + times

    def __str__(self) -> str:
        """In words: 4 decimals."""
        return self.grid or self._nearest

    @property
    def done(self) -> str:
        """As a clause: rounded to 4 decimals."""
        return {"": "rounded", "truncated": "truncated", "floored": "rounded down"}[self.cut] + f" to {self}"

    @property
    def grid(self) -> str:
        """Decimals, digits, bits or multiples in words: 4 decimals. Empty for none of them."""
        if self.multiples is not None:
            return f"multiples of {_written(self.multiples)}"
        if self.bits is not None:
            return f"multiples of 1/{2**self.bits}"
        for kind, count in (("decimal", self.decimals), ("significant digit", self.digits)):
            if count is not None:
                return f"{count} {kind}{'' if count == 1 else 's'}"
        return ""

    @property
    def step(self) -> float | None:
        """How far apart numbers of so many decimals or bits are, or multiples."""
        if self.multiples is not None:
            return self.multiples
        if self.decimals is not None:
            return 10.0**-self.decimals
        return None if self.bits is None else 2.0**-self.bits

    @property
    def error(self) -> float:
        """About how far a number near 1 may be off."""
        digits = 0.0 if self.digits is None else 10.0 ** (1 - self.digits)
        return (self.step or 0.0) + digits + (0.0 if self.dtype is None else torch.finfo(self.dtype).eps)

    @property
    def off(self) -> float:
        """How far, relative to it, a number of so many digits may be off at most."""
        return 0.0 if self.digits is None else 0.5 * 10.0 ** (1 - self.digits)

    def kept(
        self, stored: torch.dtype, dtype: torch.dtype, also: torch.dtype | None = None, restores: bool = False
    ) -> RecordedPrecision:
        """How exactly numbers in `dtype` are held that were rounded so and are stored in the dtype `stored`, or it may
        be in `also`. `restores` says whether the nearest number of `dtype` is what was written."""
        have, had = torch.finfo(stored), torch.finfo(dtype)
        absolute, largest, grid = 0.0, math.inf, self.grid
        relative = have.eps / 2 if have.eps > had.eps else 0.0
        formats = [torch.finfo(of) for of in (stored, also or stored)]
        lost = self.scale * max(one.tiny * one.eps for one in formats)
        if lost > had.tiny * had.eps:  # float16 has less range too
            absolute = lost
        if (most := self.scale * min(one.max for one in formats)) < had.max:
            largest = most
        narrower = relative or absolute or largest < math.inf
        if self.step is not None:
            absolute += (0.5 if self.multiples is None else _HALF) * self.step
        restored = None
        if self.digits is not None:
            if restores:
                grid, restored = "", dtype
            elif self.off > had.eps / 8:
                relative += self.off
            else:  # %.9g loses nothing of float32
                grid = ""
        how = self.cut.replace("floored", "rounded down")
        if self.cut:  # by a whole step, or by half of one from the middle (`centred`)
            relative, absolute = 2 * relative, 2 * absolute
        narrow = str(stored).removeprefix("torch.") if narrower else ""
        if self.scale != 1:
            narrow += f" times {_written(self.scale)}"
        said = ", ".join(filter(None, (narrow, grid, how)))
        return RecordedPrecision(relative, absolute, said, largest, restored, self if self.cut else None)

    def centred(self, values: Tensor) -> Tensor:
        """Truncated numbers moved to the middle of the range that each may come from; 0 stays."""
        size = values.double().abs()
        if self.digits is not None:
            step = 10.0 ** (size.log10().floor() + 1 - self.digits)
        elif self.step is not None:
            step = torch.full_like(size, self.step)
        else:
            step = torch.finfo(self.dtype or values.dtype).eps * 2.0 ** (size.frexp().exponent.double() - 1)
        half = torch.where(size == 0, 0, step / 2)
        return (values.double() + (half if self.cut == "floored" else half * values.sign())).to(values.dtype)


def named(text: str | None, where: str | None = None) -> Rounding | None:
    """The rounding that a user names; None without a name. Raises `InputError` for another name."""
    if text is None:
        return None
    said = text.strip()
    cut, _, way = said.partition(":")
    if cut in ("truncated", "floored") and way.partition(":")[0] not in ("", _EXACT, "truncated", "floored"):
        rounded = named(way, where)
        assert rounded is not None
        return replace(rounded, cut="truncated" if cut == "truncated" else "floored")
    if said == _EXACT:
        return Rounding()
    if said in _DTYPES:
        return Rounding(_DTYPES[said])
    if found := _NUMBERED.fullmatch(said):
        count = int(found[2])
        if found[1] == "decimals":
            return Rounding(decimals=count)
        if found[1] == "bits":
            return Rounding(bits=count)
        if count:
            return Rounding(digits=count)
    if (found := _SCALED.fullmatch(said)) and (count := int(found[2])) and count.bit_count() == 1:
        return Rounding(torch.float16, scale=1 / count if found[1] else count)
    if (found := _MULTIPLES.fullmatch(said)) and (step := float(found[2])) > 0:
        step = 1 / step if found[1] else step
        if 0 < step < math.inf:
            return Rounding(multiples=step)
    if found := _FORMAT.fullmatch(said):
        count, letter = int(found[1]), found[2].lower()
        if letter == "f":
            return Rounding(decimals=count)
        return Rounding(digits=count + 1 if letter == "e" else max(1, count))
    names = [_EXACT, *_DTYPES, "decimals:4", "digits:5", "bits:7", "multiples:1/127", "%.4f", "%.3e", "%.6g"]
    raise InputError(
        f"no way of rounding is called {text!r}", allowed=_ALLOWED, nearest=nearest(said, names), where=where
    )


def _written(step: float) -> str:
    """1/127, or 0.00784313726."""
    ones = round(1 / step) if _SMALLEST_WRITTEN < step < 1 else 0
    return f"1/{ones}" if ones and math.isclose(ones * step, 1, rel_tol=1e-12) else f"{step:.12g}"


def bits(dtype: torch.dtype) -> int:
    """How many bits the fraction of a number has."""
    return round(-math.log2(torch.finfo(dtype).eps))
