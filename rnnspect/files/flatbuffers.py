"""Tables of FlatBuffers, read field by field without their schema's code: the binary format alone
(https://flatbuffers.dev/internals/). Loads nothing.

Every place is checked against the bytes there. What a table refers to lies behind it, so no table is in itself.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rnnspect.errors import FileError

IDENTIFIER = slice(4, 8)
"""Where a file says which schema it is of."""
MOST_TEXT = 1000


@dataclass(frozen=True)
class Table:
    """One table. A field is identified by its number: how many fields come before it in the schema, where the type of a
    union is a field of its own. Every method raises `FileError` for a place outside the bytes."""

    data: memoryview
    at: int
    where: str

    def number(self, field: int, form: str, default: float = 0) -> Any:
        """A number; `form` is its type for `struct`, such as "<i"."""
        place = self._place(field)
        return default if place is None else self._unpack(form, place)

    def text(self, field: int) -> str:
        """A text, or its beginning; empty where it is left out."""
        return bytes(self.vector(field, 1)[:MOST_TEXT]).decode(errors="replace")

    def numbers(self, field: int, form: str, most: int) -> tuple[Any, ...]:
        """The first `most` numbers of a vector, each of the type `form`: tables may share one that is long."""
        size = struct.calcsize(form)
        return tuple(one for (one,) in struct.iter_unpack(form, self.vector(field, size)[: most * size]))

    def vector(self, field: int, size: int) -> memoryview:
        """The bytes of a vector whose elements are of `size` bytes; none where it is left out."""
        start = self._target(field)
        if start is None:
            return self.data[:0]
        count = self._unpack("<I", start) * size
        if count > len(self.data) - start - 4:
            raise self._outside()
        return self.data[start + 4 : start + 4 + count]

    def table(self, field: int) -> Table | None:
        """A table; None where it is left out."""
        start = self._target(field)
        return None if start is None else Table(self.data, start, self.where)

    def tables(self, field: int) -> Tables:
        """A vector of tables."""
        start = self._target(field)
        return Tables(self, 0 if start is None else start + 4, len(self.vector(field, 4)) // 4)

    def _target(self, field: int) -> int | None:
        """The place of the table or vector that a field refers to."""
        place = self._place(field)
        return None if place is None else self._follow(place)

    def _follow(self, place: int) -> int:
        offset: int = self._unpack("<I", place)
        if offset == 0:
            raise self._outside()
        return place + offset

    def _place(self, field: int) -> int | None:
        """The place of a field's value; None where it is left out."""
        fields = self.at - self._unpack("<i", self.at)
        entry = 4 + 2 * field
        if entry + 2 > self._unpack("<H", fields):
            return None
        offset = self._unpack("<H", fields + entry)
        return self.at + offset if offset else None

    def _unpack(self, form: str, at: int) -> Any:
        if not 0 <= at <= len(self.data) - struct.calcsize(form):
            raise self._outside()
        return struct.unpack_from(form, self.data, at)[0]

    def _outside(self) -> FileError:
        return FileError("the file is damaged or cut short: a table lies outside it", where=self.where)


@dataclass(frozen=True)
class Tables:
    """A vector of tables, each found when it is asked for."""

    inside: Table
    start: int
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Table]:
        return map(self.at, range(self.count))

    def at(self, index: int) -> Table:
        """Raises `FileError` for an index that there is not."""
        if not 0 <= index < self.count:
            found = f"the file is damaged: it refers to table {index} of {self.count}"
            raise FileError(found, where=self.inside.where)
        place = self.inside._follow(self.start + 4 * index)
        return Table(self.inside.data, place, self.inside.where)


def root(data: memoryview, where: str) -> Table:
    """The outermost table of a file."""
    return Table(data, Table(data, 0, where)._follow(0), where)
