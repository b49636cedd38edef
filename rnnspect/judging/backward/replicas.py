"""What the replicas of a pass backwards tell: the gradients by the equations, and how far a correct engine may be from
them."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.arithmetic.perturbed import REPEATED
from rnnspect.judging.estimate import FINAL_SPREADS, SPREADS

_SMALLEST = 1e-150
"""Of a size: below it, the square of one divided by another may leave the range of float64."""
WithError = tuple[Tensor, Tensor]
"""What the equations give, and how far a correct engine may be from it."""


def spread(
    runs: Tensor, times: float = FINAL_SPREADS, repeated: float = SPREADS, sizes: Tensor | None = None
) -> WithError:
    """The exact values among (RUNS, …), and how far those of a correct engine may be from them: `times` their spread,
    `repeated` times that of replicas that repeat their roundings. The replicas of a single number may be close together
    by chance, so that the spread of its whole row counts too.

    `sizes` is how large the terms are of which each number is a sum, in any unit: where the terms of one number are
    larger by far than those of another, roundings of the one say nothing of the other.
    """
    exact, off = runs[0], (runs - runs[:1]).abs_()
    error = off[1 + REPEATED :].amax(0).mul_(times)
    error = torch.maximum(error, off[1 : 1 + REPEATED].amax(0).mul_(repeated))
    usual = _typical(error)
    if sizes is not None:
        sizes = sizes.nan_to_num(torch.inf).clamp(_SMALLEST, 1 / _SMALLEST)
        usual = torch.minimum(usual, _typical(error / sizes) * sizes)
    return exact, torch.maximum(error, usual)


def size_of(runs: Tensor) -> Tensor:
    """How large the numbers (RUNS, …, units) of each unit are: their root mean square over everything else."""
    return runs.flatten(0, -2).square().mean(0).sqrt_()


def explode(runs: Tensor, coming: Tensor) -> Tensor:
    """(B,): whether gradients (RUNS, …, B, ·) of an item become larger than all that was `coming` (B,), and a replica
    has not one digit in common with the exact run. Then those of an engine may have any size, which a few replicas do
    not tell."""
    size, apart = _typical(runs[0]), _typical(runs[1:] - runs[:1]).amax(0)
    found = ((apart > size) & (apart > coming[:, None])).squeeze(-1)
    return found.flatten(0, -2).any(0) if found.dim() > 1 else found


def _typical(rows: Tensor) -> Tensor:
    """The root mean square over the last axis, (…, 1); for a single number its absolute value."""
    return rows.square().mean(-1, keepdim=True).sqrt_() if rows.dim() else rows.abs()
