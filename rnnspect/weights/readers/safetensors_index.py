"""Checkpoints in several .safetensors files: model.safetensors.index.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files import sharded
from rnnspect.weights.readers.named_tensors import of_tensors

if TYPE_CHECKING:
    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return seen.head.lstrip().startswith(b"{") and b'"weight_map"' in seen.head


READER = of_tensors("the index of a sharded checkpoint", _recognises, sharded.tensors, ".index.json")
