"""A second look at the gradient of a parameter: before an entry is called wrong, its sum is computed in the orders that
engines use. On constant input the same rounding repeats at every step, and λ√N allows too little (`sum_orders.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.sum_orders import worst_of_orders
from rnnspect.judging.backward.sums import Term

_ENTRIES = 64  # of a parameter, those furthest above their bound
_TERMS = 30_000  # up to which the orders are tried; beyond, no more than N·u Σ |l r| is known

SumAgain = Callable[[str, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From a parameter, its gradient and the ratios of its entries to the gradient, with a more exact sum for the entries
furthest above their bound, and the error of adding each of these up."""


def orders_of(terms: Callable[[], Iterable[list[Term]]], u: Roundoff, h: Tensor) -> SumAgain:
    """`terms` gives the terms of each chunk in float64, in the order of going back; h is (T, B, P). If an item ends
    with an infinite h, an engine that goes on to the end of the longest item adds zero times infinity, of which the
    equations say nothing: NaN of the engine's is then not judged."""
    batch = h.shape[1]

    def again(name: str, value: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
        at = ratio.flatten().argsort(descending=True)[:_ENTRIES]
        columns = ratio.shape[1] if ratio.dim() > 1 else 1
        rows, cols = at // columns, at % columns
        left: list[Tensor] = []
        right: list[Tensor] = []
        size, count = torch.zeros_like(ratio), 0
        for chunk in terms():
            for term in chunk:
                if term.parameter != name:
                    continue
                one, other = _values(term.left), None if term.right is None else _values(term.right)
                size += one.abs().sum(0) if other is None else one.abs().t() @ other.abs()
                count += len(one)
                if count <= _TERMS:
                    left.append(one[:, rows])
                    right.append(torch.ones_like(left[-1]) if other is None else other[:, cols])
        allowed, value = size * (2 * count * u.sums), value.clone()  # twice: ours is a sum in float64, too
        if count <= _TERMS:
            exact, tried = worst_of_orders(torch.cat(left).t().numpy(), torch.cat(right).t().numpy(), u, batch)
            allowed.view(-1)[at], value.view(-1)[at] = torch.from_numpy(tried), torch.from_numpy(exact)
        if not bool(h.isfinite().all()):
            allowed[ratio.isinf()] = torch.inf
        return value, allowed

    return again


def _values(one: Number) -> Tensor:
    """The values in the order of going back."""
    return one.v.double().flip(0)
