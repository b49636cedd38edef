"""The functions that may stand where equations have σ and tanh: their values, and what is allowed around them.

A bound is the steepest slope within s ± e, times e, and what a kernel may err by. Next to a kink the steeper side
counts; at the jump of a thresholded relu a correct engine may be on either side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from rnnspect.arithmetic import approximations
from rnnspect.cells.functions import APPROXIMATIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.cells.functions import Activation

ROUNDINGS = 4.0
"""What a function made of a few products and sums may err by, in roundings of its largest term."""


def plain(f: Activation, clip: float | None) -> Callable[[Tensor], Tensor]:
    """The function, its input limited to ± clip."""
    if clip is None:
        return lambda s: _value(f, s)
    return lambda s: _value(f, s.clamp(-clip, clip))


def allowed(f: Activation, clip: float | None, s: Tensor, e: Tensor, kernel: float, u: float) -> tuple[Tensor, Tensor]:
    """The value at s ± e, and its bound; `kernel` is what σ and tanh err by, absolute, and u the unit roundoff."""
    if clip is not None:
        beyond = s.abs() - e > clip
        s = s.clamp(-clip, clip)
        e = torch.minimum(e, s.abs() + clip).masked_fill(beyond, 0)
    v = _value(f, s)
    if f.name in APPROXIMATIONS:
        return v, approximations.spread(f, s, e, u).add_(kernel)
    return v, _spread(f, s, e).add_(_rounding(f, s, v, kernel, u))


def _value(f: Activation, s: Tensor) -> Tensor:
    a, b = f.alpha, f.beta
    match f.name:
        case "sigmoid":
            return s.sigmoid()
        case "tanh":
            return s.tanh()
        case "relu":
            return s.relu()
        case "affine":
            return s * a + b
        case "leaky_relu":
            return torch.where(s < 0, a * s, s)
        case "thresholded_relu":
            return torch.where(s > a, s, torch.zeros_like(s))
        case "scaled_tanh":
            return a * torch.tanh(b * s)
        case "hard_sigmoid":
            return (s * a + b).clamp(0, 1)
        case "elu":
            return torch.where(s < 0, a * torch.expm1(s.clamp(max=0)), s)
        case "softsign":
            return functional.softsign(s)
        case "softplus":
            return torch.logaddexp(s, torch.zeros_like(s))
    return approximations.value(f, s)


def _spread(f: Activation, s: Tensor, e: Tensor) -> Tensor:
    """How far the values within s ± e are from the one at s, at most."""
    a, b = f.alpha, f.beta
    near, none = (s.abs() - e).clamp(min=0), torch.zeros_like(s)
    match f.name:
        case "sigmoid":
            p = near.sigmoid()
            return (p * (1 - p) * e).clamp(max=1).nan_to_num(1)
        case "tanh":
            return ((1 - near.tanh() ** 2) * e).clamp(max=2).nan_to_num(2)
        case "scaled_tanh":
            return (abs(a * b) * (1 - (b * near).tanh() ** 2) * e).clamp(max=2 * abs(a)).nan_to_num(2 * abs(a))
        case "softsign":
            return (e / (1 + near) ** 2).clamp(max=2).nan_to_num(2)
        case "relu":
            return e * (s > -e)
        case "affine":
            return e * abs(a)
        case "leaky_relu":
            return e * torch.maximum(torch.where(s >= -e, 1.0, none), torch.where(s <= e, abs(a), none))
        case "thresholded_relu":
            reaching = s + e >= a
            return torch.where(reaching & (s - e <= a), s.abs() + e, torch.where(reaching, e, none))
        case "hard_sigmoid":
            line, reach = s * a + b, abs(a) * e
            return torch.where((line + reach > 0) & (line - reach < 1), reach, none).clamp(max=1)
        case "elu":
            below = abs(a) * (s + e).clamp(max=0).exp()
            return e * torch.maximum(torch.where(s >= -e, 1.0, none), torch.where(s <= e, below, none))
        case "softplus":
            return e * (s + e).sigmoid()
    raise AssertionError(f)


def _rounding(f: Activation, s: Tensor, v: Tensor, kernel: float, u: float) -> Tensor | float:
    match f.name:
        case "sigmoid" | "tanh" | "softsign":
            return kernel
        case "scaled_tanh":
            return abs(f.alpha) * (kernel + (f.beta * s).abs() * (1 - (f.beta * s).tanh() ** 2) * u) + v.abs() * u
        case "elu":
            return abs(f.alpha) * kernel + v.abs() * (ROUNDINGS * u)
        case "softplus":
            return kernel + v.abs() * (ROUNDINGS * u)
        case "affine" | "hard_sigmoid":
            # The product may be a subnormal less than the range holds; a whole roundoff of β covers that too.
            return (abs(f.alpha) * s.abs() + abs(f.beta)) * (ROUNDINGS * u)
    return v.abs() * (ROUNDINGS * u)
