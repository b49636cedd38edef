"""What kind of file a name stands for, and how one tensor of a file is described without its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINTS = (".pt", ".pth", ".safetensors", ".npz")


@dataclass(frozen=True)
class Stored:
    """One tensor of a file. The dtype is named as in a spec where it is one of a spec's, else as the file names it."""

    shape: tuple[int, ...]
    dtype: str


def is_checkpoint(path: Path) -> bool:
    """Whether a file is named like a checkpoint."""
    return path.suffix.lower() in CHECKPOINTS
