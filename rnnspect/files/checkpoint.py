"""Torch checkpoints, read as tensors only."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import torch

from rnnspect import resources
from rnnspect.errors import FileError
from rnnspect.files.reading import size_of, why

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def read_torch(path: Path) -> torch.Tensor | Mapping[Any, Any]:
    """A tensor, or a mapping that holds tensors. Raises `FileError` for a file that needs code to load."""
    resources.require(2 * size_of(path), "reading it", str(path))
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).casefold() or "unsupported" in str(error).casefold():
            allowed = "tensors only; save model.state_dict()"
            raise FileError("loading it would run code", allowed=allowed, where=str(path)) from None
        raise FileError(f"not a torch file: {_first_line(error)}", where=str(path)) from None
    except (
        OSError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        raise FileError(f"not a torch file: {_first_line(error)}", where=str(path)) from None
    if not isinstance(found, torch.Tensor | dict):
        raise FileError(f"it holds a {type(found).__name__}", allowed="a tensor or a state dict", where=str(path))
    return found


def _first_line(error: Exception) -> str:
    return why(error).partition("\n")[0].partition(". ")[0]
