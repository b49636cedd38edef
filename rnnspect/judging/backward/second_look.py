"""A second look at a gradient above its bound, before it is called wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.backward_bounded import BackwardOrdered, sums_up_to
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.judging.backward.passing import BackwardSteps, Passed, as_wide, go_back, go_forwards
from rnnspect.judging.cell_state import State
from rnnspect.judging.layer import LayerEquations, cast

_ORDERED = 2**24  # products whose orders are tried


class SecondLook:
    """The bound for some steps of one item, with the sums computed in the orders that engines use."""

    def __init__(
        self, layer: LayerEquations, steps: BackwardSteps, after: Mapping[str, Number], passed: Passed, c: State | None
    ) -> None:
        self._layer, self._steps, self._after, self._passed = layer, steps, after, passed
        self._c = None if c is None else c.number(torch.float64)

    def __call__(self, n: int, b: int, _unit: int) -> tuple[tuple[slice, slice, slice], Tensor]:
        """The bound at a place of the chunk, which is in the order of going back, and where that bound holds."""
        layer, chunk = self._layer, self._steps.chunk
        place, item = len(chunk.x) - 1 - n, slice(b, b + 1)
        width = sum(layer.gate_sizes)
        rows = max(1, min(place + 1, _ORDERED // (width * (chunk.x.shape[2] + width))))
        start = place + 1 - rows
        a = BackwardOrdered(cast(layer.p, torch.float64), layer.gates, layer.u, layer.nonlinearity)
        a.limit = sums_up_to(layer.p, layer.u)
        if self._steps.mistake.weights is not None:
            a.on_the_way_back = cast(self._steps.mistake.weights, torch.float64)
        a.few = rows
        cut = slice(start, len(chunk.x)), item
        steps = replace(
            self._steps,
            chunk=chunk.cut(start, len(chunk.x), item),
            seen=self._steps.seen[cut],
            upstream=self._steps.upstream[cut],
        )
        c = None
        if self._c is not None and self._passed.c is not None:
            every = self._c if self._c.v.dim() > 2 else a.before(self._c, self._passed.c)
            c = Number(every.v[cut], every.e[cut], layer.u)
        after = {name: _item(as_wide(g, torch.float64), item) for name, g in self._after.items()}
        forwards = go_forwards(a, layer.cell, steps.chunk, c, steps.changes)
        bound = go_back(forwards, layer.cell, steps, after).wx.e[:rows].flip(0) * layer.bound_factor
        return (slice(n, n + rows), item, slice(None)), bound


def _item(g: Number, item: slice) -> Number:
    return Number(g.v[item], g.e.expand_as(g.v)[item], g.u)
