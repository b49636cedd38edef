"""What is shipped in place of σ and tanh: their values, and what is allowed around them.

Hard tanh; x / (1 + |x|); the quotient of polynomials x (27 + x²) / (27 + 9 x²), cut to ± 1; PLAN (Amin, Curtis,
Hayes-Gill, Piecewise linear approximation applied to nonlinear function of a neural network, 1997); tables of n
entries from −8 to 8, of which the nearest is taken, or two are interpolated. All of them rise, but for a small step
down in PLAN, so the ends of s ± e say how far a value may be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.cells.functions import Activation

REACH = 8.0
"""Tables go from −8 to 8."""
ROUNDINGS = 4.0
"""What the argument of a line or a place in a table may err by, in roundings."""
_DIP, _LOW = 2.375, 2.0**-8
"""Where PLAN steps down, and by how much."""


def value(f: Activation, s: Tensor) -> Tensor:
    """The function itself; one of σ is ½ + ½ of that of tanh at x / 2, unless it says otherwise."""
    match f.name:
        case "hard_tanh":
            return s.clamp(-1, 1)
        case "softsign_sigmoid":
            return (functional.softsign(f.alpha * s) + 1) / 2
        case "rational_tanh":
            return _rational(s)
        case "rational_sigmoid":
            return (_rational(s / 2) + 1) / 2
        case "plan_sigmoid":
            return _plan(s)
        case "plan_tanh":
            return 2 * _plan(2 * s) - 1
        case "nearest_tanh" | "nearest_sigmoid":
            return _of(f, (_place(f, s) + 0.5).floor() * _step(f) - REACH)
        case "interpolated_tanh" | "interpolated_sigmoid":
            place = _place(f, s)
            before = place.floor()
            low, high = (_of(f, at * _step(f) - REACH) for at in (before, before + 1))
            return low + (place - before) * (high - low)
    raise AssertionError(f)


def spread(f: Activation, s: Tensor, e: Tensor, u: float) -> Tensor:
    """How far the values within s ± e are from the one at s, at most; u is the unit roundoff of their arguments."""
    reach = REACH if f.name.startswith(("nearest", "interpolated")) else 0.0  # the place in a table is of x + 8
    e = e + (s.abs() + reach) * (ROUNDINGS * u)
    v = value(f, s)
    most = torch.maximum(value(f, s + e) - v, v - value(f, s - e)).clamp_(min=0)
    if f.name.startswith("plan"):
        scale = 2.0 if f.name == "plan_tanh" else 1.0
        near = (s.abs() - _DIP / scale).abs() <= e
        most += near * (scale * _LOW)
    return most.nan_to_num_(2)


def _rational(s: Tensor) -> Tensor:
    s = s.clamp(-3, 3)  # where it reaches ± 1
    square = s * s
    return s * (27 + square) / (27 + 9 * square)


def _plan(s: Tensor) -> Tensor:
    a = s.abs()
    y = torch.where(a < 1, 0.25 * a + 0.5, torch.where(a < _DIP, 0.125 * a + 0.625, 0.03125 * a + 0.84375))
    y = y.clamp(max=1)
    return torch.where(s < 0, 1 - y, y)


def _step(f: Activation) -> float:
    return 2 * REACH / (f.alpha - 1)


def _place(f: Activation, s: Tensor) -> Tensor:
    return (s.clamp(-REACH, REACH) + REACH) / _step(f)


def _of(f: Activation, s: Tensor) -> Tensor:
    return s.tanh() if f.name.endswith("tanh") else s.sigmoid()
