"""torch.save's first format, of 2016 (torch.serialization.legacy_load reads it): a tar archive with three members.

`storages` is a count, then for each storage a pickle (key, device, class), how many numbers it has, and the numbers;
then a pickle of views into them. `tensors` is a count, then for each tensor a pickle (key, key of its storage, class),
its number of axes, shape, strides and offset. `pickle` is the object, which speaks of both by their keys.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from typing import Any

from rnnspect.errors import FileError
from rnnspect.files.dtypes import SIZES
from rnnspect.files.pickle_inert import Pickle, load
from rnnspect.files.reading import check_promise
from rnnspect.files.rebuilding import storage_dtype
from rnnspect.files.strided import MAX_AXES, StoredBytes, Strided, checked

MEMBERS = ("storages", "tensors", "pickle")
MAX_COUNT = 100_000
"""The most members of the archive, storages and tensors that are read."""
MAX_DIGITS = 20
"""The most digits of a key."""
_BLOCK = 512
_NAME, _SIZE = slice(0, 100), slice(124, 136)
"""Where a header of tar has a member's name and its size, in octal."""


def is_torch_tar(head: bytes) -> bool:
    """Whether a file that begins so is such an archive."""
    return head[_NAME].rstrip(b"\0").removeprefix(b"./") in (b"sys_info", *(name.encode() for name in MEMBERS))


def read_tar(file: mmap.mmap, where: str) -> tuple[Pickle, dict[int, Strided]]:
    """The object, and by their keys the storages and tensors that it speaks of."""
    places = dict(_members(file, where))
    if missing := [name for name in MEMBERS if name not in places]:
        found_in = f"this tar archive has no {missing[0]!r}"
        raise FileError(found_in, allowed="one that torch.save wrote", where=where)
    file.seek(places["storages"])
    found = dict(_storages(file, where))
    for view in _listed(load(file, where).value):
        if len(view) == 4 and _are_counts(view[2:]) and type(view[1]) is int and view[1] in found:
            root = found[view[1]]
            found[_key(view[0], where)] = Strided(root.place, root.dtype, (view[3],), (1,), root.offset + view[2])
    file.seek(places["tensors"])
    found |= _tensors(file, found, where)
    file.seek(places["pickle"])
    return load(file, where), found


def _members(file: mmap.mmap, where: str) -> Iterator[tuple[str, int]]:
    """The names in the archive, and where each begins."""
    at = 0
    for _ in range(MAX_COUNT):
        header = file[at : at + _BLOCK]
        if len(header) < _BLOCK or not header.strip(b"\0"):
            return
        digits = header[_SIZE].strip(b" \0") or b"0"
        if not digits.isdigit() or b"8" in digits or b"9" in digits:
            raise FileError("the tar archive is damaged: a member has no size", where=where)
        yield header[_NAME].split(b"\0")[0].decode("latin-1").removeprefix("./"), at + _BLOCK
        at += _BLOCK + -(-int(digits, 8) // _BLOCK) * _BLOCK


def _storages(file: mmap.mmap, where: str) -> Iterator[tuple[int, Strided]]:
    for _ in range(_count(file, where)):
        values = load(file, where).value
        dtype = storage_dtype(values[2]) if isinstance(values, tuple) and len(values) == 3 else None
        if dtype is None:
            raise FileError("the file is damaged: a storage has no class", where=where)
        (count,) = _unpack(file, 1, where)
        start = file.tell()
        check_promise(count * SIZES[dtype], file.size() - start, where)
        yield _key(values[0], where), Strided(StoredBytes(count * SIZES[dtype], start), dtype, (count,), (1,))
        file.seek(start + count * SIZES[dtype])


def _tensors(file: mmap.mmap, storages: dict[int, Strided], where: str) -> dict[int, Strided]:
    found = {}
    for _ in range(_count(file, where)):
        values = load(file, where).value
        storage = storages.get(_key(values[1], where)) if isinstance(values, tuple) and len(values) == 3 else None
        axes = int.from_bytes(file.read(8)[:4], "little")  # four bytes more follow: it was written as a longer number
        if storage is None or axes > MAX_AXES:
            raise FileError("the file is damaged: a tensor has no storage", where=where)
        numbers = _unpack(file, 2 * axes + 1, where)
        place, dtype, offset = storage.place, storage.dtype, storage.offset + numbers[-1]
        tensor = Strided(place, dtype, numbers[:axes], numbers[axes : 2 * axes], offset)
        found[_key(values[0], where)] = checked(tensor, where)
    return found


def _count(file: mmap.mmap, where: str) -> int:
    count = load(file, where).value
    if type(count) is not int or not 0 <= count <= MAX_COUNT:
        raise FileError("the file is damaged: a count is out of range", allowed=f"0 to {MAX_COUNT:,}", where=where)
    return count


def _unpack(file: mmap.mmap, count: int, where: str) -> tuple[int, ...]:
    data = file.read(8 * count)
    if len(data) < 8 * count or not _are_counts(numbers := struct.unpack(f"<{count}q", data)):
        raise FileError("the file is cut short", where=where)
    return numbers


def _are_counts(values: Any) -> bool:
    return all(type(value) is int and 0 <= value < 2**62 for value in values)


def _listed(values: Any) -> list[Any]:
    return [value for value in values if isinstance(value, tuple)] if isinstance(values, list | tuple) else []


def _key(value: Any, where: str) -> int:
    if type(value) is int:
        return value
    if isinstance(value, str) and value.isdecimal() and len(value) <= MAX_DIGITS:
        return int(value)
    raise FileError("the file is damaged: a tensor or storage has no key", where=where)
