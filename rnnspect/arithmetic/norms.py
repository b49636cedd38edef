"""Layer norm and RMS norm over plain numbers, and the interface that every arithmetic has for them.

norm(v) = (v − m) / s with m = mean v, s = √(mean (v − m)² + ε) (Ba, Kiros & Hinton 2016, arXiv 1607.06450); rms_norm(v)
= v / s with s = √(mean v² + ε) (Zhang & Sennrich 2019, arXiv 1910.07467).

Means are over the units, or over those of each head. Several blocks may be normalised together, as one vector. With y =
norm(v) and g = dL/dy, dL/dv = (g − mean g − y mean (g y)) / s, without mean g for rms_norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from rnnspect.errors import InputError

if TYPE_CHECKING:
    from rnnspect.cells.functions import Functions

V = TypeVar("V", Tensor, npt.NDArray[Any])


@dataclass(frozen=True)
class Norm:
    """The parameters of a norm: the name of ε among the cell's numbers, whether the mean is subtracted, and the number
    of heads that are normalised by themselves."""

    eps: str
    centred: bool
    heads: int | None = None

    def by_head(self, v: Any) -> Any:
        """(…, heads, units of one). Raises `InputError` where the units are no multiple of the heads."""
        if v.shape[-1] % (self.heads or 1):
            found = f"a norm of {self.heads} heads of {v.shape[-1]} units"
            raise InputError(found, advice="use a size that is a multiple of the heads")
        return v.reshape(*v.shape[:-1], self.heads or 1, -1)


class Norms:
    """The norms that a cell's lines call; an arithmetic has `normalised`, from which they are made."""

    def norm(self, v: Any, eps: str, heads: int | None = None) -> Any:
        return self._of(v, Norm(eps, True, heads))

    def rms_norm(self, v: Any, eps: str, heads: int | None = None) -> Any:
        return self._of(v, Norm(eps, False, heads))

    def _of(self, v: Any, norm: Norm) -> Any:
        """A tuple of a tuple of blocks, else one value of one."""
        if isinstance(v, tuple):
            return self.normalised(v, norm)
        (made,) = self.normalised((v,), norm)
        return made

    def normalised(self, blocks: Sequence[Any], norm: Norm) -> tuple[Any, ...]:
        """The blocks normalised together."""
        raise NotImplementedError


class PlainNorms(Norms):
    """Over tensors and arrays, (…, units), forwards and back."""

    functions: Functions

    def normalised(self, blocks: Sequence[Any], norm: Norm) -> tuple[Any, ...]:
        y, _ = shares(norm.by_head(beside(blocks)), self.functions.constant(norm.eps), norm.centred)
        return apart(in_one(y), len(blocks))

    def through_norm(
        self, gradients: Sequence[Any], blocks: Sequence[Any], made: Sequence[Any], norm: Norm
    ) -> tuple[Any, ...]:
        """dL/d of each block, from `gradients`, dL/d of the results of `normalised`; None is zero."""
        g = beside(known(gradients, made))
        y, s = shares(norm.by_head(beside(blocks)), self.functions.constant(norm.eps), norm.centred)
        return apart(in_one(pulled(norm.by_head(g), y, s, norm.centred)), len(blocks))

    def maximum(self, v: Any, w: Any) -> Any:
        return torch.maximum(v, w) if isinstance(v, Tensor) else np.maximum(v, w)

    def larger(self, v: Any, w: Any) -> Any:
        """For each unit the share of the gradient of the larger value that v gets: all, half where both are equal, or
        nothing."""
        return compared(v, w)


def in_one(v: Any) -> Any:
    """The heads side by side again, from (…, heads, units of one)."""
    return v.reshape(*v.shape[:-2], -1)


def known(gradients: Sequence[Any], made: Sequence[Any]) -> list[Any]:
    """Zeros in place of None."""
    zeros = [torch.zeros_like(y) if isinstance(y, Tensor) else np.zeros_like(y) for y in made]
    return [zero if g is None else g for g, zero in zip(gradients, zeros, strict=True)]


def beside(blocks: Sequence[Any]) -> Any:
    """Blocks of units side by side."""
    if len(blocks) == 1:
        return blocks[0]
    if isinstance(blocks[0], Tensor):
        widest = max((block.shape for block in blocks), key=len)
        return torch.cat([block.expand(widest) for block in blocks], -1)
    return np.concatenate(np.broadcast_arrays(*blocks), -1)


def apart(whole: V, count: int) -> tuple[V, ...]:
    """`count` blocks of units."""
    width = whole.shape[-1] // count
    return tuple(whole[..., at * width : (at + 1) * width] for at in range(count))


def shares(v: V, eps: float, centred: bool) -> tuple[V, V]:
    """v divided by its deviation, and the deviation s (…, 1). Half types are normalised in float32, in which their
    squares fit."""
    whole: Any = v
    if whole.dtype in (torch.float16, torch.bfloat16):
        y, s = shares(whole.float(), eps, centred)
        return y.to(whole.dtype), s.to(whole.dtype)
    d = whole - whole.mean(-1, keepdims=True) if centred else whole
    s = ((d * d).mean(-1, keepdims=True) + eps) ** 0.5
    return d / s, s


def pulled(g: V, y: V, s: V, centred: bool) -> V:
    """dL/dv, where g is dL/dy."""
    whole: Any = g
    along = whole - y * (whole * y).mean(-1, keepdims=True)
    pulled: V = (along - whole.mean(-1, keepdims=True) if centred else along) / s
    return pulled


def compared(v: Any, w: Any) -> Any:
    """1 where v > w, ½ where both are equal, else 0."""
    above, same = v > w, v == w
    if isinstance(above, Tensor):
        return above.to(v.dtype) + same.to(v.dtype) / 2
    return above + same / 2
