"""Messages of protocol buffers, read without their schema's code: the wire format alone
(https://protobuf.dev/programming-guides/encoding/). Loads nothing; every length is checked against the bytes there."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rnnspect.errors import FileError

FieldValue = int | memoryview
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MOST_NUMBERS = 64
"""`numbers_in` looks at so many fields."""


def fields(data: memoryview, where: str) -> Iterator[tuple[int, FieldValue]]:
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
    """The field numbers at the beginning of a file, if it is a message. They tell formats apart."""
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


MOST_TEXT = 1000
MAX_FIELDS = 500_000
"""The most fields of one message; numbers are packed, many to a field."""


class Message:
    """Raises `FileError` for bytes that are no message, and each method for a field of another type."""

    def __init__(self, data: memoryview, where: str) -> None:
        self.where = where
        self._fields: dict[int, list[FieldValue]] = {}
        self._inside: dict[int, list[Message]] = {}
        for count, (field, value) in enumerate(fields(data, where)):
            if count == MAX_FIELDS:
                raise FileError("a message has too many fields", allowed=f"at most {MAX_FIELDS}", where=where)
            self._fields.setdefault(field, []).append(value)

    def __contains__(self, field: int) -> bool:
        return field in self._fields

    def number(self, field: int) -> int:
        """A whole number or a flag; 0 where it is left out."""
        value = self._fields.get(field, [0])[-1]
        if not isinstance(value, int):
            raise self._other(field)
        return signed(value)

    def first_number(self, field: int) -> int:
        """The first of repeated whole numbers, packed or not; 0 where there is none."""
        value = next(iter(self._fields.get(field, ())), 0)
        if isinstance(value, int):
            return signed(value)
        return signed(varint(value, 0, self.where)[0]) if value else 0

    def first_numbers(self, field: int, most: int = MOST_NUMBERS) -> list[int]:
        """The first of repeated whole numbers, packed or not, such as axes."""
        found: list[int] = []
        for value in self.values(field)[:most]:
            at, data = 0, memoryview(b"") if isinstance(value, int) else value
            found += [value] if isinstance(value, int) else []
            while at < len(data) and len(found) < most:
                number, at = varint(data, at, self.where)
                found.append(number)
        return [signed(value) for value in found[:most]]

    def decimal(self, field: int) -> float:
        """A float32; 0 where it is left out."""
        value = self._fields.get(field, [memoryview(bytes(4))])[-1]
        if isinstance(value, int) or len(value) != 4:
            raise self._other(field)
        return float(struct.unpack("<f", value)[0])

    def text(self, field: int) -> str:
        """A text, or its beginning; empty where it is left out."""
        return _decoded(self.data(field))

    def whole_text(self, field: int) -> str:
        """A text of any length. Raises `FileError` for bytes that are none, too."""
        try:
            return bytes(self.data(field)).decode()
        except UnicodeDecodeError:
            raise FileError("the file is damaged: a name is not text", where=self.where) from None

    def texts(self, field: int) -> list[str]:
        """Every text of a repeated field."""
        return [_decoded(one) for one in self.every(field)]

    def data(self, field: int) -> memoryview:
        """Bytes, the last where there are several; none where they are left out."""
        return self._one(field, -1)

    def first(self, field: int) -> memoryview:
        """The bytes of the first element of a repeated field; none where there is none."""
        return self._one(field, 0)

    def values(self, field: int) -> list[FieldValue]:
        """The elements of a repeated field of numbers: an int each, or bytes of several that are packed."""
        return self._fields.get(field, [])

    def every(self, field: int) -> list[memoryview]:
        """The bytes of each element of a repeated field; those of packed numbers are one element."""
        found = [value for value in self.values(field) if not isinstance(value, int)]
        if len(found) != len(self.values(field)):
            raise self._other(field)
        return found

    def messages(self, field: int) -> list[Message]:
        """Every message of a repeated field, read once."""
        if field not in self._inside:
            self._inside[field] = [Message(one, self.where) for one in self.every(field)]
        return self._inside[field]

    def message(self, field: int) -> Message:
        """A message; an empty one where it is left out."""
        found = self.messages(field)
        return found[-1] if found else Message(memoryview(b""), self.where)

    def mapping(self, field: int) -> dict[str, Message]:
        """A map whose values are messages."""
        return {entry.text(1): entry.message(2) for entry in self.messages(field)}

    def _one(self, field: int, at: int) -> memoryview:
        value = self._fields.get(field, [memoryview(b"")])[at]
        if isinstance(value, int):
            raise self._other(field)
        return value

    def _other(self, field: int) -> FileError:
        return FileError(f"the file is damaged: field {field} has the wrong type", where=self.where)


def _decoded(data: memoryview) -> str:
    return bytes(data[:MOST_TEXT]).decode(errors="replace")
