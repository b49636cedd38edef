"""What a layer received from the one below, read chunk by chunk: a whole run need not be in memory."""

from __future__ import annotations

import functools
import os
import tempfile
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from rnnspect.errors import ResourceError
from rnnspect.files.memory import in_words
from rnnspect.judging.recorded_precision import EXACT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from rnnspect.judging.recorded_precision import Kept

_LARGE = 2**26
"""Bytes from which on what is made of every step goes to a file."""


class Steps(Protocol):
    """Values (steps, batch, units), read by steps as a tensor is."""

    @property
    def shape(self) -> torch.Size: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def __getitem__(self, at: Any, /) -> Tensor: ...


class Errors:
    """How far recorded values may be off."""

    dtype = torch.float64

    def __init__(self, values: Tensor, kept: Kept) -> None:
        self._values, self._kept, self.shape = values, kept, values.shape

    def __getitem__(self, at: Any) -> Tensor:
        values = self._values[at]
        error = self._kept.error(values)
        return torch.zeros_like(values, dtype=torch.float64) if error is None else error


class Beside:
    """Both directions side by side, zero where an item is over."""

    def __init__(self, parts: Sequence[Steps], valid: Tensor | None = None) -> None:
        self._parts, self._valid = parts, valid
        self.shape = torch.Size((*parts[0].shape[:2], sum(part.shape[2] for part in parts)))
        self.dtype = functools.reduce(torch.promote_types, (part.dtype for part in parts))

    def __getitem__(self, at: Any) -> Tensor:
        values = torch.cat([part[at].to(self.dtype) for part in self._parts], -1)
        return values if self._valid is None else torch.where(self._valid[at].unsqueeze(-1), values, 0)


def handed_on(outputs: Sequence[tuple[Tensor, Steps | None]], valid: Tensor | None) -> tuple[Steps, Steps | None]:
    """What the layer above has of the h of each direction, with its error where there is one; and the error of that."""
    x = beside([h for h, _ in outputs], valid)
    if all(error is None for _, error in outputs):
        return x, None
    return x, beside([Errors(h, EXACT) if error is None else error for h, error in outputs])


def beside(parts: Sequence[Steps], valid: Tensor | None = None) -> Steps:
    return parts[0] if len(parts) == 1 and valid is None else Beside(parts, valid)


def zeros(*shape: int) -> Tensor:
    """In float64; in a file that is gone when it is no longer used, if they are many.

    Raises `ResourceError` if there is no room for it.
    """
    size = 8 * int(np.prod(shape))
    if size < _LARGE:
        return torch.zeros(shape, dtype=torch.float64)
    with tempfile.TemporaryFile() as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told now, not by a signal later
            else:
                file.truncate(size)
        except OSError as error:
            found = f"no room for a layer that nobody observed: {error.strerror}"
            allowed = f"{in_words(size)} in {tempfile.gettempdir()} (TMPDIR says where)"
            raise ResourceError(found, allowed=allowed) from error
        return torch.from_numpy(np.memmap(file, np.float64, "r+", shape=shape))
