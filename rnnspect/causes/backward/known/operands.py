"""What the gradient of a weight is made of: the h that W_hh was multiplied with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardReading
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.chunks import Chunk


def causes(seen: Seen) -> Iterator[BackwardCause]:
    if seen.reading.cell.mixes or seen.reading.p.weight_hr is not None:
        return
    yield BackwardCause(
        "grad-h-after-in-weight_hh",
        "the gradient of weight_hh is made of h after each step, not of h before it",
        "Use dL/dW_hh = Σ dL/d(pre-activations of step t) ⊗ h_{t−1}, and h0 in the first step.",
        _of_h_after,
        shows="sums",
    )


def _of_h_after(reading: BackwardReading) -> BackwardReading:
    return replace(reading, otherwise=replace(reading.otherwise, terms=_terms))


def _terms(terms: list[Term], chunk: Chunk) -> list[Term]:
    after = torch.where(chunk.inside.unsqueeze(-1), chunk.after, 0).flatten(0, 1)

    def changed(term: Term) -> Term:
        if term.parameter != "weight_hh" or term.right is None:
            return term
        v: Tensor = after.to(term.right.v.dtype)
        return replace(term, right=Number(v, torch.zeros((), dtype=v.dtype), term.right.u))

    return [changed(term) for term in terms]
