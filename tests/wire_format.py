"""Protocol buffers written by hand, for what no library writes: messages that are damaged, or made to do harm."""

from __future__ import annotations


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def field(number: int, data: bytes) -> bytes:
    """A field of bytes or of a message."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def nested(times: int, inner: bytes, *around: tuple[bytes, int]) -> bytes:
    """`inner` in messages, so many `times` in those of `around`, the innermost first: each is given by what stands
    before the field that holds what is inside, and the number of that field. Nothing is copied at each depth."""
    parts, size = [inner], len(inner)
    for before, number in list(around) * times:
        parts.append(before + varint(number << 3 | 2) + varint(size))
        size += len(parts[-1])
    return b"".join(reversed(parts))
