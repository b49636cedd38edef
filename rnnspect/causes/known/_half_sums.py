"""Whether a float32 run shows that its products were summed in float16.

In which order they were is not known, and each gives other numbers, so nothing can be recomputed. What can be told,
once float16 operands alone do not explain it: nearly every value differs, by as much as such sums make; and what
differs is irregular, so that no small change of weights and biases explains it. That needs at least twice as many
values as a unit has weights, and a cell whose units can be looked at alone. Where these are not there, nothing is
shown. What else disturbs every sum irregularly and by as little, such as activations in few bits, looks the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import linear

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.causes.known._rounded_products import COARSER, Rounded, come_closer
from rnnspect.judging.chunks import chunks
from rnnspect.judging.layer import Layer, cast

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.judging.chunks import Chunk
    from rnnspect.judging.interpretation import Reading
    from rnnspect.judging.layer import Look

UNIT = 2.0**-11
"""Unit roundoff of float16."""
SMALLEST, LARGEST = 0.01, 0.5
"""Of UNIT ‖w‖‖x‖, what such sums err by in the mean: those of 13 to 37 terms in several orders were measured at 0.05 to
0.33, in bfloat16 at 0.7 and more."""
_UNITS, _WEIGHTS = 8, 512
"""Units that are looked at, and weights of one above which that takes seconds."""


@torch.inference_mode()
def sums_show(reading: Reading) -> bool:
    layer = Layer(reading.cell, reading.p, reading.u, reading.nonlinearity)
    p, run = reading.p, reading.run
    weights = layer.gates * (p.weight_ih.shape[1] + p.weight_hh.shape[1] + 2)
    if layer.mixes or p.weight_ch is not None or weights > _WEIGHTS:
        return False
    few = slice(4 * weights)
    chunk = next(chunks(run, 4 * weights))
    chunk, c0 = chunk.cut(0, len(chunk.x), few), None if run.c0 is None else run.c0[few]
    valid = torch.ones(chunk.x.shape[:2]).bool() if chunk.valid is None else chunk.valid
    if int(valid.sum()) < 2 * weights:
        return False
    c = layer.begin(c0)
    exact = layer.look(chunk, c, layer.one(None))
    if 2 * int((exact.ratio[valid] > 1).sum()) < int(valid.sum()) * layer.units:
        return False
    (rounding,) = COARSER["float16-products"]
    rounded = layer.look(chunk, c, Rounded(replace(reading, u=replace(reading.u, narrow=UNIT)), rounding, rounding))
    size = (_off(rounded, valid) / rounded.bound[valid]).square().mean(0).sqrt()
    if 4 * int(((size > SMALLEST) & (size < LARGEST)).sum()) < 3 * layer.units:
        return False
    if any(come_closer(reading, roundings) for roundings in COARSER.values()):
        return False
    units = torch.arange(0, layer.units, max(1, layer.units // _UNITS))
    slopes = _slopes(reading, chunk, c0, units)[:, valid]
    return all(
        _is_irregular(_off(look, valid)[:, units], slopes, share) for look, share in ((exact, 0.1), (rounded, 0.25))
    )


def _off(look: Look, valid: Tensor) -> Tensor:
    return (look.after - look.q["h"].v)[valid]


def _is_irregular(off: Tensor, slopes: Tensor, share: float) -> bool:
    """Whether no small change of a unit's weights explains what is off, (values, units), in most units: the best leaves
    at least that share of what it would leave of chance. `slopes` (weights, values, units).

    Operands that are rounded to float16 leave less where they are not taken account of: the weights among them are
    such a change.
    """
    weights, values, units = slopes.shape
    each = slopes.permute(2, 1, 0)
    each = each / each.square().mean((1, 2), keepdim=True).sqrt().clamp(min=torch.finfo(off.dtype).tiny)
    wanted = off.t().unsqueeze(-1)
    fitted = each @ torch.linalg.lstsq(each, wanted, driver="gelsd").solution
    left = (wanted - fitted).square().sum((1, 2))
    chance = (1 - weights / values) * wanted.square().sum((1, 2))
    return 4 * int((left > chance * share).sum()) > 3 * units


def _slopes(reading: Reading, chunk: Chunk, c0: Tensor | None, units: Tensor) -> Tensor:
    """(weights, steps, batch, units): by how much h moves with each weight and bias of its unit."""
    shift, gates = 1e-6, len(reading.cell.gates)  # of float64: what it leaves out is as small as what it loses
    p = cast(reading.p, torch.float64)
    rows = (torch.arange(gates).unsqueeze(1) * reading.units + units).flatten()
    a = _Given(p, gates, reading.nonlinearity)
    c = () if c0 is None else (c0.double()[:, units],)
    steps = []
    for x, before in zip(chunk.x.double(), chunk.before.double(), strict=True):
        u, v = linear(x, p.weight_ih, p.bias_ih)[:, rows], linear(before, p.weight_hh, p.bias_hh)[:, rows]
        of_x, of_h = (_each_gate(values, gates, len(units)) * shift for values in (x, before))
        first, others = torch.zeros_like(u[None]), (torch.zeros_like(of_x), torch.zeros_like(of_h))
        a.product = v + torch.cat([first, others[0], of_h])
        q = reading.cell.step(a, u + torch.cat([first, of_x, others[1]]), before[:, units], *c)
        c = (q["c"],) if c else ()
        steps.append(q["h"])
    h = torch.stack(steps, 1)
    return (h[1:] - h[0]) / shift


def _each_gate(values: Tensor, gates: int, units: int) -> Tensor:
    """(gates · (k + 1), batch, gates · units): values (batch, k), and a one for the bias, each added to one gate."""
    values = torch.cat([values, torch.ones_like(values[:, :1])], -1)
    of_gate = torch.eye(gates, dtype=values.dtype).repeat_interleave(units, 1)
    return (values.t()[None, ..., None] * of_gate[:, None, None]).flatten(0, 1)


class _Given(Numbers):
    """Numbers whose products with h are given, so that they can be shifted."""

    product: Tensor

    def hidden(self, _h: Tensor) -> Tensor:
        return self.product
