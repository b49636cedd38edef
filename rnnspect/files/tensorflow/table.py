"""The table of sorted keys that an index of a TensorFlow checkpoint is: LevelDB's format.

Blocks of entries lie one after the other. An entry's key is written as how many bytes it shares with the one before,
and the rest. The last 48 bytes say where the block of blocks is. Source: tensorflow/tsl/lib/io (format.cc, block.cc),
leveldb/doc/table_format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rnnspect.errors import FileError
from rnnspect.files.protobuf import varint

FOOTER = 48
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
MAX_KEY = 2**16
MAX_ENTRIES = 1_000_000
MAX_KEYS = 2**26
"""Bytes of all keys together: shared beginnings make a small file long."""
_TRAILER = 5
"""After a block: how it is compressed, and a checksum."""


def entries(data: memoryview, where: str) -> Iterator[tuple[bytes, memoryview]]:
    """Every key and its value, in order.

    Raises `FileError` for what is no table, is damaged, or is compressed.
    """
    if len(data) < FOOTER or data[-8:] != MAGIC:
        raise FileError("not the index of a TensorFlow checkpoint", where=where)
    footer = data[-FOOTER:-8]
    _, at = _handle(footer, 0, where)
    index, _ = _handle(footer, at, where)
    last, count, total = b"", 0, 0
    for _, handle in _block(data, index, where):
        place, _ = _handle(handle, 0, where)
        for key, value in _block(data, place, where):
            count, total = count + 1, total + len(key)
            if count > 1 and key <= last:
                raise FileError("the index is damaged: its names are not sorted", where=where)
            if count > MAX_ENTRIES or total > MAX_KEYS:
                raise FileError("the index has too many names", allowed=f"at most {MAX_ENTRIES}", where=where)
            last = key
            yield key, value


def _handle(data: memoryview, at: int, where: str) -> tuple[tuple[int, int], int]:
    """Where a block starts and its size, and the place after them."""
    start, at = varint(data, at, where)
    size, at = varint(data, at, where)
    return (start, size), at


def _block(data: memoryview, place: tuple[int, int], where: str) -> Iterator[tuple[bytes, memoryview]]:
    start, size = place
    end = start + size
    if end + _TRAILER > len(data) or size < 4:
        raise FileError("the index is damaged: a block lies outside the file", where=where)
    if data[end] != 0:
        raise FileError("the index is compressed, which is not supported", where=where)
    (restarts,) = struct.unpack("<I", data[end - 4 : end])
    if 4 * restarts > size - 4:
        raise FileError("the index is damaged: the end of a block is wrong", where=where)
    block, at, key = data[start : end - 4 - 4 * restarts], 0, b""
    while at < len(block):
        shared, at = varint(block, at, where)
        fresh, at = varint(block, at, where)
        length, at = varint(block, at, where)
        if shared > len(key) or shared + fresh > MAX_KEY or fresh + length > len(block) - at:
            raise FileError("the index is damaged: a name is too long for its block", where=where)
        key = key[:shared] + bytes(block[at : at + fresh])
        at += fresh
        yield key, block[at : at + length]
        at += length
