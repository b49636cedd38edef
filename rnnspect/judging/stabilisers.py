"""Blocks of a cell state that keep exponentials in range, as m of an mLSTM does: only S eᵐ and n eᵐ matter.

h does not depend on such an m: if m is off by δ, and S and n by a factor e^−δ, then everything else is the same. A form
that adds up the logarithms of many decays has an m with far more than one rounding, and an S and n to match. So the
error of m is tracked for m alone; S and n are bounded as if m were exact, and their own errors are multiplied by e^δ.

Which block it is follows from the cell's lines, computed on drawn numbers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.forms import TermSums
from rnnspect.arithmetic.matrices import along_values, by_head, cut
from rnnspect.arithmetic.numbers import Numbers
from rnnspect.cells.functions import Nonlinearity
from rnnspect.cells.interface import Cell

_DRAWS = 16
_SAME = 1e-9
"""Relative, in float64: a step has some hundred roundings of 1e-16, and numbers that are not equal differ by far
more."""


def stabiliser(cell: Cell, a: Bounded, nonlinearity: Nonlinearity) -> int | None:
    """Which block of the cell state is one; None where none is. `a` has the parameters, in float64."""
    sizes = a.state_sizes
    fitting = [at for at, size in enumerate(sizes) if all(other % size == 0 for other in sizes)]
    return next((at for at in fitting if len(sizes) > 1 and _is_one(cell, a, nonlinearity, at)), None)


def _is_one(cell: Cell, a: Bounded, nonlinearity: Nonlinearity, at: int) -> bool:
    p, draw, others = a.parameters, torch.Generator().manual_seed(0), [*range(len(a.state_sizes))]
    others.remove(at)
    widths = (sum(p.gate_sizes(len(cell.gates))), p.weight_hh.shape[1], sum(a.state_sizes), a.state_sizes[at])
    wx, h, c, by = (torch.randn(_DRAWS, width, dtype=a.dtype, generator=draw) for width in widths)
    moved = list(cut(c * _along(-by, a).exp(), a.state_sizes))
    moved[at] = cut(c, a.state_sizes)[at] + by
    numbers = Numbers(p, len(cell.gates), nonlinearity)
    pairs = []
    for state in (c, torch.cat(moved, -1)):
        q = cell.step(numbers, wx, h, state)
        unscaled = cut(q["c"] * _along(cut(q["c"], a.state_sizes)[at], a).exp(), a.state_sizes)
        pairs.append((q["h"], *(unscaled[other] for other in others)))
    return all(torch.allclose(v, w, rtol=_SAME, atol=_SAME) for v, w in zip(*pairs, strict=True))


def _along(m: Tensor, a: Bounded) -> Tensor:
    """Each number of a stabiliser for all units of the cell state that it is for."""
    return torch.cat([along_values(m, size // m.shape[-1]) for size in a.state_sizes], -1)


def stepped(step: Callable[[Number], dict[str, Number]], c: Number, at: int, a: Bounded) -> dict[str, Number]:
    """Every quantity of a step from the cell state c, of which block `at` is a stabiliser."""
    u, end = a.u, list(itertools.accumulate(a.state_sizes))[at]
    place = slice(end - a.state_sizes[at], end)
    exact, with_own = c.each.clone(), c.each.clone()
    exact[..., place] = 0
    if c.sums is not None:
        with_own[..., place] = c.sums.other[..., place]
    q = step(replace(c, e=exact))
    made, sums = q["c"], q["c"].sums
    if sums is None:
        return q
    off = step(replace(c, e=with_own))["c"].each[..., place]
    ends = torch.zeros_like(off)
    if u.logs:  # the decays are relative to m, so that what it has grown by is missing in their logarithms
        log = sums.log.clone()
        log[-1] += _along(made.v[-1, ..., place] - c.v[..., place], a)
        sums = replace(sums, log=log)
        far = by_head(cut(sums.far, a.state_sizes)[0 if at else 1], off.shape[-1]).amax(-1)  # of any other block
        off = off + far * (2 * u.sums)
        ends = far * (u.sums * TermSums.depth(torch.tensor(min(float(sums.steps), u.logs))))
    e = made.each + (made.v.abs() + made.each) * _along(off + ends, a).expm1()
    e[..., place] = off + ends
    other = sums.other.clone()
    other[..., place] = off[-1]
    return q | {"c": replace(made, e=e, sums=replace(sums, other=other))}
