"""The derivatives of the functions that stand for σ, tanh and φ.

At a kink there is no derivative, and a convention takes its place. Ours is that of PyTorch: at 0 relu has 0, leaky_relu
and elu have α; what is clipped has the derivative of what is not as long as it is not beyond the limit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnspect.arithmetic.activations import left_out, plain
from rnnspect.cells.functions import Activation

UNBOUNDED = ("exp", "log", "reciprocal")
"""The functions whose derivative is not bounded."""
_PEAK = 2.399357
"""Where the derivative of silu is largest; at −x it is least."""


def slope(f: Activation, clip: float | None, s: Tensor, v: Tensor) -> Tensor:
    """f'(s), where f(s) = v and the input of f is limited to ± clip."""
    if clip is None:
        return _slope(f, s, v)
    return torch.where(s.abs() <= clip, _slope(f, s.clamp(-clip, clip), v), 0)


def steepest(f: Activation) -> float:
    """The largest |f'|."""
    match f.name:
        case "sigmoid":
            return 0.25
        case "affine" | "hard_sigmoid":
            return abs(f.alpha)
        case "leaky_relu" | "elu":
            return max(1.0, abs(f.alpha))
        case "scaled_tanh":
            return abs(f.alpha * f.beta)
        case "silu":
            return 1.1
        case name if name in UNBOUNDED:
            return math.inf
    return 1.0


def spread(f: Activation, clip: float | None, s: Tensor, e: Tensor) -> Tensor:
    """The largest distance of the derivatives within s ± e from the one at s, with both derivatives at a kink. Between
    kinks each of these derivatives is monotonic, except for a peak at 0, and for silu: its extremes are at the ends and
    at the peaks."""
    if f.name in ("cos", "sin"):
        return e.clamp(max=2).nan_to_num(2)
    value = plain(f, clip)
    at = slope(f, clip, s, value(s))
    most = torch.zeros_like(at)
    peaks = [0.0, *((-_PEAK, _PEAK) if f.name == "silu" else ())]
    for place in (s - e, s + e, *(torch.where((s - peak).abs() <= e, peak, s) for peak in peaks)):
        most = torch.maximum(most, (slope(f, clip, place, value(place)) - at).abs())
    if f.name == "softplus":
        most += left_out(s + e)
    return most.nan_to_num_(steepest(f))


def cancelling(f: Activation, s: Tensor, v: Tensor) -> Tensor:
    """How large the numbers are that engines subtract to get f'(s), where f(s) = v. Its rounding error is a rounding of
    these, however small f'(s) is. 0 where an engine gets it without a difference."""
    one = torch.ones_like(s)
    match f.name:
        case "softsign":  # 1 / (1 + |s|) − |s| / (1 + |s|)²
            return 1 - v.abs()
        case "sigmoid":  # v − v²
            return v.abs()
        case "tanh" | "silu" | "softplus":  # 1 − v², 1 + s (1 − σ(s)), 1 − exp(−v)
            return one
        case "scaled_tanh":
            return one * abs(f.alpha * f.beta)
        case "elu":  # v + α
            return torch.where(s < 0, abs(f.alpha), 0 * one)
    return 0 * one


def _slope(f: Activation, s: Tensor, v: Tensor) -> Tensor:
    a, b, one = f.alpha, f.beta, torch.ones_like(s)
    match f.name:
        case "sigmoid":
            return v * (1 - v)
        case "tanh":
            return 1 - v * v
        case "relu":
            return (s > 0).to(s.dtype)
        case "affine":
            return one * a
        case "leaky_relu":
            return torch.where(s > 0, one, a)
        case "thresholded_relu":
            return (s > a).to(s.dtype)
        case "scaled_tanh":
            return a * b * (1 - torch.tanh(b * s) ** 2)
        case "hard_sigmoid":
            line = s * a + b
            return torch.where((line >= 0) & (line <= 1), a, 0 * one)
        case "elu":
            return torch.where(s > 0, one, a * s.clamp(max=0).exp())
        case "softsign":
            return 1 / (1 + s.abs()) ** 2
        case "softplus":
            return s.sigmoid()
        case "exp":
            return v
        case "log":
            return s.reciprocal()
        case "reciprocal":
            return -v * v
        case "cos":
            return -s.sin()
        case "sin":
            return s.cos()
        case "silu":
            gate = s.sigmoid()
            return gate * (1 + s * (1 - gate))
    raise AssertionError(f)


def sigmoid_slope(v: Tensor) -> Tensor:
    """Of σ, from its value."""
    return torch.addcmul(v, v, v, value=-1)


def tanh_slope(v: Tensor, out: Tensor | None = None) -> Tensor:
    """Of tanh, from its value."""
    return torch.addcmul(torch.ones((), dtype=v.dtype), v, v, value=-1, out=out)
