"""Ours, rounded: to a half type, or to a few bits with one scale for a tensor, a gate, a row or a group."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from rnnspect.causes.known._rounded_values import cut_off
from rnnspect.causes.recovered.part import ParameterPart, Relation

_TYPES = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
}
_BITS = (8, 7, 6, 5, 4, 3, 2)
_HALF_WAY = 2.0**-22
"""The largest relative error of a quotient in float32 whose divisor, a scale, is also in float32."""
_GROUPS = (16, 32, 64, 128, 256)


def half(part: ParameterPart) -> Relation | None:
    """Rounded to a floating-point type of 16 or 8 bits."""
    for name, dtype in _TYPES.items():
        if part.fits(part.made(partial(_as, dtype))):
            return Relation(f"is rounded to {name} in the engine", tuple(_as(dtype, term) for term in part.terms))
    for name in ("float16", "bfloat16"):
        cut = partial(cut_off, dtype=_TYPES[name])
        if part.fits(part.made(cut)):
            return Relation(f"is cut to {name}, towards zero, in the engine", tuple(map(cut, part.terms)))
    return None


def _as(dtype: torch.dtype, of: Tensor) -> Tensor:
    return of.float().to(dtype).double()


def bits(part: ParameterPart) -> Relation | None:
    """Rounded to a few bits: to integers times a scale, with or without a zero point, where the scale is the largest
    number divided by the number of steps. Weights of float32 are rounded in float32."""
    if len(part.terms) > 1:
        return None
    ours, theirs = part.ours.float(), torch.where(part.told, part.theirs, part.ours)
    ours = ours if torch.equal(ours.double(), part.ours) else part.ours
    for by, blocks in _blocks(ours, part.gates):
        for count in _BITS:
            for how, scale, zero in _scales(blocks, count):
                most, least = (2**count - 1, 0) if how else (2 ** (count - 1) - 1, -(2 ** (count - 1)))
                steps = _nearest(blocks / scale, theirs.to(scale.dtype).view(blocks.shape) / scale) + zero
                rounded = ((steps.clamp(least, most) - zero) * scale).reshape(ours.shape).double()
                if part.fits(rounded):
                    size = f", scale {float(scale.flatten()[0]):.4g}" if scale.numel() == 1 else ""
                    return Relation(f"is rounded to {count} bits by {by}{size}{how} in the engine", (rounded,))
    return None


def _nearest(steps: Tensor, theirs: Tensor) -> Tensor:
    """Rounded to whole steps. A number of ours about half-way between two steps is rounded to the one that is nearer to
    the recovered number: float32 may give either."""
    half_way = (steps.frac().abs() - 0.5).abs() <= _HALF_WAY * steps.abs()
    return torch.where(half_way, theirs, steps).round().clamp(steps.floor(), steps.ceil())


def _blocks(ours: Tensor, gates: tuple[str, ...]) -> Iterator[tuple[str, Tensor]]:
    """The numbers as rows that share a scale, with words for what shares one."""
    rows, columns = ours.shape
    yield "tensor", ours.reshape(1, -1)
    if len(gates) > 1 and rows % len(gates) == 0:
        yield "gate", ours.reshape(len(gates), -1)
    if columns > 1:
        yield "row", ours
        for group in _GROUPS:
            if columns > group and columns % group == 0:
                yield f"group of {group}", ours.reshape(-1, group)


def _scales(blocks: Tensor, count: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The words for it, the scale and the zero point, (blocks, 1) each."""
    largest = blocks.abs().amax(1, keepdim=True).clamp(min=torch.finfo(blocks.dtype).tiny)
    none = torch.zeros_like(largest)
    yield "", largest / (2 ** (count - 1) - 1), none
    yield "", largest / 2 ** (count - 1), none
    yield "", largest / ((2**count - 1) / 2), none
    low, high = blocks.amin(1, keepdim=True).clamp(max=0), blocks.amax(1, keepdim=True).clamp(min=0)
    scale = ((high - low) / (2**count - 1)).clamp(min=torch.finfo(blocks.dtype).tiny)
    yield " with a zero point", scale, (-low / scale).round()
