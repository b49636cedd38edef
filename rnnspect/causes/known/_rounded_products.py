"""Whether products of rounded operands are why a run differs: recomputed so, and held against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded, Number
from rnnspect.arithmetic.products import Rows
from rnnspect.judging.chunks import chunks
from rnnspect.judging.layer import Layer, cast

if TYPE_CHECKING:
    from rnnspect.arithmetic.bounded import Packed, Value
    from rnnspect.judging.chunks import Chunk, Run
    from rnnspect.judging.interpretation import Reading
    from rnnspect.judging.layer import Look
    from rnnspect.network.parameters import LayerParameters

Rounding = Callable[[Tensor], Tensor]

LATEST = 2048
"""A first difference later than this is not looked into."""
LEAST = 4
"""Fewer differences than this may be met by chance."""
_ROWS, _WORK = 256, 2**26
"""Rows that are looked at together, and the products with h that they may take."""


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


def _to_float16(v: Tensor) -> Tensor:
    return v.float().half().to(v.dtype)


COARSER: dict[str, tuple[Rounding, ...]] = {
    "tf32": (_nearest, _truncated),
    "bfloat16-products": (_to_bfloat16,),
    "float16-products": (_to_float16,),
}
"""How an arithmetic's operands may be rounded, by the arithmetic's name. Hardware cuts, libraries round."""


@torch.inference_mode()
def come_closer(reading: Reading, roundings: tuple[Rounding, ...]) -> bool:
    """Whether most of the values that differ, where the first do, come at least four times closer to the equations
    when operands are rounded: in both products, in that with x, or in that with h.

    A bound that is wide enough for rounded operands is wide enough for a small mistake too; the numbers tell them
    apart.
    """
    layer = Layer(reading.cell, reading.p, reading.u, reading.nonlinearity)
    seen, look = _first_differing(layer, reading.run)
    if look is None:
        return False
    off = (look.ratio > 1) & look.ratio.isfinite()
    exact = (look.q["h"].v - look.after).abs()[off]
    for rounding in roundings:
        for of_x, of_h in ((rounding, rounding), (rounding, None), (None, rounding)):
            again = _last_of(layer, seen, reading.run.c0, Rounded(reading, of_x, of_h))
            left = (again.q["h"].v - again.after).abs()[off]
            if 4 * int((left < exact / 4).sum()) > 3 * len(exact):
                return True
    return False


def _first_differing(layer: Layer, run: Run) -> tuple[list[Chunk], Look | None]:
    """The chunks up to the first in which enough values are above the bound, and that one in float64."""
    fitting = max(8, min(_ROWS, _WORK // layer.p.weight_hh.numel()))
    seen, c, exactly = [], layer.begin(run.c0), layer.one(None)
    for chunk in chunks(run, 1 if layer.stepwise else fitting):
        if chunk.start > LATEST:
            break
        seen.append(chunk)
        look = layer.look(chunk, c, exactly)
        if int(((look.ratio > 1) & look.ratio.isfinite()).sum()) >= LEAST:
            return seen, look
        c = layer.after(look)
    return seen, None


def _last_of(layer: Layer, seen: list[Chunk], c0: Tensor | None, a: Bounded) -> Look:
    """The last chunk in that arithmetic; a cell state comes there from the start."""
    c = layer.begin(c0)
    for chunk in seen[:-1] if c is not None else ():
        c = layer.after(layer.look(chunk, c, a))
    return layer.look(seen[-1], c, a)


class Rounded(Bounded):
    """Products whose operands are rounded first: those with x, those with h, or both."""

    def __init__(self, reading: Reading, of_x: Rounding | None, of_h: Rounding | None) -> None:
        p = cast(reading.p, torch.float64)
        super().__init__(_rounded(p, of_x, of_h), len(reading.cell.gates), reading.u, reading.nonlinearity)
        self._of_x, self._of_h = of_x, of_h

    def input(self, x: Tensor, error: Tensor | None = None) -> Packed:
        return super().input(x if self._of_x is None else self._of_x(x), error)

    def hidden(self, h: Number) -> Packed:
        return super().hidden(h if self._of_h is None else Number(h.v, h.e, h.u, Rows(self._of_h(h.v))))

    def project(self, m: Number) -> Value:
        return super().project(m if self._of_h is None or self._hr is None else Number(self._of_h(m.v), m.e, m.u))


def _rounded(p: LayerParameters, of_x: Rounding | None, of_h: Rounding | None) -> LayerParameters:
    if of_x is not None:
        p = replace(p, weight_ih=of_x(p.weight_ih))
    if of_h is not None:
        w_hr = None if p.weight_hr is None else of_h(p.weight_hr)
        p = replace(p, weight_hh=of_h(p.weight_hh), weight_hr=w_hr)
    return p
