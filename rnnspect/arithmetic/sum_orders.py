"""A second look at sums: they are computed in the orders that engines use, before a value is called wrong.

Orders and their bounds are those of Higham, Accuracy and Stability of Numerical Algorithms, 2002, ch. 4: pairwise,
sequential, in lanes; with fused multiply-add and without.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.product_bounds import RowBlock, Rows
from rnnspect.arithmetic.roundoff import Roundoff

_SLAB = 1 << 21  # products held at once
_MARGIN = 2.0  # an engine's order is like one of ours, not the same

_Floats = NDArray[np.floating[Any]]


class Ordered(Bounded):
    """Allows a sum of k products twice the error of the worst of these orders, but at most k·u Σ |w x|, which no order
    exceeds, and at least what `Bounded` allows.

    λ√k takes roundings as independent. On constant input the same one repeats, and plain loops exceed it.
    """

    in_any_order = True
    few: int | None = None
    """For how many rows the orders are tried, from the first on; with None for all."""

    def roundings(self, terms: int) -> float:
        return terms + 1

    def allowance(self, terms: tuple[tuple[Rows, RowBlock], ...]) -> Tensor:
        expected = super().allowance(terms)
        count, units = expected[: self.few].shape
        k = sum(block.w.shape[1] + 1 for _, block in terms)
        step = max(1, _SLAB // (units * k))
        with np.errstate(all="ignore"):
            worst = np.concatenate([self._errors(terms, at, min(at + step, count), k) for at in range(0, count, step)])
        tried = torch.maximum(expected[:count], torch.from_numpy(worst).to(expected.dtype))
        return torch.cat([tried, expected[count:]]) if count < len(expected) else tried

    def _errors(self, terms: tuple[tuple[Rows, RowBlock], ...], start: int, stop: int, k: int) -> _Floats:
        factors: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        for rows, block in terms:
            x, w = rows.v[start:stop].double().numpy(), block.w.double().numpy()
            b = np.zeros(len(w)) if block.b is None else block.b.double().numpy()
            ones = np.ones((len(x), 1))
            factors.append((np.hstack([x, ones])[:, None, :], np.hstack([w, b[:, None]])[None]))
        kind = np.dtype(np.float64 if self.u.sums < 2.0**-25 else np.float32)
        wide = np.longdouble if kind == np.float64 else np.float64
        exact = np.sum([(x.astype(wide) * w.astype(wide)).sum(-1) for x, w in factors], axis=0)
        most = np.sum([(np.abs(x) * np.abs(w)).sum(-1) for x, w in factors], axis=0) * (k * self.u.sums)
        narrow = [(x.astype(kind), w.astype(kind)) for x, w in factors]
        worst = np.zeros(exact.shape)
        for total in itertools.chain(_apart(narrow), _apart([_bias_first(one) for one in narrow]), _jointly(narrow)):
            worst = np.fmax(worst, np.abs(total - exact).astype(np.float64))
        allowed: _Floats = np.minimum(_MARGIN * worst, most)
        if self.u.products:
            return allowed + _MARGIN * self._operands_rounded(factors, exact)
        return allowed

    def _operands_rounded(
        self, factors: list[tuple[NDArray[np.float64], NDArray[np.float64]]], exact: _Floats
    ) -> _Floats:
        """The largest effect on the sum of rounding a product's operands, to nearest or towards zero."""
        bits = round(-math.log2(self.u.products))
        worst = np.zeros(exact.shape)
        for of_x, of_w in itertools.product((np.rint, np.trunc), repeat=2):
            # the last column is the bias, which is no operand of the product
            total = sum(
                (_cut(x[..., :-1], bits, of_x) * _cut(w[..., :-1], bits, of_w)).sum(-1) + w[..., -1] * x[..., -1]
                for x, w in factors
            )
            worst = np.fmax(worst, np.abs(total - exact).astype(np.float64))
        return worst


def worst_of_orders(x: NDArray[np.float64], w: NDArray[np.float64], u: Roundoff, batch: int) -> tuple[_Floats, _Floats]:
    """The sums Σ x w over the last axis of (sums, terms), and what an engine's may err by: twice the worst of the usual
    orders, from either end, but at most k·u Σ |x w|. It is called for a few sums over time of any length, of which so
    many terms in a row, those of the items of a step, may be added up first."""
    kind = np.dtype(np.float64 if u.sums < 2.0**-25 else np.float32)
    wide = np.longdouble if kind == np.float64 else np.float64
    with np.errstate(all="ignore"):
        exact = (x.astype(wide) * w.astype(wide)).sum(-1)
        most = (np.abs(x) * np.abs(w)).sum(-1) * (x.shape[-1] * u.sums)
        worst = np.zeros(exact.shape)
        for way in (1, -1):
            own, other = (one.astype(kind)[None, :, ::way] for one in (x, w))
            items = (own * other).reshape(1, len(x), -1, batch)
            each_step = (one.sum(-1) for one in (items, _from_their_first(items)))
            for total in (*_sums(own, other), *map(_one_by_one, each_step)):
                worst = np.fmax(worst, np.abs(total[0] - exact).astype(np.float64))
    return exact.astype(np.float64), np.minimum(_MARGIN * worst, most)


Factors = tuple[_Floats, _Floats]
"""x (rows, 1, k) and w (1, units, k), of which the last are 1 and the bias."""


def _apart(products: list[Factors]) -> Iterator[_Floats]:
    """Each product with its bias added up by itself, in the usual orders, and then both."""
    return (sum(parts[1:], parts[0]) for parts in zip(*(_sums(x, w) for x, w in products), strict=True))


def _jointly(products: list[Factors]) -> Iterator[_Floats]:
    """All added up as one sum: each bias behind its product; or all biases before them, x first or h first."""
    yield from _sums(*_joined(products))
    biases = [(x[..., -1:], w[..., -1:]) for x, w in products]
    others = [(x[..., :-1], w[..., :-1]) for x, w in products]
    for terms in (others, others[::-1])[: len(others)]:
        yield from _sums(*_joined([*biases, *terms]))


def _joined(products: list[Factors]) -> Factors:
    return np.concatenate([x for x, _ in products], -1), np.concatenate([w for _, w in products], -1)


def _bias_first(product: Factors) -> Factors:
    x, w = (np.roll(one, 1, -1) for one in product)
    return x, w


def _from_their_first(items: _Floats) -> _Floats:
    """Terms (1, sums, steps, batch) with each item's leading zeros moved behind its last term. Items of different
    lengths that are read in reverse end at the same step of x, and that is where an engine begins to add up."""
    steps = items.shape[2]
    begun = (items != 0).any((0, 1)).argmax(0)
    return np.take_along_axis(items, ((np.arange(steps)[:, None] + begun) % steps)[None, None], 2)


def _cut(v: _Floats, bits: int, to_whole: Callable[[_Floats], _Floats]) -> _Floats:
    """v with so many bits of fraction; `to_whole` rounds away the rest."""
    fraction, power = np.frexp(v)
    cut: _Floats = np.ldexp(to_whole(np.ldexp(fraction, bits + 1)), power - bits - 1)
    return cut


def _sums(x: _Floats, w: _Floats) -> Iterator[_Floats]:
    """Σ w x over the last axis in the usual orders; with fused multiply-add only in float32."""
    products = x * w
    yield products.sum(-1)
    wide = [v.astype(np.float64) for v in (x, w)] if x.dtype == np.float32 else []
    for lanes in (1, 4, 8, 16, 32):
        yield _fold(_one_by_one(_in_lanes(products, lanes), -2))
        if wide:
            yield _fold(_fused(*(_in_lanes(v, lanes) for v in wide)))


def _in_lanes(v: _Floats, lanes: int) -> _Floats:
    """(…, k) as (…, k / lanes, lanes), filled up with zeros."""
    k = v.shape[-1]
    if k % lanes:
        filled = np.zeros((*v.shape[:-1], k + -k % lanes), v.dtype)
        filled[..., :k] = v
        v = filled
    return v.reshape(*v.shape[:-1], -1, lanes)


def _one_by_one(terms: _Floats, axis: int = -1) -> _Floats:
    """The sums of terms added one after the other; np.sum and np.add.reduce do not do so along the last axis."""
    last: _Floats = np.add.accumulate(terms, axis).take(-1, axis)
    return last


def _fused(x: _Floats, w: _Floats) -> _Floats:
    """acc = fl32(w x + acc): a float32 product is exact in float64."""
    products = np.moveaxis(x * w, 2, 0)
    total = np.zeros(products.shape[1:], np.float32)
    for product in products:
        np.add(product, total, out=total, dtype=np.float64, casting="same_kind")
    return total


def _fold(lanes: _Floats) -> _Floats:
    """The lanes' sums, added up in pairs."""
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]
