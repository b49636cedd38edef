"""torch's own format, .pt and .pth, read as tensors only."""

from __future__ import annotations

import pickle
import warnings
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.reading import DAMAGED, Stored, Tensors, in_short, size_of
from rnnspect.files.zip_members import check_archive

MAX_DEPTH = 8
"""Dictionaries inside one another that are looked into."""


def read_torch(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pt file by name: "array" if it holds one tensor alone; output, h_n and c_n if it holds what a
    torch.nn module returned, (output, h_n) or (output, (h_n, c_n)).

    Raises `FileError` for a file that would need code to load, and for one that holds no tensors.
    """
    found = _load(path, mapped=False)
    if isinstance(found, torch.Tensor):
        return {"array": found}
    found = _by_name(found)
    if not isinstance(found, dict):
        raise FileError(f"it holds a {type(found).__name__}", allowed="a tensor or a state dict", where=str(path))
    tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise FileError("it holds no tensor", where=str(path))
    return tensors


def _by_name(returned: Any) -> Any:
    """What a torch.nn module returned, as a dictionary; anything else as it is."""
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        return returned
    output, final = returned
    values = (output, *final) if isinstance(final, tuple | list) else (output, final)
    plain = len(values) in (2, 3) and all(isinstance(value, torch.Tensor) for value in values)
    return dict(zip(("output", "h_n", "c_n"), values, strict=False)) if plain else returned


def read_nested(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pt file and of the dictionaries in it, as outer.inner; the only tensor of a file as "array".

    Where the format allows it they are mapped into memory, so that only what is used is read.

    Raises `FileError` for a file that would need code to load.
    """
    found: dict[str, Tensor] = {}
    _flatten(_load(path, mapped=_can_be_mapped(path)), (), found, set())
    return found


def tensors(path: Path) -> Tensors:
    """Those of `read_nested`. Raises as it."""
    found = read_nested(path)
    stored = {name: Stored(tuple(one.shape), str(one.dtype).removeprefix("torch.")) for name, one in found.items()}
    return Tensors(stored, lambda names: {name: found[name] for name in names})


def _flatten(value: Any, keys: tuple[str, ...], found: dict[str, Tensor], seen: set[int]) -> None:
    """Puts the tensors in `value` into `found`. A dictionary in several places, or in itself, is looked at once."""
    if isinstance(value, torch.Tensor):
        found.setdefault(".".join(keys) or "array", value)
    elif isinstance(value, dict) and len(keys) < MAX_DEPTH and id(value) not in seen:
        seen.add(id(value))
        for key, inner in value.items():
            _flatten(inner, (*keys, str(key)), found, seen)


def _can_be_mapped(path: Path) -> bool:
    """Whether the file is a zip whose members are all stored uncompressed; files in torch's older formats are none."""
    size_of(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def _load(path: Path, mapped: bool) -> Any:
    if not mapped:
        free_memory.require(2 * size_of(path), "reading it", str(path))
    try:
        if not mapped:
            # A zip could unpack to more than fits in memory. Older formats are none; torch.load says what is broken.
            with suppress(zipfile.BadZipFile, zlib.error), zipfile.ZipFile(path) as archive:
                check_archive(archive, str(path))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the file's age or pickle protocol; what it holds is checked here
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error).casefold() or "unsupported" in str(error).casefold():
            allowed = "tensors only; save model.state_dict()"
            raise FileError("loading it would run code", allowed=allowed, where=str(path)) from None
        raise FileError(f"not a torch file: {in_short(error)}", where=str(path)) from None
    except DAMAGED as error:
        raise FileError(f"not a torch file: {in_short(error)}", where=str(path)) from None
