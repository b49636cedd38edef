"""Sums over the rows (rows, ·) of all steps and items: products of columns, lengths of columns, and plain sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.product_bounds import affine, length

_PART = 2**19  # values
_LOW, _HIGH = 2.0**-80, 2.0**100
"""A sum of squares between these has lost nothing to underflow or overflow in float32."""


def products(pairs: Sequence[tuple[Tensor, Tensor | None]]) -> list[Tensor | None]:
    """Leftᵀ right of each pair, None where there is no right. Where several have the same left, as those of W_ih and
    W_hh have in most cells, their products are one."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for n, (left, right) in enumerate(pairs):
        if right is not None:
            alike.setdefault(memory(left), []).append(n)
    found: list[Tensor | None] = [None] * len(pairs)
    for places in alike.values():
        columns = [right.t() for n in places if (right := pairs[n][1]) is not None]
        product = affine(torch.cat(columns), pairs[places[0]][0].t(), None)  # faster than its transpose
        for n, part in zip(places, torch.split(product, [len(one) for one in columns]), strict=True):
            found[n] = part.t()
    return found


def memory(v: Tensor) -> tuple[Any, ...]:
    """Which numbers these are: the same for two tensors that share them."""
    return v.data_ptr(), v.shape, v.stride()


def norms(v: Tensor) -> Tensor:
    """√Σ v² of each column; in float64, since it is added up further."""
    squares = summed(v, Tensor.square)
    low, high = squares.aminmax()
    if low < _LOW or not high < _HIGH:  # outside of it squares may have been lost
        lengths = length(v.double().t())
        return lengths.masked_fill_(~lengths.isfinite(), torch.inf)
    return squares.sqrt_()


def summed(v: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Σ f(v) of each column, in float64, by parts that stay in the cache."""
    first, *others = torch.split(v, max(1, _PART // v.shape[1]))
    total = function(first).sum(0).double()
    for part in others:
        total.add_(function(part).sum(0))
    return total
