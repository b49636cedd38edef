"""Checkpoints: names, shapes and dtypes of all tensors in one, and the numbers of chosen ones.

Torch is loaded for numbers alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.errors import FileError, listed
from rnnspect.files import npy, safetensors_file
from rnnspect.files.pickle_file import open_pickle
from rnnspect.files.reading import Stored

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from torch import Tensor

CHECKPOINTS = (".pt", ".pth", ".safetensors", ".npz")


def stored_in(path: Path) -> dict[str, Stored]:
    """Every tensor of a checkpoint; in torch's format also those in nested dictionaries, as outer.inner.

    Raises `FileError` for a file that is broken, promises more than it holds, or would need code to load.
    """
    match path.suffix.lower():
        case ".safetensors":
            return safetensors_file.read_safetensors_header(path)
        case ".npz":
            return npy.read_npz_headers(path)
        case ".pt" | ".pth":
            return open_pickle(path).stored
    found_suffix = f"files that end in {path.suffix!r} hold no parameters"
    raise FileError(found_suffix, allowed=listed(CHECKPOINTS), where=str(path))


def read_members(path: Path, names: Collection[str]) -> dict[str, Tensor]:
    """The named tensors of a checkpoint, and nothing else of it. Names are those of `stored_in`."""
    match path.suffix.lower():
        case ".npz":
            return npy.read_npz(path, str(path), names)
        case ".safetensors":
            return safetensors_file.read_safetensors(path, names)
    return open_pickle(path).read(names)
