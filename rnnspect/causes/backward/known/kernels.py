"""The matrix that carries a gradient from the gates to the step before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardReading


def causes(seen: Seen) -> Iterator[BackwardCause]:
    p, gates = seen.reading.p, len(seen.reading.cell.gates)
    if p.weight_hh.shape[0] == gates * p.weight_hh.shape[1]:
        yield BackwardCause(
            "grad-weight_hh-not-transposed",
            "the gradient of h of the step before is taken with W_hh in place of W_hhᵀ",
            "Use dL/dh_{t−1} = W_hhᵀ dL/d(pre-activations).",
            _transposed,
        )


def _transposed(reading: BackwardReading) -> BackwardReading:
    blocks = reading.p.weight_hh.chunk(len(reading.cell.gates))
    weights = replace(reading.p, weight_hh=torch.cat([block.t() for block in blocks]))
    return replace(reading, otherwise=replace(reading.otherwise, weights=weights))
