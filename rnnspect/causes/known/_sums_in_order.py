"""Tells whether a float32 run shows sums of products that were rounded to float16 in one of the usual orders.

In a known order such sums can be recomputed, and then they give the run's own numbers, which no other mistake does: the
first few steps of a run are enough. Operands are float16. One sum goes through W_ih x and then through W_hh h, or the
other way round, or each of them has its own; biases come first, or last in float32; or a sum is made in float32 and
rounded once, as a product of float16 matrices is. Orders that are not among these show in the size of the errors alone
(`_rounded_products.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.bounded_values import Number, Packed
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import chunks
from rnnspect.judging.layer import cast as in_dtype

_ROWS, _WORK = 32, 2**21
"""Rows that are looked at together, and the products that they may take; of large layers at least two rows."""
_LEAST, _NEARER = 8, 16.0
"""Three in four of at least so many values that differ have to come so many times nearer. Right sums leave roundings of
float32, some thousand times less than those of float16; wrong ones leave about what was there."""


@dataclass(frozen=True)
class _Order:
    joined: bool
    """One sum of both products."""
    h_first: bool = False
    biases_first: bool = False
    each_product: bool = False
    """A product is rounded before it is added; where it is not, the compiler or a fused operation keeps it whole."""
    once: bool = False
    """The sum is made in float32, and rounded at its end."""


def _orders() -> Iterator[_Order]:
    for joined, biases_first in itertools.product((True, False), repeat=2):
        yield _Order(joined, biases_first=biases_first, once=True)
        for h_first in (False, True) if joined else (False,):
            for each_product in (False, True):
                yield _Order(joined, h_first, biases_first, each_product)


@torch.inference_mode()
def in_order(assumed: Assumption) -> bool:
    """Whether sums that are recomputed in one of the orders give the numbers of the first steps."""
    layer, p = assumed.equations, assumed.p
    if layer.mixes or layer.stepwise or p.weight_ch is not None or not p.has_projection_of_x:
        return False
    rows = max(2, min(_ROWS, _WORK // (p.weight_hh.numel() + p.weight_ih.numel())))
    chunk, c = next(chunks(assumed.run, rows)), layer.begin(assumed.run.c0)
    compared = layer.compare(chunk, c, layer.one(None))
    off = (compared.ratio > 1) & compared.ratio.isfinite()
    exact = (compared.q["h"].v - compared.after).abs()[off]
    if len(exact) < _LEAST:
        return False
    for order in _orders():
        again = layer.compare(chunk, c, _Summed(assumed, order))
        left = (again.q["h"].v - again.after).abs()[off]
        if 4 * int((left < exact / _NEARER).sum()) > 3 * len(exact):
            return True
    return False


class _Summed(Bounded):
    """Sums in float16 in a known order. Their values are what is asked for; nothing is said of their bounds."""

    def __init__(self, assumed: Assumption, order: _Order) -> None:
        super().__init__(in_dtype(assumed.p, torch.float64), len(assumed.cell.gates), assumed.u, assumed.nonlinearity)
        p = assumed.p
        self._order, self._gates, self._x = order, len(assumed.cell.gates), torch.zeros(())
        self._w_ih, self._w_hh = _half(p.weight_ih), _half(p.weight_hh)
        none = torch.zeros(len(p.weight_hh))
        self._b_ih, self._b_hh = (none if b is None else b.float() for b in (p.bias_ih, p.bias_hh))

    def input(self, x: Tensor, error: Tensor | None = None) -> Packed:  # noqa: ARG002  # no bounds
        self._x = _half(x)
        return self._packed(self._sum((self._x, self._w_ih, self._b_ih)))

    def hidden(self, h: Number) -> Packed:
        return self._packed(self._sum((_half(h.v), self._w_hh, self._b_hh)))

    def gates(self, wx: Packed, h: Number) -> Packed:
        if not self._order.joined:
            return cast("Packed", tuple(one + other for one, other in zip(wx, self.hidden(h), strict=True)))
        products = (self._x, self._w_ih, self._b_ih), (_half(h.v), self._w_hh, self._b_hh)
        return self._packed(self._sum(*products[:: -1 if self._order.h_first else 1]))

    def _sum(self, *products: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The sum of some W v + b, (steps, batch, units)."""
        order = self._order
        biases = torch.stack([b for _, _, b in products]).sum(0)
        total = biases if order.biases_first else torch.zeros_like(biases)
        if order.once:
            total = _half(total + sum(v @ w.t() for v, w, _ in products))
        else:
            total = _half(total)
            for v, w, _ in products:
                for k in range(w.shape[1]):
                    term = v[..., k, None] * w[:, k]
                    total = _half(total + (_half(term) if order.each_product else term))
        return total if order.biases_first else total + biases

    def _packed(self, v: Tensor) -> Packed:
        v = v.to(self.dtype)
        parts = self.parameters.split(v, self._gates)
        return cast("Packed", tuple(Number(one, torch.zeros_like(one), self.u) for one in parts))


def _half(v: Tensor) -> Tensor:
    """float32 numbers rounded to float16."""
    return v.float().half().float()
