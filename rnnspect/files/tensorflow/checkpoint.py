"""A TensorFlow checkpoint: NAME.index says which tensors there are, NAME.data-00000-of-00001 and so on hold them.

Source: tensorflow/core/util/tensor_bundle (tensor_bundle.h, naming.cc) and core/protobuf/tensor_bundle.proto.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files.protobuf import Message, numbers_in, varint
from rnnspect.files.reading import Stored, check_promise
from rnnspect.files.tensorflow.table import entries
from rnnspect.files.tensorflow.tensors import dtype_named, from_bytes, mapped, shape_of

if TYPE_CHECKING:
    from torch import Tensor


_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_COPIES = "_all_variables/"
"""Keras 3 lists every variable of an exported model a second time here."""


@dataclass(frozen=True)
class Object:
    children: Mapping[str, int]
    """By the name of an attribute the number of the object there."""
    key: str = ""
    """Of a variable the key of its tensor in the index."""
    name: str = ""
    """Of a variable its own name."""


@dataclass(frozen=True)
class Objects:
    every: tuple[Object, ...]
    """By number; the first one is the root."""

    @cached_property
    def names(self) -> Mapping[str, str]:
        """By key the name of every variable: its own, or where several have the same the path of attributes."""
        variables = [one for one in self.every if one.key and not one.key.startswith(_COPIES)]
        often = Counter(one.name for one in variables)
        return {
            one.key: one.name if one.name and often[one.name] == 1 else one.key.removesuffix(_VALUE)
            for one in variables
        }

    def child(self, one: Object, name: str) -> Object | None:
        """The object to which an attribute of another leads."""
        at = one.children.get(name, -1)
        return self.every[at] if 0 <= at < len(self.every) else None


def objects_in(data: memoryview, where: str) -> Objects:
    """The objects that a TrackableObjectGraph lists. Raises `FileError` for bytes that are none."""
    return Objects(tuple(map(_object, Message(data, where).messages(1))))


def _object(one: Message) -> Object:
    children = {child.whole_text(2): child.number(1) for child in one.messages(1)}
    values = [attribute for attribute in one.messages(2) if attribute.whole_text(1) == "VARIABLE_VALUE"]
    return Object(children, values[-1].whole_text(3), values[-1].whole_text(2)) if values else Object(children)


OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The tensor that says what a checkpoint of objects, as TensorFlow 2 writes it, holds."""


@dataclass(frozen=True)
class Entry:
    """Where one tensor lies."""

    stored: Stored
    shard: int
    offset: int
    size: int
    is_split: bool
    """Whether it is stored in slices (a partitioned variable)."""


@dataclass(frozen=True)
class Checkpoint:
    index: Path
    shards: int
    entries: Mapping[str, Entry]
    """By the key in the index."""

    @cached_property
    def objects(self) -> Objects | None:
        """What the keys belong to, where the checkpoint says it."""
        if OBJECTS not in self.entries:
            return None
        where = f"{self.index}:{OBJECTS}"
        data = self._bytes(OBJECTS)
        length, at = varint(data, 0, where)
        at += 4  # a checksum of the length
        check_promise(length, max(0, len(data) - at), where)
        return objects_in(data[at : at + length], where)

    @cached_property
    def keys(self) -> Mapping[str, str]:
        """By the name of a variable the key of its tensor: variables have names of their own, as lstm/lstm_cell/kernel,
        also where the key is a path of attributes, as layer_with_weights-0/cell/kernel/.ATTRIBUTES/VARIABLE_VALUE."""
        names = self.objects.names if self.objects else {}
        return {names.get(key, key): key for key in self.entries if key != OBJECTS and (not names or key in names)}

    @cached_property
    def stored(self) -> dict[str, Stored]:
        return {name: self.entries[key].stored for name, key in self.keys.items()}

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        """The numbers of the tensors of these names."""
        found = {}
        for name in names:
            key = self.keys[name]
            found[name] = from_bytes(self._bytes(key), self.entries[key].stored, f"{self.index}:{name}")
        return found

    def _bytes(self, key: str) -> memoryview:
        entry, where = self.entries[key], f"{self.index}:{key}"
        if entry.is_split:
            found = "this variable is stored in slices (by a partitioner), which is not supported"
            raise FileError(found, where=where)
        stem = self.index.name.removesuffix(".index")
        if not 0 <= entry.shard < self.shards:
            raise FileError(
                f"the index is damaged: it places this tensor in file {entry.shard} of {self.shards}", where=where
            )
        if entry.offset < 0 or entry.size < 0:
            raise FileError("the index is damaged: a negative offset", where=where)
        path = self.index.with_name(f"{stem}.data-{entry.shard:05d}-of-{self.shards:05d}")
        data = mapped(path)
        check_promise(entry.offset + entry.size, len(data), f"{path}:{key}")
        return data[entry.offset : entry.offset + entry.size]


def read_checkpoint(index: Path) -> Checkpoint:
    """What the index of a checkpoint says; the files beside it are opened when numbers are asked for.

    Raises `FileError` for a file that is no index.
    """
    where = str(index)
    shards, found = 1, {}
    for key, value in entries(mapped(index), where):
        if not key:
            shards = _shards(Message(value, where))
        elif not key.startswith(b"\0"):  # a slice of a variable that is split
            name = key.decode(errors="replace")
            found[name] = _entry(Message(value, f"{where}:{name}"))
    if not found:
        raise FileError("the file holds no tensors", where=where)
    return Checkpoint(index, shards, found)


def is_index(head: bytes) -> bool:
    """Whether a file begins as the index of a checkpoint does: an empty key, then a BundleHeaderProto."""
    size = head[2] if len(head) > 2 else 0
    return head[:2] == b"\0\0" and 0 < size < 64 and sorted(numbers_in(head[3 : 3 + size])) in ([1, 3], [1, 2, 3])


def _shards(header: Message) -> int:
    """How many files hold the numbers. Raises `FileError` for numbers that are written big-endian."""
    if header.number(2) != 0:
        raise FileError("the checkpoint is big-endian", allowed="little-endian", where=header.where)
    return header.number(1) if 1 in header else 1


def _entry(given: Message) -> Entry:
    stored = Stored(shape_of(given.message(2)), dtype_named(given.number(1)))
    return Entry(stored, given.number(3), given.number(4), given.number(5), 7 in given)
