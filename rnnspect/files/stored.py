"""What kind of file a name stands for, and how one tensor of a file is described without its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINTS = (".pt", ".pth", ".safetensors", ".npz")
KERAS = (".keras", ".h5", ".hdf5")
ONNX = ".onnx"


@dataclass(frozen=True)
class Stored:
    """One tensor of a file. The dtype is named as in a spec where it is one of a spec's, else as the file names it."""

    shape: tuple[int, ...]
    dtype: str


def is_checkpoint(path: Path) -> bool:
    """Whether a file is named like a checkpoint."""
    return path.suffix.lower() in CHECKPOINTS


def is_keras(path: Path) -> bool:
    return path.suffix.lower() in KERAS


def is_onnx(path: Path) -> bool:
    return path.suffix.lower() == ONNX
