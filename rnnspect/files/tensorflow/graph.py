"""A TensorFlow graph: its nodes, what goes into each, and its constants. Nothing is run.

Source: tensorflow/core/framework/graph.proto, node_def.proto and attr_value.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rnnspect.files.protobuf import fields
from rnnspect.files.tensorflow.tensors import message, number, stored_in, tensor_of, text

if TYPE_CHECKING:
    from collections.abc import Collection

    from torch import Tensor

    from rnnspect.files.reading import Stored

_INDICES = ("int32", "int64", "string", "bool")
"""The dtypes of constants that say shapes, axes and names, and are no parameters."""


@dataclass(frozen=True)
class GraphNode:
    """One operation of a graph."""

    name: str
    op: str
    inputs: tuple[str, ...]
    """The tensors that go in, "node" or "node:1" for its second output; not the nodes that merely run before."""
    data: memoryview
    """The NodeDef."""
    where: str

    @cached_property
    def attributes(self) -> Mapping[str, tuple[int, memoryview | int]]:
        """By name the field of an AttrValue that is set, and its value."""
        found: dict[str, tuple[int, memoryview | int]] = {}
        for field, value in fields(self.data, self.where):
            if field == 5:
                entry = dict(fields(message(value, self.where), self.where))
                for kind, given in fields(message(entry.get(2, memoryview(b"")), self.where), self.where):
                    found[text(entry.get(1, memoryview(b"")), self.where)] = kind, given
        return found

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number or a truth value; the operation's default where it is left out."""
        kind, value = self.attributes.get(name, (0, 0))
        if kind == 4 and not isinstance(value, int) and len(value) == 4:
            return float(struct.unpack("<f", value)[0])
        return float(number(value, self.where)) if kind in (3, 5) else default

    def text(self, name: str) -> str:
        """An attribute that is a text; empty where it is left out."""
        kind, value = self.attributes.get(name, (0, 0))
        return text(value, self.where) if kind == 2 else ""

    @property
    def tensor(self) -> memoryview | None:
        """The TensorProto of a constant."""
        kind, value = self.attributes.get("value", (0, 0))
        return message(value, self.where) if self.op == "Const" and kind == 8 else None


@dataclass(frozen=True)
class TensorFlowGraph:
    nodes: Mapping[str, GraphNode]
    where: str

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """The constants that may be parameters, by the names of their nodes."""
        every = {
            name: stored_in(proto, f"{self.where}:{name}")
            for name, node in self.nodes.items()
            if node.op == "Const" and (proto := node.tensor) is not None
        }
        return {name: one for name, one in every.items() if one.shape and one.dtype not in _INDICES}

    def read(self, names: Collection[str]) -> dict[str, Tensor]:
        """The numbers of the constants of these names."""
        found = {}
        for name in names:
            proto = self.nodes[name].tensor
            assert proto is not None
            found[name] = tensor_of(proto, f"{self.where}:{name}")
        return found


def node_in(data: memoryview, where: str) -> GraphNode:
    """The node that a NodeDef describes."""
    name, op, inputs = "", "", []
    for field, value in fields(data, where):
        if field == 1:
            name = text(value, where)
        elif field == 2:
            op = text(value, where)
        elif field == 3 and not (given := text(value, where)).startswith("^"):
            inputs.append(given)
    return GraphNode(name, op, tuple(inputs), data, f"{where}:{name}")
