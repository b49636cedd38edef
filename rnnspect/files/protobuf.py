"""Messages of protocol buffers, read field by field without their schema's code: the wire format alone
(https://protobuf.dev/programming-guides/encoding/). Loads nothing; every length is checked against the bytes there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.errors import FileError

if TYPE_CHECKING:
    from collections.abc import Iterator

Value = int | memoryview
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_NUMBERS = 64
"""Fields that `numbers_in` looks at."""


def fields(data: memoryview, where: str) -> Iterator[tuple[int, Value]]:
    """The number and value of each field of a message in its order: an int for a varint, else the bytes (4 or 8 of a
    fixed number, little-endian).

    Raises `FileError` for bytes that are no message.
    """
    at, end = 0, len(data)
    while at < end:
        key, at = varint(data, at, where)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = varint(data, at, where)
            yield number, value
            continue
        if kind == BYTES:
            size, at = varint(data, at, where)
        elif kind in (FIXED32, FIXED64):
            size = 8 if kind == FIXED64 else 4
        else:
            raise FileError(f"the file is damaged: a field has the unknown wire type {kind}", where=where)
        if number == 0 or size > end - at:
            raise FileError("the file is damaged or cut short", where=where)
        yield number, data[at : at + size]
        at += size


def varint(data: memoryview, at: int, where: str) -> tuple[int, int]:
    """The whole number at a place, without a sign, and the place after it."""
    found = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        found |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return found & (1 << 64) - 1, at
    raise FileError("the file is damaged or cut short", where=where)


def signed(value: int) -> int:
    """An int32 or int64 as it was before it became a varint."""
    return value - (1 << 64) if value >> 63 else value


def numbers_in(head: bytes) -> list[int]:
    """The numbers of the fields that the beginning of a file shows, if it is a message: what tells formats apart."""
    found: list[int] = []
    data, at = memoryview(head), 0
    try:
        while at < len(data) and len(found) < MOST_NUMBERS:
            key, at = varint(data, at, "")
            found.append(key >> 3)
            if key & 7 == VARINT:
                _, at = varint(data, at, "")
            elif key & 7 == BYTES:
                size, at = varint(data, at, "")
                at += size
            else:
                at += {FIXED32: 4, FIXED64: 8}[key & 7]
    except (FileError, KeyError):
        return found
    return found
