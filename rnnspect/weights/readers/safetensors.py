"""Checkpoints in .safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.files import safetensors_file
from rnnspect.weights import said
from rnnspect.weights.readers.interface import Module, Reader
from rnnspect.weights.readers.named_tensors import modules_of
from rnnspect.weights.readers.pytorch import UNTOLD

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return seen.head[8:9] == b"{" and 2 <= int.from_bytes(seen.head[:8], "little") <= safetensors_file.MAX_HEADER


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    tensors = safetensors_file.tensors(path)
    text = safetensors_file.read_metadata(path).get(said.NAME)
    return modules_of(tensors, path, flags, said.read(text, UNTOLD, str(path)))


READER = Reader("a safetensors file", _recognises, _modules, (".safetensors",), tensors=safetensors_file.tensors)
