"""Tells whether a float32 run shows products of rounded operands, or sums accumulated in float16.

Products of rounded operands are recomputed and held against the run. In which order sums in float16 were made is not
known, and each gives other numbers, so these cannot be recomputed. What can be told, once float16 operands alone do
not explain the run: nearly every value differs, by as much as such sums make; and what differs is irregular, so that no
small change of weights, biases and activations explains it. That needs at least twice as many values as there are such
changes, and a cell whose units can be looked at alone. Where these are not there, nothing is shown. What else disturbs
every sum irregularly and by as little, such as activations in few bits, looks the same.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.bounded_values import Number, Operand, Packed
from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.product_bounds import Rows
from rnnspect.cells.functions import CHOSEN, Nonlinearity
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import Chunk, LayerRun, chunks
from rnnspect.judging.layer import ComparedChunk, LayerEquations, cast
from rnnspect.network.parameters import LayerParameters

Rounder = Callable[[Tensor], Tensor]

LATEST = 2048
"""A first difference later than this is not looked into."""
LEAST = 24
"""Fewer differences than this may be met by chance."""
_ROWS, _WORK = 256, 2**26
"""Rows that are looked at together, and the products with h that they may take."""

UNIT = 2.0**-11
"""Unit roundoff of float16."""
SMALLEST, LARGEST = 0.01, 0.5
"""Of UNIT ‖w‖‖x‖, what such sums err by in the mean: those of 13 to 37 terms in several orders were measured at 0.05 to
0.33, in bfloat16 at 0.7 and more."""
_WHOLE, _ALIKE = 0.04, 3.0
"""The same with the rounding of their operands: at 0.05 to 0.33. So it is from the first step on, by at most so many
times less: W_ih x is summed there, too."""
_UNITS, _WEIGHTS = 8, 512
"""Units that are looked at, and weights of one above which that takes seconds."""
_KNOTS = torch.linspace(-1, 1, 9, dtype=torch.float64, device="cpu")
"""Of what σ and tanh give: near each of them a function may be off by another number."""


def _cut(v: Tensor, half: int) -> Tensor:
    """float32 numbers with ten bits of fraction; the rest is cut off, or rounded if `half` is half of the last bit."""
    bits = ((v.float().view(torch.int32) + half) & ~0x1FFF).view(torch.float32)
    return torch.where(v.isfinite(), bits.to(v.dtype), v)


COARSER: dict[str, tuple[Rounder, ...]] = {
    "tf32": (lambda v: _cut(v, 0x1000), lambda v: _cut(v, 0)),
    "bfloat16-products": (lambda v: v.float().bfloat16().to(v.dtype),),
    "float16-products": (lambda v: v.float().half().to(v.dtype),),
}
"""How an arithmetic's operands may be rounded, by the arithmetic's name. Hardware cuts bits off, libraries round."""


@torch.inference_mode()
def come_closer(assumed: Assumption, roundings: tuple[Rounder, ...]) -> bool:
    """Whether most of the values that differ, where the first do, come at least four times closer to the equations
    when operands are rounded: in both products, in that with x, or in that with h.

    A bound that is wide enough for rounded operands is wide enough for a small mistake too; the numbers tell them
    apart.
    """
    layer = assumed.equations
    seen, compared = _first_differing(layer, assumed.run)
    if compared is None:
        return False
    off = (compared.ratio > 1) & compared.ratio.isfinite()
    exact = (compared.q["h"].v - compared.after).abs()[off]
    for rounding in roundings:
        for of_x, of_h in ((rounding, rounding), (rounding, _unrounded), (_unrounded, rounding)):
            again = _last_of(layer, seen, assumed.run.c0, Rounded(assumed, of_x, of_h))
            left = (again.q["h"].v - again.after).abs()[off]
            if 4 * int((left < exact / 4).sum()) > 3 * len(exact):
                return True
    return False


def _first_differing(layer: LayerEquations, run: LayerRun) -> tuple[list[Chunk], ComparedChunk | None]:
    """The chunks up to the first in which enough values are above the bound, and that one in float64."""
    rows = 1 if layer.stepwise else max(8, min(_ROWS, _WORK // layer.p.weight_hh.numel()))
    seen, c, exactly = [], layer.begin(run.c0), layer.one(None)
    for chunk in chunks(run, rows):
        if chunk.start > LATEST or chunk.after.numel() < LEAST:
            break
        seen.append(chunk)
        compared = layer.compare(chunk, c, exactly)
        if int(((compared.ratio > 1) & compared.ratio.isfinite()).sum()) >= LEAST:
            return seen, compared
        c = layer.after(compared)
    return seen, None


def _last_of(layer: LayerEquations, seen: list[Chunk], c0: Tensor | None, a: Bounded) -> ComparedChunk:
    """The last chunk in that arithmetic; a cell state comes there from the start."""
    c = layer.begin(c0)
    for chunk in seen[:-1] if c is not None else ():
        c = layer.after(layer.compare(chunk, c, a))
    return layer.compare(seen[-1], c, a)


def rounded(p: LayerParameters, of_x: Rounder, of_h: Rounder) -> LayerParameters:
    """Kernels rounded: that of x in one way, those of h in another."""
    w_hr = None if p.weight_hr is None else of_h(p.weight_hr)
    return replace(p, weight_ih=of_x(p.weight_ih), weight_hh=of_h(p.weight_hh), weight_hr=w_hr)


class RoundedNumbers(Numbers):
    """Numbers whose products with h round it first; the kernels come rounded."""

    def __init__(self, p: LayerParameters, gates: int, nonlinearity: Nonlinearity, rounding: Rounder) -> None:
        super().__init__(p, gates, nonlinearity)
        self._rounding = rounding

    def hidden_product(self, h: Tensor) -> Tensor:
        return super().hidden_product(self._rounding(h))

    def project(self, m: Tensor) -> Tensor:
        return m if self._p.weight_hr is None else super().project(self._rounding(m))


class Rounded(Bounded):
    """Products whose operands are rounded first: those with x in one way, those with h in another."""

    def __init__(self, assumed: Assumption, of_x: Rounder, of_h: Rounder) -> None:
        p = rounded(cast(assumed.p, torch.float64), of_x, of_h)
        super().__init__(p, len(assumed.cell.gates), assumed.u, assumed.nonlinearity)
        self._of_x, self._of_h = of_x, of_h

    def input(self, x: Tensor, error: Tensor | None = None) -> Packed:
        return super().input(self._of_x(x), error)

    def hidden(self, h: Number) -> Packed:
        return super().hidden(Number(h.v, h.e, h.u, Rows(self._of_h(h.v))))

    def project(self, m: Number) -> Operand:
        return super().project(m if self._hr is None else Number(self._of_h(m.v), m.e, m.u))


def _unrounded(v: Tensor) -> Tensor:
    return v


@torch.inference_mode()
def sums_show(assumed: Assumption) -> bool:
    layer, p, run = assumed.equations, assumed.p, assumed.run
    weights = layer.gates * p.terms
    if layer.mixes or p.weight_ch is not None or weights > _WEIGHTS:
        return False
    enough = 4 * (weights + _functions(layer.gates) * len(_KNOTS))
    few = slice(enough)
    chunk = next(chunks(run, enough))
    chunk, c0 = chunk.cut(0, len(chunk.x), few), None if run.c0 is None else run.c0[few]
    valid = chunk.inside
    if chunk.count < 2 * weights:
        return False
    c = layer.begin(c0)
    exact = layer.compare(chunk, c, layer.one(None))
    if 2 * int((exact.ratio[valid] > 1).sum()) < chunk.count * layer.units:
        return False
    (rounding,) = COARSER["float16-products"]
    rounded = layer.compare(chunk, c, Rounded(replace(assumed, u=replace(assumed.u, narrow=UNIT)), rounding, rounding))
    size = (_off(rounded, valid) / rounded.bound[valid]).square().mean(0).sqrt()
    whole = _off(exact, valid) / rounded.bound[valid]
    each, begun = whole.square().mean(0).sqrt(), whole[: int(valid[0].sum())].square().mean().sqrt()
    sized = (size > SMALLEST) & (size < LARGEST) & (each > _WHOLE)
    if 4 * int(sized.sum()) < 3 * layer.units or float(each.mean()) > _ALIKE * float(begun):
        return False
    if any(come_closer(assumed, roundings) for roundings in COARSER.values()):
        return False
    units = torch.arange(0, layer.units, max(1, layer.units // _UNITS))
    slopes = _slopes(assumed, chunk, c0, units)[:, valid]
    return all(
        _is_irregular(_off(compared, valid)[:, units], slopes, share)
        for compared, share in ((exact, 0.1), (rounded, 0.25))
    )


def _off(compared: ComparedChunk, valid: Tensor) -> Tensor:
    return (compared.after - compared.q["h"].v)[valid]


def _is_irregular(off: Tensor, slopes: Tensor, share: float) -> bool:
    """Whether no small change of a unit's weights and functions explains what is off, (values, units), in most units:
    the best leaves at least that share of what it would leave of chance. `slopes` (columns, values, units).

    Operands that are rounded to float16 leave less where they are not taken account of: the weights among them are
    such a change.
    """
    _, values, units = slopes.shape
    each = slopes.permute(2, 1, 0)
    each = each / each.square().mean((1, 2), keepdim=True).sqrt().clamp(min=torch.finfo(off.dtype).tiny)
    wanted = off.t().unsqueeze(-1)
    solved = torch.linalg.lstsq(each, wanted, driver="gelsd")
    fitted, free = each @ solved.solution, 1 - solved.rank / values
    if bool((free < 0.5).any()):
        return False  # too few values to tell
    left = (wanted - fitted).square().sum((1, 2))
    chance = free * wanted.square().sum((1, 2))
    return 4 * int((left > chance * share).sum()) > 3 * units


def _slopes(assumed: Assumption, chunk: Chunk, c0: Tensor | None, units: Tensor) -> Tensor:
    """(columns, steps, batch, units): by how much h moves with each weight and bias of its unit, and with what each
    function of the step gives, near each of the knots."""
    shift, gates = 1e-6, len(assumed.cell.gates)  # of float64: what it leaves out is as small as what it loses
    p, unmoved = cast(assumed.p, torch.float64), _functions(gates) * len(_KNOTS)
    rows = (torch.arange(gates).unsqueeze(1) * assumed.units + units).flatten()
    a = _Given(p, gates, assumed.nonlinearity)
    c = () if c0 is None else (c0.double()[:, units],)
    steps = []
    for x, before in zip(chunk.x.double(), chunk.before.double(), strict=True):
        u, v = linear(x, p.weight_ih, p.bias_ih)[:, rows], linear(before, p.weight_hh, p.bias_hh)[:, rows]
        of_x, of_h = (_each_gate(values, gates, len(units)) * shift for values in (x, before))
        first, others = torch.zeros_like(u[None]), (torch.zeros_like(of_x), torch.zeros_like(of_h))
        none = first.expand(unmoved, -1, -1)  # moved by functions alone
        a.product, a.called, a.shift = v + torch.cat([none, first, others[0], of_h]), 0, shift
        q = assumed.cell.step(a, u + torch.cat([none, first, of_x, others[1]]), before[:, units], *c)
        c = (q["c"],) if c else ()
        steps.append(q["h"])
    h = torch.stack(steps, 1)
    return (torch.cat([h[: a.called * len(_KNOTS)], h[unmoved + 1 :]]) - h[unmoved]) / shift


def _each_gate(values: Tensor, gates: int, units: int) -> Tensor:
    """(gates · (k + 1), batch, gates · units): values (batch, k), and a one for the bias, each added to one gate."""
    values = torch.cat([values, torch.ones_like(values[:, :1])], -1)
    of_gate = torch.eye(gates, dtype=values.dtype).repeat_interleave(units, 1)
    return (values.t()[None, ..., None] * of_gate[:, None, None]).flatten(0, 1)


def _functions(gates: int) -> int:
    """How many a step may have that are looked at: of each gate, and of the cell state."""
    return gates + 1


class _Given(Numbers):
    """Numbers whose products with h are given, so that they can be shifted. So is what each function of a step gives:
    of the first rows by a piecewise linear function of it, which is 1 at one of the knots."""

    product: Tensor
    shift: float
    called: int

    def __init__(self, p: LayerParameters, gates: int, nonlinearity: Nonlinearity) -> None:
        super().__init__(p, gates, nonlinearity)
        for name in CHOSEN:
            setattr(self, name, functools.partial(self._shifted, getattr(self, name)))

    def _shifted(self, function: Callable[[Tensor], Tensor], s: Tensor) -> Tensor:
        v = function(s)
        if self.called == _functions(self._gates):
            return v
        start = self.called * len(_KNOTS)
        near = 1 - (v[start] - _KNOTS[:, None, None]).abs() / (_KNOTS[1] - _KNOTS[0])
        v[start : start + len(_KNOTS)] += self.shift * near.clamp_(min=0)
        self.called += 1
        return v

    def hidden(self, _h: Tensor) -> Tensor:
        return self.product
