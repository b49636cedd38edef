"""What flax.serialization writes: msgpack with extensions for arrays (flax serialization.py). The keys of nested
dictionaries, joined by full stops, are the names here."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.first_bytes import Glimpse
from rnnspect.files.reading import DAMAGED, Stored, Tensors, in_short, read_bytes, size_of

if TYPE_CHECKING:
    from torch import Tensor

MOST_AXES = 64
MOST_KEYS = 100_000
MAX_CHARACTERS = 2**27
"""The most characters of all names together: below many long keys, each array's name repeats all of them."""
_ARRAYS = (1, 3)
"""flax.serialization's numbers of an array, and of a numpy scalar, which is kept as an array of no axes."""
_CUT = "__msgpack_chunked_array__"
"""The key that says that a dictionary is one array, in pieces that msgpack can hold."""


@dataclass(frozen=True)
class _Array:
    shape: tuple[int, ...]
    dtype: str
    content: bytes


def recognises(seen: Glimpse) -> bool:
    """Whether the file begins with a dictionary of msgpack whose first key is a text."""
    first, key = (seen.head[:1], seen.head[1:2]) if seen.head[:1] != b"\xde" else (b"\x81", seen.head[3:4])
    return b"\x81" <= first <= b"\x8f" and (b"\xa1" <= key <= b"\xbf" or key == b"\xd9")


def tensors(path: Path) -> Tensors:
    """Every array by its name, such as params.cell.hi.kernel.

    Raises `FileError` for a file that is broken, and where the package msgpack is missing.
    """
    where = str(path)
    try:
        import msgpack
    except ImportError:
        advice = "install it: pip install 'rnnspect[flax-files]'"
        raise FileError("reading this file needs the package msgpack", advice=advice, where=where) from None
    size = size_of(path)
    free_memory.require(3 * size, "reading this file", where)

    def array(code: int, data: bytes) -> _Array | None:
        if code not in _ARRAYS:
            return None
        shape, dtype, content = msgpack.unpackb(data, raw=True, max_array_len=MOST_AXES)
        return _Array(tuple(map(int, shape)), dtype.decode(), content)

    try:
        # Flax writes no lists but the shapes of arrays.
        most = {"max_array_len": MOST_AXES, "max_map_len": MOST_KEYS}
        tree = msgpack.unpackb(read_bytes(path, size), ext_hook=array, strict_map_key=False, **most)
        if isinstance(tree, dict) and "params" in tree:
            tree.pop("opt_state", None)  # averages of gradients, under the names of the parameters
        found = _named(tree, where)
    except (msgpack.UnpackException, *DAMAGED) as error:
        raise FileError(f"not a file of Flax, or damaged: {in_short(error)}", where=where) from None
    if not found:
        raise FileError("the file holds no arrays", where=where)
    stored = {name: Stored(one.shape, one.dtype) for name, one in found.items()}
    return Tensors(stored, lambda names: _read(found, names, where))


def _named(tree: Any, where: str) -> dict[str, _Array]:
    found: dict[str, _Array] = {}
    characters = 0
    for name, one in _flat(tree, ()):
        characters += len(name)
        if characters > MAX_CHARACTERS:
            raise FileError(f"the names have more than {MAX_CHARACTERS:,} characters together", where=where)
        found[name] = one
    return found


def _flat(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[str, _Array]]:
    if isinstance(value, _Array):
        yield ".".join(keys), value
    elif isinstance(value, dict) and value.get(_CUT):
        pieces = [value["chunks"][str(at)] for at in range(len(value["chunks"]))]
        shape = tuple(int(value["shape"][str(axis)]) for axis in range(len(value["shape"])))
        yield ".".join(keys), _Array(shape, pieces[0].dtype, b"".join(one.content for one in pieces))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, (*keys, str(key)))


def _read(found: dict[str, _Array], names: Collection[str], where: str) -> dict[str, Tensor]:
    import torch

    read = {}
    for name in names:
        one, dtype = found[name], getattr(torch, found[name].dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise FileError(f"the array holds {one.dtype!r}", allowed="real numbers", where=f"{where}:{name}")
        if math.prod(one.shape) * dtype.itemsize != len(one.content) or min(one.shape, default=0) < 0:
            found_bytes = f"the array has {len(one.content)} bytes for {one.dtype} of shape {one.shape}"
            raise FileError(f"the file is damaged: {found_bytes}", where=f"{where}:{name}")
        content = bytearray(one.content)
        numbers = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        read[name] = numbers.view(one.shape)
    return read
