"""Every single damage of a file that its format offers, one after the other: each field with each value that readers
go wrong at. What a draw meets once in 10⁵ inputs comes up here for certain."""

from __future__ import annotations

import itertools
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from tests.fuzz.mutations import archives, family_of, headers, pickles, texts, wires
from tests.fuzz.mutations.numbers import packed
from tests.wire_format import varint

_INTEGERS = (0, 1, 2, 3, 5, 7, 8, 10, 11, 13, 16, 17, 22, 99, 2**31 - 1, 2**62, 2**64 - 1)
_BYTES = (b"", b"x", b"3", b"\xff" * 240, b"x" * 20_000, b"\x1b[2J\n")
_FIELDS = range(1, 26)
"""Numbers of fields that are put into a message; ONNX has none above, and TensorFlow few."""
_FIRST = 3
"""So many fields of one number in a message are damaged, and the last; the others are like them."""
_DEEP = 12


def one_by_one(data: bytes, name: str) -> Iterator[bytes]:
    """Damaged copies of a file's content, in the same order each time."""
    every = _EVERY.get(family_of(data, name))
    return iter(()) if every is None else every(data)


def _protobuf(data: bytes, depth: int = 0) -> Iterator[bytes]:
    held = wires.parsed(data)
    if held is None or depth > _DEEP:
        return
    count = {number: sum(one[0] == number for one in held) for number, _, _ in held}
    seen = dict.fromkeys(count, 0)
    for at, (number, kind, value) in enumerate(held):
        seen[number] += 1
        if _FIRST < seen[number] < count[number]:
            continue
        before, after = wires.joined(held[:at]), wires.joined(held[at + 1 :])
        yield before + after
        yield before + wires.joined([held[at]] * 2) + after
        for other in _fields(number):
            yield before + wires.joined([other]) + after
        if kind == 2 and value:
            for inner in _protobuf(value, depth + 1):
                yield before + wires.joined([(number, 2, inner)]) + after
    for number in set(_FIELDS) - set(count):
        for other in _fields(number):
            yield data + wires.joined([other])


def _fields(number: int) -> Iterator[wires.Field]:
    yield from ((number, 0, varint(value)) for value in _INTEGERS)
    yield from ((number, 2, value) for value in _BYTES)
    yield from ((number, 5, value) for value in (b"\0\0\xc0\x7f", b"\0\0\x80\xff"))


def _json(data: bytes) -> Iterator[bytes]:
    held = json.loads(data)
    for other in _values(held):
        yield json.dumps(other).encode("utf-8", "surrogatepass")


def _values(held: Any) -> Iterator[Any]:
    yield from texts.VALUES
    if isinstance(held, dict):
        for key, value in held.items():
            rest = {name: other for name, other in held.items() if name != key}
            yield rest
            yield from (rest | {other: value} for other in texts.KEYS)
            yield from (held | {key: other} for other in _values(value))
    elif isinstance(held, list):
        for at in {*range(min(_FIRST, len(held))), *range(len(held))[-1:]}:
            yield held[:at] + held[at + 1 :]
            yield [*held[:at], held[at], *held[at:]]
            yield from ([*held[:at], other, *held[at + 1 :]] for other in _values(held[at]))


def _yaml(data: bytes) -> Iterator[bytes]:
    rows = data.decode().split("\n")
    for at, row in enumerate(rows):
        key = row.partition(":")[0]
        changed = ("", f"{row}\n{row}", f"  {row}", *(f"{key}: {value}" for value in texts.YAML), *texts.YAML)
        for other in (*changed, *(f"{key}: {json.dumps(value)}" for value in texts.VALUES)):
            yield "\n".join([*rows[:at], other, *rows[at + 1 :]]).encode("utf-8", "surrogatepass")


def _rows(data: bytes) -> Iterator[bytes]:
    """Of the first two rows and the last one."""
    rows = data.decode().split("\n")
    between = "\t" if "\t" in rows[0] else ","
    for at in {*range(min(2, len(rows))), len(rows) - 1}:
        row = rows[at].split(between)
        for place, cell in itertools.product(range(len(row)), texts.CELLS):
            changed = between.join([*row[:place], cell, *row[place + 1 :]])
            yield "\n".join([*rows[:at], changed, *rows[at + 1 :]]).encode("utf-8", "surrogatepass")


def _pickle(data: bytes) -> Iterator[bytes]:
    for begin, end, _ in pickles.places(data):
        yield data[:begin] + data[end:]
        yield data[:end] + data[begin:]
        for other in pickles.INSERTED:
            yield data[:begin] + other + data[end:]
            yield data[:begin] + other + data[begin:]


def _words(width: int) -> Callable[[bytes], Iterator[bytes]]:
    """Every number of so many bytes of a file whose parts refer to each other by their places."""

    def every(data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data) - width + 1, width):
            near = int.from_bytes(data[at : at + width], "little")
            for value in {0, 1, 3, 99, near + 1, near - 1, near + width, near * 2, len(data), 2**31 - 1, 2**64 - 1}:
                if (other := packed(value, width)) != data[at : at + width]:
                    yield data[:at] + other + data[at + width :]

    return every


def _safetensors(data: bytes) -> Iterator[bytes]:
    size = int.from_bytes(data[:8], "little")
    for text in _json(data[8 : 8 + size]):
        yield packed(len(text), 8) + text + data[8 + size :]


def _npy(data: bytes) -> Iterator[bytes]:
    size = int.from_bytes(data[8:10], "little")
    text, rest = data[10 : 10 + size].decode("latin-1"), data[10 + size :]
    shapes = (re.sub(r"\([^)]*\)", lambda _, one=one: one, text) for one in headers.SHAPES)
    kinds = (*map(repr, headers.TYPES), *headers.DESCR)
    types = (re.sub(r"'[<>|=][^']*'", lambda _, one=one: one, text) for one in kinds)
    for changed in (*shapes, *types):
        yield data[:8] + packed(len(changed), 2) + changed.encode("latin-1") + rest


def _zip(data: bytes) -> Iterator[bytes]:
    for signature, places in archives.HEADERS.items():
        for begin in archives.places_of(data, signature):
            for offset, width in places:
                at = begin + offset
                for value in _INTEGERS:
                    yield data[:at] + packed(value, width) + data[at + width :]
    members = archives.unpacked(data)
    for at, (name, content) in enumerate(members):
        before, after = members[:at], members[at + 1 :]
        for other in (*archives.NAMES, *(f"{one}{name}" for one in archives.NAMES)):
            yield _stored([*before, (other, content), *after])
        for inner in one_by_one(content, name):
            yield _stored([*before, (name, inner), *after])


def _stored(members: archives.Members) -> bytes:
    return archives.rebuilt(members, Random(0), zipfile.ZIP_STORED)


_EVERY: dict[str, Callable[[bytes], Iterator[bytes]]] = {
    "zip": _zip,
    "pickle": _pickle,
    "protobuf": _protobuf,
    "flatbuffers": _words(4),
    "hdf5": _words(8),
    "safetensors": _safetensors,
    "npy": _npy,
    "json": _json,
    "yaml": _yaml,
    "rows": _rows,
}
