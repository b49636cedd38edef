"""A TensorFlow graph: its nodes, what goes into each, and its constants. Its functions, such as the bodies of loops,
are written out where they are called. And what a SavedModel has beside its graph and variables. Nothing is run.

Source: tensorflow/core/framework/graph.proto, node_def.proto, attr_value.proto and function.proto;
tensorflow/core/protobuf/saved_model.proto, meta_graph.proto, saved_object_graph.proto, and keras saved_metadata.proto.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files.protobuf import Message, varint
from rnnspect.files.reading import Stored
from rnnspect.files.tensorflow.tensors import mapped, stored_in, tensor_of

if TYPE_CHECKING:
    from torch import Tensor


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
    def attributes(self) -> Mapping[str, Message]:
        """The AttrValues by name."""
        return {entry.whole_text(1): entry.message(2) for entry in Message(self.data, self.where).messages(5)}

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number or a truth value; the operation's default where it is left out."""
        value = self.attributes.get(name, Message(memoryview(b""), self.where))
        if 4 in value:
            return value.decimal(4)
        return next((float(value.number(kind)) for kind in (3, 5) if kind in value), default)

    def text(self, name: str) -> str:
        """An attribute that is a text; empty where it is left out."""
        return self.attributes[name].whole_text(2) if name in self.attributes else ""

    @property
    def tensor(self) -> Message | None:
        """The TensorProto of a constant."""
        value = self.attributes.get("value")
        return value.message(8) if self.op == "Const" and value is not None and 8 in value else None


@dataclass(frozen=True)
class TensorFlowGraph:
    nodes: Mapping[str, GraphNode]

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """The constants that may be parameters, by the names of their nodes."""
        every = {
            name: stored_in(proto)
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
            found[name] = tensor_of(proto)
        return found


def node_in(data: memoryview, where: str) -> GraphNode:
    """The node that a NodeDef describes."""
    node = Message(data, where)
    name = node.whole_text(1)
    inputs = [bytes(one).decode(errors="replace") for one in node.every(3)]
    return GraphNode(name, node.whole_text(2), tuple(one for one in inputs if one[:1] != "^"), data, f"{where}:{name}")


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
    """The graph in a file that is a GraphDef. Raises as `graph_of`."""
    return graph_of(Message(mapped(path), str(path)))


def graph_of(graph: Message) -> TensorFlowGraph:
    """The nodes of a GraphDef, and of every function that they call, named CALLER/NODE.

    Calls deep inside one another, or of more nodes than any graph has, are left as they are. Raises `FileError` for
    bytes that are no GraphDef, and for nodes without end.
    """
    left = MAX_COST

    def nodes_in(every: list[memoryview]) -> Iterator[GraphNode]:
        nonlocal left
        for data in every:
            node = node_in(data, graph.where)
            left -= _cost(node)
            if left < 0:
                allowed = f"at most {MAX_COST} with their inputs"
                raise FileError("the graph has too many nodes", allowed=allowed, where=graph.where)
            yield node

    nodes = {node.name: node for node in nodes_in(graph.every(1))}
    functions = {}
    for one in graph.message(2).messages(1):
        signature = one.message(1)
        arguments = tuple(argument.whole_text(1) for argument in signature.messages(2))
        functions[signature.whole_text(1)] = Function(arguments, tuple(nodes_in(one.every(3))))
    return TensorFlowGraph(_written_out(nodes, functions))


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
    value = call.attributes.get(attribute)
    return "" if value is None else value.message(10).whole_text(1)


def _input(given: str, arguments: Mapping[str, str], caller: str) -> str:
    """An input of a node of a function, as the graph around names it once the function is written out. Inside of it
    node:NAME:1 is the second of the outputs called NAME; few operations have outputs of two names."""
    if given in arguments:
        return arguments[given]
    name, _, output = given.partition(":")
    at = output.rpartition(":")[2]
    return f"{caller}/{name}" + (f":{at}" if at not in ("", "0") else "")


def read_meta_graph(path: Path) -> TensorFlowGraph:
    """The graph in a MetaGraphDef, as TensorFlow 1 writes one beside a checkpoint. Raises as `graph_of`."""
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
    data = memoryview(head)
    try:
        _, at = varint(data, 3, "")
        if head[at : at + 1] != b"\x0a":
            return False
        _, at = varint(data, at + 1, "")
    except FileError:
        return False
    return head[at : at + 1] in (b"\x12", b"\x1a", b'"', b"*", b"2")
