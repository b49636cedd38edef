"""One message of protocol buffers with its fields by their numbers in the schema. What is left out has its default."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files.protobuf import fields, signed, varint

if TYPE_CHECKING:
    from rnnspect.files.protobuf import Value

MOST_TEXT = 1000
MAX_FIELDS = 500_000
"""Fields of one message; numbers are packed, many to a field."""


class Message:
    """Raises `FileError` for bytes that are no message, and each method for a field of another type."""

    def __init__(self, data: memoryview, where: str) -> None:
        self.where = where
        self._fields: dict[int, list[Value]] = {}
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

    def decimal(self, field: int) -> float:
        """A float32; 0 where it is left out."""
        value = self._fields.get(field, [memoryview(bytes(4))])[-1]
        if isinstance(value, int) or len(value) != 4:
            raise self._other(field)
        return float(struct.unpack("<f", value)[0])

    def text(self, field: int) -> str:
        """A text, or its beginning; empty where it is left out."""
        return _decoded(self.data(field))

    def texts(self, field: int) -> list[str]:
        """Every text of a repeated field."""
        return [_decoded(one) for one in self.every(field)]

    def data(self, field: int) -> memoryview:
        """Bytes, the last where there are several; none where they are left out."""
        return self._one(field, -1)

    def first(self, field: int) -> memoryview:
        """The bytes of the first element of a repeated field; none where there is none."""
        return self._one(field, 0)

    def every(self, field: int) -> list[memoryview]:
        """The bytes of each element of a repeated field; those of packed numbers are one element."""
        found = [value for value in self._fields.get(field, []) if not isinstance(value, int)]
        if len(found) != len(self._fields.get(field, [])):
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
