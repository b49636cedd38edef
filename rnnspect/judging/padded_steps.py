"""The final state of a run that went on behind its end: on zeros that fill the last of its chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.arithmetic.perturbed import RUNS
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.estimate import FINAL_SPREADS, SPREADS, Estimate, estimate

STEPS = 15, 63, 255
"""So many steps may fill a chunk; few are tried first."""
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
    if assumed.layer or assumed.run.lengths is not None or torch.equal(ended[0][0], h_n.double()):
        return None
    each = RUNS * len(h_n) * (assumed.p.weight_hh.numel() + assumed.p.weight_ih.numel())
    most = min(STEPS[-1], _WORK // each)
    if not most:
        return None
    bias = assumed.p.bias_ih
    ways = [assumed.p] if bias is None else [assumed.p, replace(assumed.p, bias_ih=torch.zeros_like(bias))]
    for count in sorted({min(most, steps) for steps in STEPS}):
        for p in ways:
            behind = replace(assumed, p=p)
            stepped = _on_zeros(behind, ended, count)
            allowed = stepped.error * (FINAL_SPREADS / SPREADS)
            fits = ((stepped.h - h_n.double()).abs() <= allowed).flatten(1).all(1)
            fits &= (stepped.h.isfinite() & allowed.isfinite()).flatten(1).all(1)  # what is not known fits anything
            if bool(fits.any()):
                steps = int(fits.byte().argmax()) + 1
                return Padded(steps, _on_zeros(behind, ended, steps).final)
    return None


def _on_zeros(assumed: Assumption, ended: Sequence[tuple[Tensor, Tensor]], steps: int) -> Estimate:
    run, batch = assumed.run, assumed.run.x.shape[1]
    x, h = (torch.zeros(steps, batch, size) for size in (run.x.shape[2], run.h.shape[2]))
    behind = replace(run, x=x, h=h, error=None, h_error=None, reverse=False, c=None)
    u = replace(assumed.u, relative=0.0, absolute=0.0)
    return estimate(replace(assumed, run=behind, u=u).begun_with(ended))
