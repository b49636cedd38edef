"""A TensorFlow graph: its nodes, what goes into each, and its constants. Nothing is run.

Source: tensorflow/core/framework/graph.proto, node_def.proto and attr_value.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files.protobuf import fields, varint
from rnnspect.files.tensorflow.tensors import mapped, message, number, stored_in, tensor_of, text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

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


MAX_COST = 2_000_000
"""Nodes and inputs that a file may describe."""
MAX_CALLED = 200_000
"""Nodes and inputs of functions that are written out: an exported model of Keras has some thousands."""
MAX_DEPTH = 16
"""Calls inside one another that are written out."""
_CALLED = {
    **dict.fromkeys(("PartitionedCall", "StatefulPartitionedCall"), ("f", 0)),
    **dict.fromkeys(("While", "StatelessWhile"), ("body", 0)),
    **dict.fromkeys(("If", "StatelessIf"), ("then_branch", 1)),
}
"""By operation the attribute that names the function, and which of its inputs is the function's first argument."""


@dataclass(frozen=True)
class Function:
    arguments: tuple[str, ...]
    nodes: tuple[GraphNode, ...]


def read_graph(path: Path) -> TensorFlowGraph:
    """The graph in a file that is a GraphDef. Raises as `graph_in`."""
    return graph_in(mapped(path), str(path))


def graph_in(data: memoryview, where: str) -> TensorFlowGraph:
    """The nodes of a GraphDef, and of every function that they call, named CALLER/NODE.

    Calls deep inside one another, or of more nodes than any graph has, are left as they are. Raises `FileError` for
    bytes that are no GraphDef, and for nodes without end.
    """
    nodes: dict[str, GraphNode] = {}
    functions: dict[str, Function] = {}
    count = 0
    for field, value in fields(data, where):
        if field == 1:
            node = node_in(message(value, where), where)
            nodes[node.name] = node
            count += _cost(node)
        elif field == 2:
            for key, given in fields(message(value, where), where):
                if key == 1:
                    name, function = _function(message(given, where), where)
                    functions[name] = function
                    count += 1 + sum(map(_cost, function.nodes))
                _check(count, where)
        _check(count, where)
    return TensorFlowGraph(_written_out(nodes, functions), where)


def is_graph(head: bytes) -> bool:
    """Whether a file begins as a GraphDef does: with a node that has a name and an operation, Const or Placeholder."""
    data = memoryview(head)
    try:
        for _ in ("the node", "its name"):
            if bytes(data[:1]) != b"\x0a":
                return False
            size, at = varint(data, 1, "")
            data = data[at:]
        data = data[size:]
        size, at = varint(data, 1, "")
        op = bytes(data[at : at + size]) if bytes(data[:1]) == b"\x12" else b""
        return len(op) == size and op[:1].isupper() and op.isalnum()
    except FileError:
        return False


def _cost(node: GraphNode) -> int:
    """1 for a node, and 1 for each input and for every 64 letters of the names: what it takes in memory."""
    return (sum(map(len, node.inputs)) + len(node.name)) // 64 + len(node.inputs) + 1


def _check(cost: int, where: str) -> None:
    if cost > MAX_COST:
        raise FileError("the graph has too many nodes", allowed=f"at most {MAX_COST} with their inputs", where=where)


def _written_out(nodes: Mapping[str, GraphNode], known: Mapping[str, Function]) -> dict[str, GraphNode]:
    found, cost = dict(nodes), 0
    waiting = [(node, 0) for node in nodes.values() if node.op in _CALLED]
    while waiting:
        call, depth = waiting.pop()
        attribute, first = _CALLED[call.op]
        function = known.get(_name(call, attribute))
        if function is None or depth > MAX_DEPTH or cost > MAX_CALLED:
            continue
        given = dict(zip(function.arguments, call.inputs[first:], strict=False))
        for node in function.nodes:
            inner = replace(
                node,
                name=f"{call.name}/{node.name}",
                inputs=tuple(_input(one, given, call.name) for one in node.inputs),
            )
            found[inner.name] = inner
            cost += _cost(inner)
            if inner.op in _CALLED:
                waiting.append((inner, depth + 1))
    return found


def _name(call: GraphNode, attribute: str) -> str:
    """The function that a node calls; empty where it does not say so."""
    kind, value = call.attributes.get(attribute, (0, 0))
    if kind != 10:
        return ""
    return text(dict(fields(message(value, call.where), call.where)).get(1, memoryview(b"")), call.where)


def _input(given: str, arguments: Mapping[str, str], caller: str) -> str:
    """In a function node:NAME:1 is the second output of those called NAME; few operations have outputs of two names."""
    if given in arguments:
        return arguments[given]
    name, _, output = given.partition(":")
    at = output.rpartition(":")[2]
    return f"{caller}/{name}" + (f":{at}" if at not in ("", "0") else "")


def _function(data: memoryview, where: str) -> tuple[str, Function]:
    name, arguments, nodes = "", [], []
    for key, value in fields(data, where):
        if key == 1:
            for field, given in fields(message(value, where), where):
                if field == 1:
                    name = text(given, where)
                elif field == 2:
                    arguments.append(text(dict(fields(message(given, where), where)).get(1, memoryview(b"")), where))
        elif key == 3:
            nodes.append(node_in(message(value, where), where))
    return name, Function(tuple(arguments), tuple(nodes))
