"""Checkpoints in torch's own format, .pt and .pth: a state dict, perhaps in dictionaries, read as tensors only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.weights.readers.named_tensors import of_tensors

if TYPE_CHECKING:
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse
    from rnnspect.files.reading import Tensors


def _recognises(seen: Glimpse) -> bool:
    return seen.has("/data.pkl") and not seen.is_folder


def _tensors(path: Path) -> Tensors:
    from rnnspect.files import torch_file  # with torch, which --help does without

    return torch_file.tensors(path)


READER = of_tensors("a checkpoint of torch", _recognises, _tensors, ".pt", ".pth")
