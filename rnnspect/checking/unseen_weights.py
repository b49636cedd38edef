"""Which weights an input does not reach: if they were changed, every number would be the same, so that a run that
agrees says nothing about them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.judging.verdict import Verdict
from rnnspect.network.sequence import Sequence

_FIRST = 64
"""After so many steps most inputs have reached every weight; a check has to stay much faster than a run."""


def _unseen(sequence: Sequence) -> str | None:
    """Which weights the input does not reach, in words; None where it reaches every weight."""
    said = _of_input(_rows(sequence, _FIRST)) and _of_input(_rows(sequence, sequence.steps))
    if said is None and sequence.steps == 1 and not bool(sequence.h0.any()):
        said = "the only step begins with h0 = 0, so that weight_hh had no effect"
    return said and f"{said}; check with another input, such as randn:20, too"


def with_unseen(found: Verdict, sequence: Sequence) -> Verdict:
    """The verdict, with a note where it agrees and the input does not reach every weight."""
    note = _unseen(sequence) if found.agrees else None
    return replace(found, notes=(*found.notes, note)) if note else found


def _rows(sequence: Sequence, steps: int) -> Tensor:
    """x of the first steps, (·, I), without padding."""
    x, valid = sequence.x[:steps], sequence.valid()
    return x.flatten(0, 1) if valid is None else x[valid[:steps]]


def _of_input(x: Tensor) -> str | None:
    used = (x != 0).any(0)
    if not bool(used.any()):
        return "x is zero at every step, so that weight_ih had no effect"
    if x.shape[1] > 1 and torch.equal(x, x[:, :1].expand_as(x)):
        return "all features of x are alike at each step, so that weight_ih's columns could be in any order"
    if idle := int((~used).sum()):
        of = f"{idle:,} of {x.shape[1]:,} features of x"
        return f"{of} are zero at every step, so that their columns of weight_ih had no effect"
    return None
