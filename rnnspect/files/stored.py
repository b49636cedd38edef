"""What a checkpoint holds, without the numbers: names, shapes and dtypes. Loads torch for torch's own format only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.errors import FileError, listed

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


def stored_in(path: Path) -> dict[str, Stored]:
    """Every tensor of a checkpoint; in torch's format also those in nested dictionaries, as outer.inner.

    Raises `FileError` for a file that is broken, promises more than it holds, or would need code to load.
    """
    match path.suffix.lower():
        case ".safetensors":
            from rnnspect.files.safetensors_header import read_safetensors_header

            return read_safetensors_header(path)
        case ".npz":
            from rnnspect.files.npy_header import read_npz_headers

            return read_npz_headers(path)
        case ".pt" | ".pth":
            from rnnspect.files.torch_and_safetensors import read_nested

            tensors = read_nested(path)
            return {
                name: Stored(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
                for name, tensor in tensors.items()
            }
    raise FileError(
        f"files that end in {path.suffix!r} hold no parameters", allowed=listed(CHECKPOINTS), where=str(path)
    )
