"""Torch and safetensors checkpoints, read as tensors only."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING

import torch

from rnnspect import resources
from rnnspect.errors import FileError, InputError
from rnnspect.files.npy import check_archive
from rnnspect.files.reading import size_of, why

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_BROKEN: tuple[type[Exception], ...] = (
    *(OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError),
    *(AssertionError, MemoryError, OverflowError, ImportError, struct.error),
)
"""What torch and safetensors raise on damaged files."""


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pt file by name; a file of one tensor calls it "array".

    Raises `FileError` for a file that would need code to load, and for one that holds no tensors.
    """
    resources.require(2 * size_of(path), "reading it", str(path))
    try:
        _check_if_zip(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's age or pickle protocol; what it holds is checked here
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).casefold() or "unsupported" in str(error).casefold():
            allowed = "tensors only; save model.state_dict()"
            raise FileError("loading it would run code", allowed=allowed, where=str(path)) from None
        raise FileError(f"not a torch file: {_first_line(error)}", where=str(path)) from None
    except InputError:
        raise
    except _BROKEN as error:
        raise FileError(f"not a torch file: {_first_line(error)}", where=str(path)) from None
    if isinstance(found, torch.Tensor):
        return {"array": found}
    if not isinstance(found, dict):
        raise FileError(f"it holds a {type(found).__name__}", allowed="a tensor or a state dict", where=str(path))
    tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise FileError("it holds no tensor", where=str(path))
    return tensors


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    resources.require(2 * size_of(path), "reading it", str(path))
    broken: tuple[type[Exception], ...] = (SafetensorError, *_BROKEN)
    try:
        found: dict[str, Tensor] = load_file(path)
    except broken as error:
        raise FileError(f"not a .safetensors file: {_first_line(error)}", where=str(path)) from None
    if not found:
        raise FileError("it holds no tensor", where=str(path))
    return found


def _check_if_zip(path: Path) -> None:
    """torch's own format is a zip, which could unpack to more than there is."""
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(archive, str(path))
    except (zipfile.BadZipFile, zlib.error):
        return  # the older formats, or a broken file: torch.load says which


def _first_line(error: BaseException) -> str:
    return why(error).partition("\n")[0].partition(". ")[0]
