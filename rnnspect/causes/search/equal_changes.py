"""Tells which changes of an assumption have the same effect, so that each is tried once: two mistakes in either order,
or a mistake in something that the equations do not use."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption

_MOST = 2**20
"""In layers with more parameters than these, comparing them takes too long."""


def alike(assumed: Assumption, made: Assumption) -> Hashable | None:
    """A key that is equal for two changes of an assumption which compute the same from the same run; None where that is
    not known."""
    if made.run is not assumed.run or made.back is not assumed.back or made.stack is not assumed.stack:
        return None
    used = made.p.tensors
    if not made.p.is_recurrent:  # its lines multiply with no recurrent weights
        used = {name: w for name, w in used.items() if name not in ("weight_hh", "bias_hh")}
    if sum(w.numel() for w in used.values()) > _MOST:
        return None
    digest = hashlib.blake2b()
    for w in used.values():
        digest.update(_bytes(w))
    shapes = tuple((name, w.dtype, w.shape) for name, w in used.items())
    return made.cell, made.nonlinearity, made.u, made.p.blocks, shapes, digest.digest()


def _bytes(w: Tensor) -> bytes:
    return w.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
