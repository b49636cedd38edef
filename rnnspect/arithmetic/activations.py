"""The functions that can be used in place of σ and tanh: their values, and what is allowed around them.

They are those of `cells/functions.py`: ONNX's, and what is shipped in place of σ and tanh: hard tanh; x / (1 + |x|);
the quotient of polynomials x (27 + x²) / (27 + 9 x²), cut to ± 1; PLAN (Amin, Curtis, Hayes-Gill, Piecewise linear
approximation applied to nonlinear function of a neural network, 1997); tables of n entries from −8 to 8, of which the
nearest is taken, or the one below, or two are interpolated.

A bound is absolute: the steepest slope within s ± e, times e, and what a kernel may err by. Next to a kink the steeper
side counts; at the jump of a thresholded relu a correct engine may be on either side.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from rnnspect.cells.functions import APPROXIMATIONS, Activation

ROUNDINGS = 4.0
"""How many roundings of its largest term a function made of a few products and sums may err by."""
REACH = 8.0
"""Tables go from −8 to 8."""
_STRAIGHT = 19.9
"""A little below the number from which torch's softplus returns its argument, as s is not known exactly."""
_DIP, _LOW = 2.375, 2.0**-8
"""Where PLAN steps down, and by how much."""


def plain(f: Activation, clip: float | None) -> Callable[[Tensor], Tensor]:
    """The function, with its argument limited to ± clip."""
    if clip is None:
        return lambda s: _value(f, s)
    return lambda s: _value(f, s.clamp(-clip, clip))


def allowed(
    f: Activation, clip: float | None, s: Tensor, e: Tensor, kernel: float, u: float, stored: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The value at s, and its bound for an argument within s ± e. `kernel` is the absolute error of σ and tanh, and u
    the unit roundoff. If `stored` is not 0, the result of each operation that f is made of is stored with that unit
    roundoff."""
    if clip is not None:
        beyond = s.abs() - e > clip
        s = s.clamp(-clip, clip)
        e = torch.minimum(e, s.abs() + clip).masked_fill(beyond, clip * max(stored, u))  # the limit rounds, too
    v = _value(f, s)
    if f.name in APPROXIMATIONS:
        return v, _spread_between_ends(f, s, e, u).add_(kernel)
    own = _rounding(f, s, v, kernel, u)
    if stored:
        of_s, of_v = _stored_within(f, s, v)
        e, own = e + of_s * stored, own + of_v * stored
    return v, _spread(f, s, e).add_(own)


def left_out(s: Tensor) -> Tensor:
    """What softplus(s) is above s where torch gives s itself (torch.nn.functional.softplus: threshold), which float64
    shows. Its derivative is 1 there, and more by no more than that."""
    return torch.where(s > _STRAIGHT, s.neg().exp(), 0)


def _stored_within(f: Activation, s: Tensor, v: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """The sizes of what an engine stores between the operations that f is made of. A rounding of the first acts like a
    rounding of s, a rounding of the second like one of the value."""
    match f.name:
        case "affine" | "hard_sigmoid":  # α s, and both constants
            return 2 * s.abs() + (abs(f.beta / f.alpha) if f.alpha else 0.0), 0.0
        case "scaled_tanh":
            return 2 * s.abs(), 2 * v.abs()
        case "softsign" | "silu":  # 1 + |s|, σ(s)
            return 0.0, 2 * v.abs()
        case "elu":  # exp(s)
            return 0.0, torch.where(s < 0, 2 * abs(f.alpha), torch.zeros_like(s))
        case "softplus":  # 1 + exp(s)
            return 0.0, 2 + v
    return 0.0, 0.0


def _value(f: Activation, s: Tensor) -> Tensor:
    """The function itself. An approximation of σ is ½ + ½ of that of tanh at x / 2, unless it says otherwise."""
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
        case "exp":
            return s.exp()
        case "log":
            return s.log()
        case "silu":
            return functional.silu(s)
        case "reciprocal":
            return s.reciprocal()
        case "cos":
            return s.cos()
        case "sin":
            return s.sin()
        case "hard_tanh":
            return s.clamp(-1, 1)
        case "softsign_sigmoid":
            return (functional.softsign(a * s) + 1) / 2
        case "rational_tanh":
            return _rational(s)
        case "rational_sigmoid":
            return (_rational(s / 2) + 1) / 2
        case "plan_sigmoid":
            return _plan(s)
        case "plan_tanh":
            return 2 * _plan(2 * s) - 1
    return _of_table(f, s)


def _rational(s: Tensor) -> Tensor:
    s = s.clamp(-3, 3)  # where it reaches ± 1
    square = s * s
    return s * (27 + square) / (27 + 9 * square)


def _plan(s: Tensor) -> Tensor:
    a = s.abs()
    y = torch.where(a < 1, 0.25 * a + 0.5, torch.where(a < _DIP, 0.125 * a + 0.625, 0.03125 * a + 0.84375))
    y = y.clamp(max=1)
    return torch.where(s < 0, 1 - y, y)


def _of_table(f: Activation, s: Tensor) -> Tensor:
    """nearest_, floored_ or interpolated_, tanh or sigmoid, from a table of α entries."""
    step = 2 * REACH / (f.alpha - 1)
    place = (s.clamp(-REACH, REACH) + REACH) / step

    def entry(at: Tensor) -> Tensor:
        x = at * step - REACH
        return x.tanh() if f.name.endswith("tanh") else x.sigmoid()

    if f.name.startswith("nearest"):
        return entry((place + 0.5).floor())
    if f.name.startswith("floored"):
        return entry(place.floor())
    before = place.floor()
    low, high = entry(before), entry(before + 1)
    return low + (place - before) * (high - low)


def _spread(f: Activation, s: Tensor, e: Tensor) -> Tensor:
    """The largest distance of the values within s ± e from the value at s."""
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
        case "exp":
            return (s.exp() * torch.expm1(e)).nan_to_num(torch.inf)
        case "log":  # below s it falls faster than above
            return torch.where(e < s, -torch.log1p(-e / s), torch.inf)
        case "silu":  # |slope| ≤ σ(x) (1 + |x|) where x < 0
            return e * torch.where(s + e < 0, (s + e).sigmoid() * (1 + s.abs() + e), 1.1).clamp(max=1.1)
        case "cos" | "sin":
            return e.clamp(max=2).nan_to_num(2)
        case "reciprocal":
            least = s.abs() - e
            return torch.where(least > 0, e / (s.abs() * least), torch.inf)
    raise AssertionError(f)


def _rounding(f: Activation, s: Tensor, v: Tensor, kernel: float, u: float) -> Tensor | float:
    """The absolute error of a kernel."""
    match f.name:
        case "sigmoid" | "tanh" | "softsign" | "cos" | "sin":
            return kernel
        case "scaled_tanh":
            return abs(f.alpha) * (kernel + (f.beta * s).abs() * (1 - (f.beta * s).tanh() ** 2) * u) + v.abs() * u
        case "elu":
            return abs(f.alpha) * kernel + v.abs() * (ROUNDINGS * u)
        case "softplus":
            # Of log(1 + eˣ) the sum rounds by u, and CUDA's fast log errs by 2^−21.41 where that is near 1.
            return (2 + v) * (ROUNDINGS * u) + left_out(s)
        case "exp":  # also as 2 to the power of x / ln 2, which rounds
            return v * ((ROUNDINGS + s.abs()) * u)
        case "log":
            return kernel + v.abs() * (ROUNDINGS * u)
        case "silu":
            return s.abs() * kernel + v.abs() * (ROUNDINGS * u)
        case "affine" | "hard_sigmoid":
            # The product may be a subnormal less than the range holds; a whole roundoff of β covers that too.
            return (abs(f.alpha) * s.abs() + abs(f.beta)) * (ROUNDINGS * u)
    return v.abs() * (ROUNDINGS * u)


def _spread_between_ends(f: Activation, s: Tensor, e: Tensor, u: float) -> Tensor:
    """`_spread` of an approximation, with the error of its argument. All approximations increase, except for PLAN's
    small step down, so that the ends of s ± e tell how far a value may be."""
    reach = (
        REACH if f.name.startswith(("nearest", "floored", "interpolated")) else 0.0
    )  # the place in a table is of x + 8
    e = e + (s.abs() + reach) * (ROUNDINGS * u)
    v = _value(f, s)
    most = torch.maximum(_value(f, s + e) - v, v - _value(f, s - e)).clamp_(min=0)
    if f.name.startswith("plan"):
        scale = 2.0 if f.name == "plan_tanh" else 1.0
        near = (s.abs() - _DIP / scale).abs() <= e
        most += near * (scale * _LOW)
    return most.nan_to_num_(2)
