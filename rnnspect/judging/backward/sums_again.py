"""The second look at the gradient of a parameter: its sum evaluated in the orders that engines use, before an entry may
be called wrong. On constant input one rounding repeats at every step, and λ√N allows too little (`ordered.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Number
from rnnspect.arithmetic.ordered import worst_of_orders
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.judging.backward.sums import Term

_ENTRIES = 64  # of a parameter, those furthest above their bound
_TERMS = 30_000  # up to which the orders are tried; beyond, no more than N·u Σ |l r| is known

Again = Callable[[str, Tensor], Tensor]
"""From a parameter and the ratios of its entries to what adding each of them up may err by."""


def orders_of(terms: Callable[[], Iterable[list[Term]]], u: Roundoff) -> Again:
    """`terms` gives those of each chunk in float64, in the order of going back."""

    def again(name: str, ratio: Tensor) -> Tensor:
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
        allowed = size * (count * u.sums)
        if count <= _TERMS:
            tried = worst_of_orders(torch.cat(left).t().numpy(), torch.cat(right).t().numpy(), u)
            allowed.view(-1)[at] = torch.from_numpy(tried).to(allowed.dtype)
        return allowed

    return again


def _values(one: Number) -> Tensor:
    """In the order of going back."""
    return one.v.double().flip(0)
