"""Arrays and pictures of a page as JSON: base64 of little-endian numbers."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from rnnspect.arithmetic.evaluation import Floats
from rnnspect.reporting.downsampling import MINUS, PLUS, Picture

_LEVELS = 2**16 - 1
EMPTY = 8
"""Flag of a cell that has no finite number."""
_LARGEST_HALF = float(np.array(0x7F7F0000, np.uint32).view(np.float32))
"""The largest finite number whose float32 ends in 16 zeros."""


def picture_document(picture: Picture, exact: bool = False) -> dict[str, Any]:
    """A picture of every number as these numbers, in float32 unless they have to be `exact`. Any other as two integers
    n of two bytes for each cell, which stand for the lowest and the highest number as `origin` + n · `step`, rounded
    outwards: no number is outside."""
    sizes = _sizes(picture)
    if picture.exact:
        return sizes | {"values": exactly(picture.low) if exact else array(picture.low, "<f4")}
    there = picture.low <= picture.high
    origin = float(picture.low[there].min(initial=np.inf)) if there.any() else 0.0
    top = float(picture.high[there].max(initial=-np.inf)) if there.any() else 0.0
    # A little more than the span over the levels, so that no rounding leaves the highest number outside.
    step = max((top - origin) / _LEVELS * (1 + 2.0**-40), 2.0**-1074) if top > origin else 0.0
    if origin + _LEVELS * step < top:  # a step so small has few digits itself, and may have been rounded down
        step = math.nextafter(step, math.inf)
    low, high = np.where(there, picture.low, origin), np.where(there, picture.high, origin)
    down = np.clip(np.floor((low - origin) / (step or 1)), 0, _LEVELS)
    up = np.clip(np.ceil((high - origin) / (step or 1)), 0, _LEVELS)
    down -= (origin + down * step > low) & (down > 0)
    up += (origin + up * step < high) & (up < _LEVELS)
    flags = picture.flags | np.where(there, 0, EMPTY).astype(np.uint8)
    made = sizes | {"origin": origin, "step": step, "low": array(down, "<u2"), "high": array(up, "<u2")}
    return made | ({"flags": array(flags, "|u1")} if flags.any() else {})


def wide_picture_document(picture: Picture) -> dict[str, Any]:
    """Of numbers that may span many powers of ten. A picture of every number as exactly these. Any other as the lowest
    and the highest number of each cell in two bytes each, the first two of a float32, rounded outwards: each is within
    1 % of what it stands for, however small. Beyond float32 is infinite on the page."""
    if picture.exact:
        return _sizes(picture) | {"values": exactly(picture.low)}
    there = picture.low <= picture.high
    flags = picture.flags | np.where(there & (picture.high > _LARGEST_HALF), PLUS, 0).astype(np.uint8)
    flags |= np.where(there & (picture.low < -_LARGEST_HALF), MINUS, 0).astype(np.uint8)
    low, high = np.maximum(picture.low, -_LARGEST_HALF), np.minimum(picture.high, _LARGEST_HALF)
    there &= low <= high  # not so where every number of a cell is beyond
    flags |= np.where(there, 0, EMPTY).astype(np.uint8)
    halves = {"low": -_rounded_up(np.where(there, -low, 0)), "high": _rounded_up(np.where(there, high, 0))}
    made = {name: array(values.astype(np.float32).view(np.uint32) >> 16, "<u2") for name, values in halves.items()}
    packed = {name: one | {"type": "b2"} for name, one in made.items()}
    made = _sizes(picture) | {"origin": 0.0, "step": 1.0} | packed
    return made | ({"flags": array(flags, "|u1")} if flags.any() else {})


def _rounded_up(values: Floats) -> Floats:
    """To the next number whose float32 ends in 16 zeros."""
    nearest = values.astype(np.float32)
    above = np.where(nearest < values, np.nextafter(nearest, np.float32(np.inf)), nearest).astype(np.float32)
    bits = above.view(np.uint32)
    # Towards zero is upwards for what is negative; else one more, where anything is cut off.
    cut = (bits & 0xFFFF0000) + np.where((bits & 0xFFFF != 0) & (above > 0), 0x10000, 0)
    rounded: Floats = cut.astype(np.uint32).view(np.float32).astype(np.float64)
    return rounded


def _sizes(picture: Picture) -> dict[str, Any]:
    return {name: getattr(picture, name) for name in ("steps", "units", "per_step", "per_unit")}


def exactly(values: Floats) -> dict[str, Any]:
    """As float32 where that holds every number, else as float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
    return array(values, "<f4" if np.array_equal(narrow, values, equal_nan=True) else "<f8")


def about(bound: Floats) -> dict[str, Any]:
    """To seven digits, as float32; as float64 where one is beyond its range."""
    small, large = bound[bound > 0].min(initial=1), bound[np.isfinite(bound)].max(initial=0)
    return array(bound, "<f4" if small >= 2.0**-126 and large < 2.0**127 else "<f8")


def array(values: npt.NDArray[Any], dtype: str) -> dict[str, Any]:
    """Numbers as they are unpacked by the page: their type, their shape and base64 of them."""
    with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite on the page
        data = np.ascontiguousarray(values, dtype)
    return {"type": dtype[1:], "shape": list(values.shape), "data": base64.b64encode(data.tobytes()).decode("ascii")}
