"""What the tensors of a checkpoint of objects belong to: the tree of attributes, and the variables' own names.

Source: tensorflow/core/protobuf/trackable_object_graph.proto.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from rnnspect.errors import FileError
from rnnspect.files.protobuf import fields
from rnnspect.files.tensorflow.tensors import message, number, text

MAX_OBJECTS = 1_000_000
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_COPIES = "_all_variables/"
"""Keras 3 lists every variable of an exported model a second time here."""


@dataclass(frozen=True)
class Object:
    children: Mapping[str, int] = field(default_factory=dict)
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
    found = [_object(message(value, where), where) for key, value in fields(data, where) if key == 1]
    if len(found) > MAX_OBJECTS:
        raise FileError("the checkpoint has too many objects", allowed=f"at most {MAX_OBJECTS}", where=where)
    return Objects(tuple(found))


def _object(data: memoryview, where: str) -> Object:
    children: dict[str, int] = {}
    key = name = ""
    for number_, value in fields(data, where):
        if number_ == 1:
            child = dict(fields(message(value, where), where))
            children[text(child.get(2, memoryview(b"")), where)] = number(child.get(1, 0), where)
        elif number_ == 2:
            attribute = dict(fields(message(value, where), where))
            if text(attribute.get(1, memoryview(b"")), where) == "VARIABLE_VALUE":
                name, key = (text(attribute.get(at, memoryview(b"")), where) for at in (2, 3))
    return Object(children, key, name)
