"""The matrices that carry a gradient from the gates to the step before, and to x."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption


def causes(seen: Seen) -> Iterator[BackwardCause]:
    p, gates = seen.assumed.p, len(seen.assumed.cell.gates)
    if p.weight_hh.shape[0] == gates * p.weight_hh.shape[1]:
        yield BackwardCause(
            "grad-weight_hh-not-transposed",
            "the gradient of h of the step before is taken with W_hh in place of W_hhᵀ",
            "Use dL/dh_{t−1} = W_hhᵀ dL/d(pre-activations).",
            functools.partial(
                BackwardAssumption.with_mistake, weights=replace(p, weight_hh=_transposed(p.weight_hh, gates))
            ),
        )
    if p.weight_ih.shape[0] == gates * p.weight_ih.shape[1]:
        yield BackwardCause(
            "grad-weight_ih-not-transposed",
            "dL/dx is taken with W_ih in place of W_ihᵀ",
            "Use dL/dx = W_ihᵀ dL/d(pre-activations).",
            functools.partial(
                BackwardAssumption.with_mistake, weights=replace(p, weight_ih=_transposed(p.weight_ih, gates))
            ),
        )


def _transposed(weight: Tensor, gates: int) -> Tensor:
    """The matrix with the block of each gate transposed."""
    return torch.cat([block.t() for block in weight.chunk(gates)])
