"""Checkpoints in .npz: a zip of numpy's arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.files import npy
from rnnspect.weights.readers.interface import Module, Reader
from rnnspect.weights.readers.named_tensors import modules_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return bool(seen.members) and all(name.endswith(".npy") for name in seen.members) and not seen.is_folder


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    return modules_of(npy.tensors(path), path, flags)


READER = Reader("a numpy archive", _recognises, _modules, (".npz",))
