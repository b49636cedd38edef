"""Whether products of rounded operands are why a run differs: a few steps recomputed so, and held against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.judging.look import cast
from rnnspect.parameters import LayerParameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnspect.judging.finding import Place
    from rnnspect.judging.stack import Judged
    from rnnspect.observation import Observation
    from rnnspect.sequence import Sequence
    from rnnspect.spec import Spec

Rounding = Callable[[Tensor], Tensor]

STEPS = 8
"""From the first difference on so many are recomputed."""
LATEST = 2048
"""A first difference later than this is not looked into: from the start on each step takes Python a while."""
LEAST = 4
"""Fewer differences than this may be met by chance."""


def _cut(v: Tensor, half: int) -> Tensor:
    """float32 numbers with ten bits of fraction; the rest is cut off, or rounded if `half` is half of the last bit."""
    bits = ((v.float().view(torch.int32) + half) & ~0x1FFF).view(torch.float32)
    return torch.where(v.isfinite(), bits.to(v.dtype), v)


def _nearest(v: Tensor) -> Tensor:
    return _cut(v, 0x1000)


def _truncated(v: Tensor) -> Tensor:
    return _cut(v, 0)


def _to_bfloat16(v: Tensor) -> Tensor:
    return v.float().bfloat16().to(v.dtype)


COARSER: dict[str, tuple[Rounding, ...]] = {"tf32": (_nearest, _truncated), "bfloat16-products": (_to_bfloat16,)}
"""How an arithmetic's operands may be rounded, by the arithmetic's name. Hardware cuts, libraries round."""


def explained_by(
    roundings: tuple[Rounding, ...],
    spec: Spec,
    parameters: Mapping[str, Tensor],
    sequence: Sequence,
    observation: Observation,
    judged: Judged,
) -> bool:
    """Whether most of the values that differ in the first steps that do come at least four times closer to the
    equations when operands are rounded: in both products, in that with x, or in that with h.

    Only differences of h are explained so, in a layer whose input was seen; c and final states that differ alone, and
    gates, are not.
    """
    wrong = [place for place in judged.places if place.finding.first]
    if not wrong:
        return False
    layer = min(place.layer for place in wrong)
    place = next((one for one in wrong if (one.layer, one.quantity) == (layer, "h")), None)
    at = place.finding.first if place else None
    if place is None or at is None or at.order > LATEST:
        return False
    x = _input(spec, sequence, observation, layer)
    if x is None:
        return False
    steps = _Steps(spec, parameters, sequence, observation, place, x)
    engine = steps.engine(at.order)
    exact = (engine - steps(at.order, None, None)).abs()
    off = (exact > at.bound) & exact.isfinite()
    if int(off.sum()) < LEAST:
        return False
    for rounding in roundings:
        for of_x, of_h in ((rounding, rounding), (rounding, None), (None, rounding)):
            left = (engine - steps(at.order, of_x, of_h)).abs()
            if 4 * int((left[off] < exact[off] / 4).sum()) > 3 * int(off.sum()):
                return True
    return False


def _input(spec: Spec, sequence: Sequence, observation: Observation, layer: int) -> Tensor | None:
    """(T, B, I) of a layer; None where the one below was not seen."""
    if layer == 0:
        return sequence.x
    below = [observation.layers.get((layer - 1, direction), {}).get("h") for direction in spec.directions]
    seen = [h for h in below if h is not None]
    return torch.cat(seen, -1) if len(seen) == len(below) else None


class _Steps:
    """The steps of one layer and direction, each from the engine's own h; c runs on from the start."""

    def __init__(
        self,
        spec: Spec,
        parameters: Mapping[str, Tensor],
        sequence: Sequence,
        observation: Observation,
        place: Place,
        x: Tensor,
    ) -> None:
        at = place.layer * spec.num_directions + spec.directions.index(place.direction)
        self._spec, self._x, self._h = spec, x, observation.layers[place.layer, place.direction]["h"]
        self._state = tuple(initial[at].double() for initial in sequence.state)
        self._p = cast(LayerParameters.of(parameters, place.layer, place.direction), torch.float64)
        batch = x.shape[1]
        self._ends = torch.tensor(sequence.lengths or [sequence.steps] * batch)
        self._each, self._reverse = torch.arange(batch), place.direction == "reverse"

    def engine(self, start: int) -> Tensor:
        """(steps, B, P) from `start` on, in processing order; beyond an item's end NaN."""
        rows = [self._of(self._h, order) for order in self._orders(start)]
        inside = [(order < self._ends)[:, None] for order in self._orders(start)]
        return torch.stack([torch.where(i, row, torch.nan) for i, row in zip(inside, rows, strict=True)])

    def __call__(self, start: int, of_x: Rounding | None, of_h: Rounding | None) -> Tensor:
        """The same from the equations."""
        cell, p = self._spec.cell_type, self._p
        w_ih = p.weight_ih if of_x is None else of_x(p.weight_ih)
        rounded = p
        if of_h is not None:
            w_hr = None if p.weight_hr is None else of_h(p.weight_hr)
            rounded = replace(p, weight_hh=of_h(p.weight_hh), weight_hr=w_hr)
        a = _Rounded(rounded, len(cell.gates), self._spec.nonlinearity or "tanh", of_h)
        begin = 0 if cell.has_cell_state else start
        h = self._of(self._h, begin - 1) if begin else self._state[0]
        c, out = self._state[1:], []
        for order in range(begin, self._orders(start).stop):
            x = self._of(self._x, order)
            u = torch.nn.functional.linear(x if of_x is None else of_x(x), w_ih, p.bias_ih)
            q = cell.step(a, u, h, *c)
            h, c = self._of(self._h, order), (q["c"],) if c else ()
            if order >= start:
                out.append(q["h"])
        return torch.stack(out)

    def _orders(self, start: int) -> range:
        return range(start, min(start + STEPS, len(self._x)))

    def _of(self, values: Tensor, order: int) -> Tensor:
        """(B, units) of the step that is processed so late."""
        step = (self._ends - 1 - order).clamp(min=0) if self._reverse else order
        return values[step, self._each].double()


class _Rounded(Numbers):
    """The products with h round it; the parameters come rounded."""

    def __init__(self, p: LayerParameters, gates: int, nonlinearity: str, rounding: Rounding | None) -> None:
        super().__init__(p, gates, nonlinearity)
        self._rounding = rounding

    def hidden(self, h: Tensor) -> Tensor:
        return super().hidden(h if self._rounding is None else self._rounding(h))

    def project(self, m: Tensor) -> Tensor:
        return super().project(m if self._rounding is None or self._p.weight_hr is None else self._rounding(m))
