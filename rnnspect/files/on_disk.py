"""Zeros to be written over: many of them lie in a temporary file, so that they take no memory."""

from __future__ import annotations

import math
import os
import tempfile

import numpy as np
import torch
from torch import Tensor

from rnnspect.errors import ResourceError
from rnnspect.files.free_memory import LARGE, in_words


def zeros(shape: tuple[int, ...], dtype: torch.dtype, what: str) -> Tensor:
    """Zeros of that shape. The file of many is gone when the tensor is.

    Raises `ResourceError` that says for `what` there is no room.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE:
        return torch.zeros(shape, dtype=dtype)
    with tempfile.TemporaryFile() as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is told now, not by a signal later
            else:
                file.truncate(size)
        except OSError as error:
            allowed = f"{in_words(size)} in {tempfile.gettempdir()} (TMPDIR says where)"
            raise ResourceError(f"no room for {what}: {error.strerror}", allowed=allowed) from error
        return torch.from_numpy(np.memmap(file, np.uint8, "r+", shape=(size,))).view(dtype).view(shape)
