"""What is in a SavedModel beside its variables: the graph, and what Keras says of its layers.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, saved_object_graph.proto, and
keras saved_metadata.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.files.protobuf import Message
from rnnspect.files.tensorflow.graph import graph_of
from rnnspect.files.tensorflow.tensors import mapped

if TYPE_CHECKING:
    from pathlib import Path

    from rnnspect.files.tensorflow.graph import TensorFlowGraph


def read_meta_graph(path: Path) -> TensorFlowGraph:
    """The graph in a MetaGraphDef, as TensorFlow 1 writes one beside a checkpoint. Raises as `graph_in`."""
    return graph_of(Message(mapped(path), str(path)).message(2))


def read_saved_model(path: Path) -> tuple[TensorFlowGraph, dict[int, str]]:
    """The first graph of a saved_model.pb, and by the number of an object what Keras of TensorFlow 2.0 to 2.4 says of
    the layer that it is, in JSON. Raises `FileError` for another file."""
    every = Message(mapped(path), str(path)).messages(2)
    first = every[0] if every else Message(memoryview(b""), str(path))
    objects = [one.message(4) for one in first.message(7).messages(1)]
    said = {at: json for at, user in enumerate(objects) if (json := user.whole_text(3))}
    return graph_of(first.message(2)), said


def read_keras_metadata(path: Path) -> dict[int, str]:
    """By the number of an object what Keras says of the layer that it is, in JSON: the keras_metadata.pb of TensorFlow
    2.5 and later. Raises `FileError` for another file."""
    return {one.number(2): one.whole_text(5) for one in Message(mapped(path), str(path)).messages(1)}


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
