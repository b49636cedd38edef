"""Checkpoints in .safetensors, one file or several with an index of them. The header (eight bytes of length, then JSON)
is read by hand: the package loads numpy or torch for it, which `shapes` does without."""

from __future__ import annotations

import functools
import json
import math
import struct
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.dtypes import SIZES
from rnnspect.files.reading import (
    DAMAGED,
    Stored,
    Tensors,
    check_promise,
    decoded,
    in_short,
    opened,
    read_bytes,
    size_of,
)

if TYPE_CHECKING:
    from torch import Tensor


MAX_HEADER = 100_000_000
"""The format's own limit."""
MAX_AXES = 64
_METADATA = "__metadata__"
_LENGTH = struct.Struct("<Q")
_NAMES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
_INTEGERS = {
    f"{code}{bits}": f"{kind}{bits}" for code, kind in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)
}
_SIZES = {code: SIZES[name] for code, name in (_NAMES | _INTEGERS | {"BOOL": "bool"}).items()}


def tensors(path: Path) -> Tensors:
    """What a .safetensors file holds. Raises `FileError` for a header that does not fit the file."""
    return Tensors(read_safetensors_header(path), functools.partial(read_safetensors, path))


def read_safetensors_header(path: Path) -> dict[str, Stored]:
    """The shape and dtype of each tensor. Raises `FileError` for a header that does not fit the file."""
    where = str(path)
    header, there = _header(path)
    header.pop(_METADATA, None)
    found, taken = {}, 0
    for name, entry in header.items():
        found[name], count = _stored(entry, there, f"{where}:{name}")
        taken += count
    if not found:
        raise FileError("the file holds no tensors", where=where)
    if taken != there:
        reason = f"its header describes {free_memory.in_words(taken)}, the file has {free_memory.in_words(there)}"
        raise _broken(reason, where)
    return found


def read_metadata(path: Path) -> dict[str, str]:
    """What a .safetensors file says of itself beside its tensors: texts by name. Raises `FileError` for a header that
    does not fit the file."""
    said = _header(path)[0].get(_METADATA)
    return {name: text for name, text in said.items() if isinstance(text, str)} if isinstance(said, dict) else {}


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header as it is, and how many bytes follow it."""
    where = str(path)
    with opened(path) as part:
        start = part.file.read(_LENGTH.size)
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        there = part.size - _LENGTH.size - length
        if not 2 <= length <= MAX_HEADER or there < 0:
            raise _broken("the length of its header is wrong", where)
        text = part.file.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _broken("its header is not valid JSON, or repeats a name", where) from None
    if not isinstance(header, dict):
        raise _broken("its header is not a JSON object", where)
    return header, there


def _stored(entry: Any, there: int, where: str) -> tuple[Stored, int]:
    """One entry of the header, and how many bytes it takes."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, place = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or not _are_sizes(shape, MAX_AXES) or not _are_sizes(place, 2):
        raise _broken("its header lacks the dtype, shape or offsets of this tensor", where)
    if len(place) != 2 or place[0] > place[1]:
        raise _broken("its offsets are not a range", where)
    check_promise(place[1], there, where)
    count = place[1] - place[0]
    needed = math.prod(shape) * _SIZES.get(dtype, 0)
    if dtype in _SIZES and needed != count:
        reason = f"{dtype} of shape {tuple(shape)} takes {free_memory.in_words(needed)}, its offsets span {count} bytes"
        raise _broken(reason, where)
    return Stored(tuple(shape), _NAMES.get(dtype, dtype)), count


def _are_sizes(values: Any, most: int) -> TypeGuard[list[int]]:
    return isinstance(values, list) and len(values) <= most and all(type(v) is int and 0 <= v < 2**63 for v in values)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a name twice")
    return mapping


def _broken(reason: str, where: str) -> FileError:
    return FileError(f"not a .safetensors file, or damaged: {reason}", where=where)


def read_safetensors(path: Path, only: Collection[str] | None = None) -> dict[str, Tensor]:
    """The tensors of a .safetensors file by name, or only those that are named."""
    from safetensors import SafetensorError, safe_open

    damaged: tuple[type[Exception], ...] = (SafetensorError, *DAMAGED)
    if only is None:
        free_memory.require(2 * size_of(path), "reading this file", str(path))
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if only is None else only
            found: dict[str, Tensor] = {name: file.get_tensor(name) for name in names}
    except damaged as error:
        raise _broken(in_short(error), str(path)) from None
    if only is None and not found:
        raise FileError("the file holds no tensors", where=str(path))
    return found


MAX_INDEX = 64 * 2**20


def sharded_tensors(path: Path) -> Tensors:
    """The tensors of all files of the index at `path`, which lie beside it.

    Raises `FileError` for an index that is none, names a file elsewhere, or a tensor that its file does not hold.
    """
    where = str(path)
    try:
        index = json.loads(decoded(read_bytes(path, MAX_INDEX), where, "an index in JSON"))
        files = index["weight_map"]
        if not all(isinstance(name, str) and isinstance(file, str) for name, file in files.items()):
            raise TypeError
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        found = "this is not the index of a sharded checkpoint"
        raise FileError(found, allowed='{"weight_map": {NAME: FILE}}', where=where) from None
    shards = {}
    for file in dict.fromkeys(files.values()):
        if not file.endswith(".safetensors") or "/" in file or "\\" in file:
            found = f"the index names the file {file!r}"
            raise FileError(found, allowed="a .safetensors file in the same folder", where=where)
        shards[file] = tensors(path.parent / file)
    for name, file in files.items():
        if name not in shards[file].stored:
            raise FileError(f"the tensor {name} is not in {file}, as the index says", where=where)

    def read(names: Collection[str]) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for file, shard in shards.items():
            found |= shard.read([name for name in names if files[name] == file])
        return found

    return Tensors({name: shards[file].stored[name] for name, file in files.items()}, read)
