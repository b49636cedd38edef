"""Rows of numbers in another order."""

from __future__ import annotations

import torch
from torch import Tensor


def order_of(ours: Tensor, theirs: Tensor) -> Tensor | None:
    """For each row of theirs the nearest row of ours; None where the rows are in the same order, or where that is no
    permutation."""
    if ours.shape[1] < 2 and len(ours) > 64:  # single numbers are near to many others
        return None
    order = torch.cdist(theirs, ours).argmin(1)
    moved = not torch.equal(order, torch.arange(len(order)))
    return order if moved and len({*order.tolist()}) == len(order) else None
