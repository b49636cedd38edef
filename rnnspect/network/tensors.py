"""Arrays of any library as tensors of real numbers with memory of their own; and how far two tensors are apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from rnnspect.errors import SequenceError
from rnnspect.files import free_memory

_VALUES = 1 << 22  # compared together
_PACKED = {
    "bfloat16": (np.int16, torch.bfloat16),
    "float8_e4m3fn": (np.uint8, torch.float8_e4m3fn),
    "float8_e5m2": (np.uint8, torch.float8_e5m2),
}
"""The types of the package ml_dtypes, which JAX and ONNX use in arrays, by their names."""


def real(tensor: torch.Tensor, where: str) -> torch.Tensor:
    """The same numbers, dense, on the CPU, apart from the caller's memory and from autograd.

    Raises `SequenceError` for what holds no real numbers, `ResourceError` for a view that would not fit when
    written out.
    """
    checked(tensor, where)
    free_memory.require(tensor.numel() * max(tensor.element_size(), 8), "copying this tensor", where)
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def checked(tensor: torch.Tensor, where: str) -> torch.Tensor:
    """The same tensor. Raises `SequenceError` for what holds no real numbers."""
    plain = tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta
    if not plain or tensor.is_complex():
        raise SequenceError(f"the tensor is {_kind(tensor)}", allowed="a dense tensor of real numbers", where=where)
    return tensor


def from_anything(given: Any, where: str) -> torch.Tensor:
    """A tensor, or anything that numpy takes for an array of numbers."""
    if isinstance(given, torch.Tensor):
        return real(given, where)
    try:
        array = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        found = f"this {type(given).__name__} is not an array of numbers"
        raise SequenceError(found, allowed="numbers in rows of equal length", where=where) from error
    if array.dtype.name not in _PACKED and (array.dtype.kind not in "fiub" or array.dtype.itemsize > 8):
        found = f"a {type(given).__name__} of dtype {array.dtype.name}"
        raise SequenceError(found, allowed="real numbers", where=where)
    free_memory.require(math.prod(array.shape) * 8, "a copy of this array", where)
    return of_numpy(array)


def of_numpy(array: Any) -> torch.Tensor:
    """A copy of an array of numbers."""
    if array.dtype.name in _PACKED:
        integers, dtype = _PACKED[array.dtype.name]
        return torch.from_numpy(np.array(array.view(integers), order="C")).view(dtype)
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _kind(tensor: torch.Tensor) -> str:
    if tensor.is_meta:
        return "on the meta device, which has no values"
    return str(tensor.dtype).removeprefix("torch.") + ("" if tensor.layout == torch.strided else f" ({tensor.layout})")


def batch_major(values: torch.Tensor) -> torch.Tensor:
    """(B, T, ·) on the CPU, of (T, B, ·)."""
    return values.transpose(0, 1).cpu()


def differences(manual: torch.Tensor, engine: torch.Tensor) -> torch.Tensor:
    """engine − manual in float64; zero where both are the same infinity or both NaN."""
    apart = engine.double() - manual.double()
    if apart.isfinite().all():
        return apart
    same = (manual == engine) | (manual.isnan() & engine.isnan())
    return torch.where(same, 0, apart)


def first_apart(
    a: torch.Tensor, b: torch.Tensor, relative: float, absolute: float, valid: torch.Tensor | None = None
) -> tuple[int, ...] | None:
    """The place of the first number of a that is further than relative·|b| + absolute from that of b, or None.

    The same infinity, and NaN beside NaN, are not apart. Where `valid`, over the first two axes, is false nothing is.
    """
    count = max(1, _VALUES * len(a) // max(1, a.numel()))
    for start in range(0, len(a), count):
        rows = slice(start, start + count)
        one, other = (values[rows].detach().cpu().double() for values in (a, b))
        near = (one - other).abs() <= other.abs() * relative + absolute
        near |= (one == other) | (one.isnan() & other.isnan())
        if valid is not None:
            near |= ~valid[rows].cpu().unsqueeze(-1)
        if not bool(near.all()):
            first, *rest = (~near).nonzero()[0].tolist()
            return start + first, *rest
    return None


def max_abs_difference(manual: torch.Tensor, engine: torch.Tensor, rows: int = 1 << 12) -> float:
    """The largest |engine − manual|, taken `rows` at a time; NaN if a number stands beside a NaN."""
    starts = range(0, len(manual), rows)
    pieces = ((manual[at : at + rows], engine[at : at + rows]) for at in starts)
    return largest([differences(*piece).abs().max().item() for piece in pieces])


def largest(values: list[float]) -> float:
    """The largest, or NaN if one of them is."""
    return next((value for value in values if value != value), max(values, default=0.0))
