"""The smallest shift of a gate's pre-activation s that a comparison would have seen: bound / |∂h/∂s|."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.activations import plain
from rnnspect.arithmetic.hidden_calls import without_input
from rnnspect.arithmetic.numbers import Numbers, OfParameters
from rnnspect.arithmetic.product_bounds import affine, squashed
from rnnspect.cells.functions import CHOSEN, FIXED, TANH, Nonlinearity, functions_of
from rnnspect.cells.trial import normalises
from rnnspect.judging.layer import ComparedChunk, LayerEquations
from rnnspect.network.parameters import LayerParameters

SHIFTS = 2.0**-7, 2.0**-3, 2.0**-1
"""The shifts that are tried, each where the one before was too small: the slope of a nearly shut gate changes.
Downwards: a shut relu would open, but its bound is that of a shut one."""
_ALL, _EVERY_OTHER = slice(None), (slice(0, None, 2), slice(1, None, 2))


class Known(OfParameters):
    """Plain numbers with a given recurrent product, which stop at the hidden units."""

    shifts: Tensor | None = None
    """The shift of W_hh v + b_hh, for gates without W_ih x."""

    def __init__(self, h: Tensor, p: LayerParameters, gates: int, nonlinearity: Nonlinearity) -> None:
        self._h, self._p, self._product, self._gates = h, p, affine(h, p.weight_hh, p.bias_hh), gates
        self.state_sizes = p.state_sizes(gates)
        self.functions = functions = functions_of(nonlinearity)
        for name in (*CHOSEN, *FIXED):
            f, clip = functions.named(name), functions.clip_of(name)
            setattr(self, name, _fast if f == TANH and clip is None else plain(f, clip))

    def hidden(self, h: Tensor) -> Tensor:
        product = self._product if h is self._h else self._recurrent(h)
        return product if self.shifts is None else product + self.shifts

    def _recurrent(self, h: Tensor) -> Tensor:
        """W_hh h + b_hh; of zeros, too, for which nothing is multiplied."""
        w, b = self._p.weight_hh, self._p.bias_hh
        if bool(h.any()):
            return linear(h, w, b)
        return (h.new_zeros(len(w)) if b is None else b).expand(*h.shape[:-1], -1)

    def project(self, m: Tensor) -> Tensor:
        return m


def _fast(s: Tensor) -> Tensor:
    return squashed(s, "tanh")


def idle_gates(layer: LayerEquations) -> Tensor:
    """(gates,): the gates without effect in a step of the cell, found with drawn numbers. All gates of PyTorch's cells
    have one, and so have those that are a product with h alone."""
    if layer.cell.torch_name:
        return torch.zeros(layer.gates, dtype=torch.bool)
    idle = without_effect(layer)
    if layer.cell.is_recurrent:
        idle[list(without_input(layer.cell))] = False
    return idle


def without_effect(layer: LayerEquations, states: Sequence[str] = ("h", "c")) -> Tensor:
    """(gates,): the gates whose W_ih x has no effect on these states after a step of the cell, found with drawn
    numbers."""
    p, draw = layer.weights, torch.Generator().manual_seed(0)
    widths = sum(layer.gate_sizes), p.weight_hh.shape[1], layer.state_units
    wx, h, c = (torch.randn(1, width, generator=draw).to(p.weight_ih) for width in widths)
    numbers = Numbers(p, layer.gates, layer.nonlinearity)

    def made(wx: Tensor) -> Tensor:
        q = layer.cell.step(numbers, wx, *(h, c)[: len(layer.cell.states)])
        # A state that is made of parameters alone has no rows.
        return torch.cat([q[state].expand(len(wx), -1) for state in layer.cell.states if state in states], -1)

    right, blocks = made(wx), torch.arange(sum(layer.gate_sizes)).split_with_sizes(list(layer.gate_sizes))
    shifted = (wx.index_add(1, block, torch.ones_like(wx[:, block])) for block in blocks)
    return torch.tensor([torch.equal(made(other), right) for other in shifted])


def resolution(layer: LayerEquations, compared: ComparedChunk, rows: int) -> Tensor:
    """(gates, units): the smallest shift that would have been seen in so many rows (a step of an item) of the chunk,
    with one gate shifted at a time. Infinite where even the largest shift would not have been seen."""
    chunk, p = compared.chunk, layer.weights
    places = chunk.inside.nonzero()
    if not len(places):
        return torch.full((layer.gates, layer.units), torch.inf)
    n, b = places[torch.linspace(0, len(places) - 1, min(rows, len(places))).long()].unbind(1)
    h = chunk.before[n, b].to(layer.dtype)
    a = Known(h, p, layer.gates, layer.nonlinearity)
    wx = affine(chunk.x[n, b].to(layer.dtype), p.weight_ih, p.bias_ih)
    state: tuple[Any, ...] = (h,)
    if compared.c is not None:
        c = compared.q["c"].v
        state = (*state, torch.cat([compared.c.v[None].to(c.dtype), c[:-1]])[n, b].to(layer.dtype))
    bound = compared.bound[n, b].to(layer.dtype)
    norms = not layer.cell.torch_name and normalises(layer.cell)  # what all units of a gate share a norm takes off

    without = without_input(layer.cell)
    columns = p.split(torch.arange(wx.shape[-1]), layer.gates)
    alone = torch.cat([columns[0][:0], *(columns[gate] for gate in without)])

    def moves(shifts: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Every quantity, and how far h moves by each gate's shift."""
        if len(alone):
            a.shifts = torch.zeros_like(shifts)
            a.shifts[..., alone] = shifts[..., alone]
            shifts = shifts - a.shifts
        q: dict[str, Tensor] = layer.cell.step(a, wx + shifts, *state)
        each = len(shifts), len(h), -1  # in some cells no gate reaches h, or c, in the same step
        new, a.shifts = q["h"].expand(each), None
        moved = (new[:-1] - new[-1]).abs_()
        if layer.stepwise:  # what the cell state alone shows is seen at the next step, taken to be one like this
            later = layer.cell.step(a, wx, h, q["c"].expand(each))["h"].expand(each)
            moved = torch.maximum(moved, (later[:-1] - later[-1]).abs_())
        return q, moved

    def seen(shift: float, units: slice = _ALL) -> Tensor:
        """The shift that would have moved h by its bound, if h moves on as it does up to `shift`. Of each gate these
        units are shifted."""
        shifts = torch.zeros(layer.gates + 1, 1, wx.shape[-1], dtype=layer.dtype)
        for gate, block in enumerate(p.split(shifts, layer.gates)):
            block[gate, ..., units] = -shift
            if norms and units == _ALL:
                block[gate, ..., 1::2] = shift
        q, moved = moves(shifts)
        if not functions_of(layer.nonlinearity).are_usual:  # what is flat on one side of here may hide a shift to it
            moved = torch.minimum(moved, moves(-shifts)[1])
        parts = moved / bound if p.weight_hr is None else moved * (p.weight_hr.abs() / bound.unsqueeze(-1)).amax(1)
        if layer.cell.mixes and layer.cell.torch_name == "GRU":  # a unit's r reaches every unit's n
            to_n = ((q["r"][0] - q["r"][-1]) / shift * h).abs().unsqueeze(1) * p.weight_hh[-layer.units :].abs()
            parts[0] = (to_n * parts[2].unsqueeze(-1)).amax(1)
        best: Tensor = parts.amax(1).reciprocal_().mul_(shift)
        return best

    found = _smallest(seen)
    for units in () if layer.cell.torch_name else _EVERY_OTHER:  # what all units of a gate share may cancel in h
        if bool((unseen := found.isinf().all(1, keepdim=True)).any()):
            found = torch.where(unseen, _smallest(functools.partial(seen, units=units)), found)
    return found


def _smallest(seen: Callable[[float], Tensor]) -> Tensor:
    """Of the shifts that are tried, what the first that is large enough shows."""
    found = seen(SHIFTS[0])
    for shift, larger in itertools.pairwise(SHIFTS):
        if not bool((found > 2 * shift).any()):
            return found
        found = torch.where(found > 2 * shift, seen(larger), found)
    return found.masked_fill_(~(found <= SHIFTS[-1]), torch.inf)
