"""Products W x + b of many rows at once, and what they may err by.

Computed in any order, Σ w x errs by at most γ_k Σ |w x| with γ_k = k u / (1 − k u) (Higham, Accuracy and Stability of
Numerical Algorithms, 2002, §3.1), and Σ |w x| ≤ ‖w‖‖x‖. Roundings cancel: with high probability √k stands where k does
(Higham & Mary, A new approach to probabilistic rounding error analysis, 2019).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.roundoff import Roundoff

LAMBDA = 4.0
"""λ: a sum of k products errs by at most λ√k·u ‖w‖‖x‖ with high probability; because that is only a probability, there
is a second look (`sum_orders.py`)."""


class Rows:
    """Vectors v (steps, batch, k) that enter products, flattened to (steps · batch, k), and the length of each. Of one
    step alone v may be (batch, k), as the cell state before it is.

    `error`, (steps · batch) or None, is the length of e, which says how far v may be off.
    """

    def __init__(self, v: Tensor, e: Tensor | None = None) -> None:
        self.shape, self.v = (1, *v.shape[:-1])[-2:], v.flatten(0, -2)
        self.norm = length(self.v)
        self.error = None if e is None else length(e.flatten(0, -2))
        self._beside: tuple[Rows, Tensor] | None = None

    def beside(self, other: Rows, blank: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Both vectors of a step in one row, (steps · batch, k + k'), made once for all gates. `blank` gives memory for
        rows of this width."""
        if self._beside is None or self._beside[0] is not other:
            room = blank(self.v, self.v.shape[1] + other.v.shape[1])
            self._beside = other, torch.cat([self.v, other.v], 1, out=room)
        return self._beside[1]


def length(v: Tensor) -> Tensor:
    """‖v‖₂ of each row of (rows, k), also where squares would leave the range: (rows)."""
    norm: Tensor = torch.linalg.vector_norm(v, dim=1)
    low, high = norm.aminmax()
    reach = torch.finfo(v.dtype).tiny ** 0.4
    if reach < float(low) and float(high) < 1 / reach:
        return norm
    scale = v.abs().amax(1).clamp_(min=torch.finfo(v.dtype).tiny)
    norm = torch.linalg.vector_norm(v / scale.unsqueeze(1), dim=1)
    return norm.mul_(scale)


def largest(v: Tensor) -> float:
    """The largest |v|, in one pass and without new memory; NaN where a number is NaN."""
    low, high = v.aminmax()
    return max(-float(low), float(high))


def length4(v: Tensor) -> Tensor:
    """‖v‖₄ of each row: (rows). √Σ(w x)² ≤ ‖w‖₄ ‖x‖₄."""
    most = v.abs().amax(1).clamp_(min=torch.finfo(v.dtype).tiny)
    scaled: Tensor = (v / most.unsqueeze(1)).square_()
    norm: Tensor = torch.linalg.vector_norm(scaled, dim=1)
    return norm.sqrt_().mul_(most)


@dataclass(frozen=True, eq=False)
class RowBlock:
    """The rows W (units, k) and b (units) of one gate. W x + b may err by `slope` ‖x‖ + `offset`, each (units)."""

    w: Tensor
    b: Tensor | None
    length: Tensor
    slope: Tensor
    offset: Tensor
    rounded: Tensor | None
    """What rounding the operands adds per ‖x‖₄, where an engine rounds them: each of these roundings is one of its own,
    so that together they grow with √Σ(w x)²; if all are cut off in the same direction, with the sum itself. Both are
    probabilities, hence the second look."""

    @classmethod
    def of(cls, w: Tensor, b: Tensor | None, terms: int, u: Roundoff, known: tuple[float, float]) -> RowBlock:
        """`terms` is how many numbers are added up in all, and `known` how exactly x is, relative and absolute."""
        norm = length(w)
        unit = LAMBDA * math.sqrt(terms) * u.sums + (0 if u.coarse else 2 * u.stored)
        slope = norm * (unit + known[0] + u.narrow)
        rounded = length4(w) * (LAMBDA * math.sqrt(2) * u.products) if u.products else None
        offset = torch.full_like(norm, terms * u.tiny)
        if u.flushed:
            slope += math.sqrt(w.shape[1]) * u.flushed  # Σ |x| ≤ √k ‖x‖
        if known[1] or u.flushed:
            offset += torch.linalg.vector_norm(w, ord=1, dim=1) * (known[1] + u.flushed)
        if b is not None:
            # W x + U h may be stored without its biases, and b + b' by itself: beside what `Product` charges that is
            # at most 2 |b + b'| more.
            offset += b.abs() * (unit + u.narrow + (2 * u.stored if u.coarse else 0))
        return cls(w, b, norm, slope, offset, rounded)

    def split(self, split: Callable[[Tensor], Sequence[Tensor]]) -> list[RowBlock]:
        """One `RowBlock` for each part that `split` makes of its rows."""
        every = (self.w, self.b, self.length, self.slope, self.offset, self.rounded)
        parts = (itertools.repeat(None) if of is None else split(of) for of in every)
        return [RowBlock(*part) for part in zip(*parts, strict=False)]


_MINUS = torch.tensor(-1.0, device="cpu")  # whatever the default device is as this is imported
_onednn: Any = getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)


def fuses(x: Tensor, w: Tensor) -> bool:
    """Whether oneDNN computes x Wᵀ: twice as fast here as the BLAS behind addmm, the function that follows included."""
    return _onednn is not None and x.dtype == torch.float32 and len(x) >= 16 and x.device.type == w.device.type == "cpu"


def affine(x: Tensor, w: Tensor, b: Tensor | None, onto: Tensor | None = None, then: str = "none") -> Tensor:
    """f(x Wᵀ + b + onto), (rows, units), with f one that `squashed` knows. `onto` may be overwritten."""
    if fuses(x, w):
        if onto is None:
            product: Tensor = _onednn(x, w, b, then, [], "")
            return product
        return squashed(_onednn.binary(x, onto, w, b, "add"), then)
    out = x @ w.t() if onto is None else onto.addmm_(x, w.t())
    return squashed(out if b is None else out.add_(b), then)


def squashed(s: Tensor, then: str, out: Tensor | None = None) -> Tensor:
    """σ or tanh of s, or s itself where `then` is none. In float32 tanh is 2σ(2s) − 1: eight times as fast as
    torch.tanh, and it errs by 3 u, absolute."""
    if then == "none":
        return s
    if then == "sigmoid":
        return s.sigmoid()
    if s.dtype != torch.float32:
        return s.tanh()
    gate = torch.mul(s, 2, out=out).sigmoid_()
    return torch.add(_MINUS, gate, alpha=2, out=gate)
