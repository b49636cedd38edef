"""Checkpoints in .safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files import safetensors_file
from rnnspect.weights.readers.named_tensors import of_tensors

if TYPE_CHECKING:
    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return seen.head[8:9] == b"{" and 2 <= int.from_bytes(seen.head[:8], "little") <= safetensors_file.MAX_HEADER


READER = of_tensors("a safetensors file", _recognises, safetensors_file.tensors, ".safetensors")
