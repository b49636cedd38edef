"""Checkpoints in .npz: a zip of numpy's arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files import npy
from rnnspect.weights.readers.named_tensors import of_tensors

if TYPE_CHECKING:
    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return bool(seen.members) and all(name.endswith(".npy") for name in seen.members) and not seen.is_folder


READER = of_tensors("a numpy archive", _recognises, npy.tensors, ".npz")
