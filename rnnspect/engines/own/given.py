"""Reads what the user's own code returns as a tensor, and restores the torch settings that it changed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator


def own_tensor(given: Any) -> Tensor | str:
    """A copy of an array or a tensor; or in words what it is, where its values are no plain floating-point numbers.
    Autograd, where it records, sees the copy as made of the tensor. Raises whatever the code of its class raises."""
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        return "masked values"
    if isinstance(given, np.ndarray):
        if given.dtype.kind != "f":
            return f"dtype {given.dtype}"
        return torch.from_numpy(np.array(given, given.dtype.newbyteorder("="), order="C", subok=False))
    found = torch.as_tensor(given)
    if found.layout != torch.strided:
        return f"layout {found.layout}"
    if found.is_meta:
        return "the device meta, which has no values"
    if not found.is_floating_point():  # quantised and complex tensors, too
        return f"dtype {found.dtype}"
    return found.clone() if torch.is_grad_enabled() else found.detach().clone()


@contextmanager
def settings_kept() -> Iterator[None]:
    """Afterwards torch's default dtype and whether it records gradients are what they were. Not its random numbers: a
    second run has to draw others, so that dropout is seen."""
    dtype = torch.get_default_dtype()
    try:
        with torch.set_grad_enabled(torch.is_grad_enabled()):
            yield
    finally:
        torch.set_default_dtype(dtype)
