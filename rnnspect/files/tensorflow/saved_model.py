"""What is in a SavedModel beside its variables: the graph, and what Keras says of its layers.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, saved_object_graph.proto, and
keras saved_metadata.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files.protobuf import fields
from rnnspect.files.tensorflow.graph import graph_in
from rnnspect.files.tensorflow.tensors import mapped, message, number, text

if TYPE_CHECKING:
    from pathlib import Path

    from rnnspect.files.tensorflow.graph import TensorFlowGraph

_NOTHING = memoryview(b"")


def read_meta_graph(path: Path) -> TensorFlowGraph:
    """The graph in a MetaGraphDef, as TensorFlow 1 writes one beside a checkpoint. Raises as `graph_in`."""
    return _graph(mapped(path), str(path))


def read_saved_model(path: Path) -> tuple[TensorFlowGraph, dict[int, str]]:
    """The first graph of a saved_model.pb, and by the number of an object what Keras of TensorFlow 2.0 to 2.4 says of
    the layer that it is, in JSON. Raises `FileError` for another file."""
    where = str(path)
    every = [message(value, where) for key, value in fields(mapped(path), where) if key == 2]
    first = every[0] if every else _NOTHING
    said: dict[int, str] = {}
    objects = next((message(value, where) for key, value in fields(first, where) if key == 7), _NOTHING)
    for at, (_, value) in enumerate((key, value) for key, value in fields(objects, where) if key == 1):
        for kind, user in fields(message(value, where), where):
            if kind == 4 and (json := text(dict(fields(message(user, where), where)).get(3, _NOTHING), where)):
                said[at] = json
    return _graph(first, where), said


def read_keras_metadata(path: Path) -> dict[int, str]:
    """By the number of an object what Keras says of the layer that it is, in JSON: the keras_metadata.pb of TensorFlow
    2.5 and later. Raises `FileError` for another file."""
    where = str(path)
    found: dict[int, str] = {}
    for key, value in fields(mapped(path), where):
        if key == 1:
            entry = dict(fields(message(value, where), where))
            found[number(entry.get(2, 0), where)] = text(entry.get(5, _NOTHING), where)
    return found


def _graph(meta: memoryview, where: str) -> TensorFlowGraph:
    return graph_in(next((message(value, where) for key, value in fields(meta, where) if key == 2), _NOTHING), where)


def is_saved_model(head: bytes) -> bool:
    """Whether a file begins as a SavedModel does: version 1, then a MetaGraphDef, and in it a MetaInfoDef."""
    if not head.startswith(b"\x08\x01\x12"):
        return False
    at = 3
    while at < len(head) and head[at] & 0x80:
        at += 1
    at += 1
    if head[at : at + 1] != b"\x0a":
        return False
    at += 1
    while at < len(head) and head[at] & 0x80:
        at += 1
    return head[at + 1 : at + 2] in (b"\x12", b"\x1a", b'"', b"*", b"2")
