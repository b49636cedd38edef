"""Values rounded to a narrower dtype where a step computes them, with the bound that they then have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.product_bounds import Rows


def is_number(value: Any) -> bool:
    """Whether it is one, and not what stands for one where the lines of a cell are tried."""
    return isinstance(value, Tensor | np.ndarray | Number)


def rounded(value: Any, dtype: torch.dtype, shift: float = 0.0, scale: float = 1.0) -> Any:
    """A number rounded to a dtype; with `shift` and `scale` as shift + scale ⊙ what is rounded. As rounding is
    monotonous, its bound is that of the rounded ends: nothing at all where both ends are rounded to the same number.
    What is no number stays as it is."""
    if isinstance(value, np.ndarray):
        return rounded(torch.from_numpy(value), dtype, shift, scale).numpy()
    if isinstance(value, Tensor):
        return ((value - shift) / scale).to(dtype).to(value.dtype) * scale + shift
    if not isinstance(value, Number):
        return value
    low, v, high = (rounded(value.v + off, dtype, shift, scale) for off in (-value.e, 0, value.e))
    e = torch.maximum(high - v, v - low)
    if scale != 1:
        e = e + value.u.sums  # of the sum and the difference
    rows = value.rows and Rows(rounded(value.rows.v, dtype).view(*value.rows.shape, -1), _of_rows(value.rows, dtype))
    return replace(value, v=v, e=e, rows=rows, errors=None, sums=None)


def _of_rows(rows: Rows, dtype: torch.dtype) -> Tensor | None:
    """An error of rounded vectors, (steps, batch, 1), whose length is at least that of theirs."""
    if rows.error is None:
        return None
    more = rows.norm * torch.finfo(dtype).eps
    return (rows.error + torch.where(rows.error > 0, more, 0)).view(*rows.shape, 1)


def cut_off(v: Tensor, dtype: torch.dtype) -> Tensor:
    """v rounded to a half type towards zero, as where the other bits are dropped."""
    half = v.to(dtype)
    beyond = half.to(v.dtype).abs() > v.abs()
    return (half.view(torch.int16) - beyond.to(torch.int16)).view(dtype).to(v.dtype)
