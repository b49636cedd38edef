"""Checkpoints in torch's own format, .pt and .pth: a state dict, perhaps in dictionaries, read as tensors only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.weights.readers.interface import Module, Reader
from rnnspect.weights.readers.named_tensors import modules_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return seen.has("/data.pkl") and not seen.is_folder


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    from rnnspect.files import torch_file  # with torch, which --help does without

    return modules_of(torch_file.tensors(path), path, flags)


READER = Reader("a checkpoint of torch", _recognises, _modules, (".pt", ".pth"))
