"""The final state of a run that went on behind its end: on zeros that fill the last of its chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.perturbed import RUNS
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.estimate import FINAL_SPREADS, SPREADS, Estimate, estimate
from rnnspect.judging.layer import cast

STEPS = 15, 63, 255
"""So many steps may fill a chunk; few are tried first."""
_CLEAR = 4
"""How many times as far as what is allowed the cell state has to be from that of the last step."""
_NEAR = 0.1
"""Of the largest number of a cell state: how far from it a padded one may be that stands for it. One of zeros, which
much decays to, is told as such."""
_WORK = 2**31
"""Multiplications, about a second: a larger network is stepped less far."""


class Padded(NamedTuple):
    """How many steps more were run, and the states (B, ·) that a run then ends with, each with its error."""

    steps: int
    final: tuple[tuple[Tensor, Tensor], ...]


def padded_with(assumed: Assumption, ended: Sequence[tuple[Tensor, Tensor]], h_n: Tensor) -> Padded | None:
    """How many steps of zeros lead from the states (B, ·) that a run ended with, each with its error, to the final h
    (B, P) that its engine returned: zeros for x, or for all that goes into the gates. None where none do.

    It is asked of the lowest layer alone: what one above would receive behind the end, nobody knows. A run whose final
    h is that of its last step did not go on.
    """
    if not _may_go_on(assumed) or torch.equal(ended[0][0], h_n.double()):
        return None
    each = RUNS * len(h_n) * (assumed.p.weight_hh.numel() + assumed.p.weight_ih.numel())
    most = min(STEPS[-1], _WORK // each)
    if not most:
        return None
    for count in sorted({min(most, steps) for steps in STEPS}):
        for behind in _ways(assumed):
            stepped = _on_zeros(behind, ended, count)
            allowed = stepped.error * (FINAL_SPREADS / SPREADS)
            fits = ((stepped.h - h_n.double()).abs() <= allowed).flatten(1).all(1)
            fits &= (stepped.h.isfinite() & allowed.isfinite()).flatten(1).all(1)  # what is not known fits anything
            if bool(fits.any()):
                steps = int(fits.byte().argmax()) + 1
                return Padded(steps, _on_zeros(behind, ended, steps).final)
    return None


def cell_state_padded_with(assumed: Assumption, ended: Sequence[tuple[Tensor, Tensor]], c_n: Tensor) -> Padded | None:
    """The same of the final cell state alone, where the final h is that of the last step."""
    if not _may_go_on(assumed):
        return None
    off = float((c_n - ended[1][0]).abs().max())
    for behind in _ways(assumed):
        count, nearest = _nearest(behind, ended, c_n)
        if nearest > _NEAR * float(c_n.abs().max()):
            continue
        final = _on_zeros(behind, ended, count).final
        v, e = final[1]
        allowed = e + v.abs() * assumed.u.stored
        if bool(((v - c_n).abs() <= allowed).all()) and _CLEAR * float(allowed.max()) < off:
            return Padded(count, final)
    return None


def _nearest(assumed: Assumption, ended: Sequence[tuple[Tensor, Tensor]], c_n: Tensor) -> tuple[int, float]:
    """After how many steps of zeros the cell state is nearest to this one, and how far it then is from it."""
    p, batch = cast(assumed.p, torch.float64), assumed.run.x.shape[1]
    numbers = Numbers(p, len(assumed.cell.gates), assumed.nonlinearity)
    wx = linear(torch.zeros(batch, p.weight_ih.shape[1], dtype=torch.float64), p.weight_ih, p.bias_ih)
    h, c = (state.double() for state, _ in ended)
    far = []
    for _ in range(min(STEPS[-1], max(1, _WORK // (batch * (p.weight_hh.numel() + p.weight_ih.numel()))))):
        q = assumed.cell.step(numbers, wx, h, c)
        h, c = q["h"], q["c"]
        far.append(float((c - c_n).abs().max()))
    least = min(far)
    return far.index(least) + 1, least


def _may_go_on(assumed: Assumption) -> bool:
    return not assumed.layer and assumed.run.lengths is None


def _ways(assumed: Assumption) -> list[Assumption]:
    """Zeros for x, or for all that goes into the gates."""
    bias = assumed.p.bias_ih
    return [assumed] if bias is None else [assumed, assumed.with_parameters(bias_ih=torch.zeros_like(bias))]


def _on_zeros(assumed: Assumption, ended: Sequence[tuple[Tensor, Tensor]], steps: int) -> Estimate:
    run, batch = assumed.run, assumed.run.x.shape[1]
    x, h = (torch.zeros(steps, batch, size) for size in (run.x.shape[2], run.h.shape[2]))
    behind = replace(run, x=x, h=h, error=None, h_error=None, reverse=False, c=None)
    u = replace(assumed.u, relative=0.0, absolute=0.0)
    return estimate(replace(assumed, run=behind, u=u).begun_with(ended))
