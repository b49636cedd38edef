"""The matrices that carry a gradient from the gates to the step before, and to x."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption

_OF_A_MATRIX = (
    (
        "weight_hh",
        "grad-weight_hh-not-transposed",
        "the gradient of h of the step before uses W_hh in place of W_hhᵀ",
        "Use dL/dh_{t−1} = W_hhᵀ dL/d(pre-activations).",
    ),
    (
        "weight_ih",
        "grad-weight_ih-not-transposed",
        "dL/dx uses W_ih in place of W_ihᵀ",
        "Use dL/dx = W_ihᵀ dL/d(pre-activations).",
    ),
)


def causes(seen: Seen) -> Iterator[BackwardCause]:
    p, gates = seen.assumed.p, len(seen.assumed.cell.gates)
    for weight, name, said, fix in _OF_A_MATRIX:
        if p[weight].shape[0] == gates * p[weight].shape[1]:
            transposed = torch.cat([block.t() for block in p[weight].chunk(gates)])  # of each gate by itself
            change: dict[str, Any] = {weight: transposed}
            weights = replace(p, **change)
            yield BackwardCause(name, said, fix, functools.partial(BackwardAssumption.with_mistake, weights=weights))
