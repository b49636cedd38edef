"""How the nodes of a TensorFlow graph hang together: where a tensor comes from, and what is done with it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property

from rnnspect.files.tensorflow.graph import GraphNode, TensorFlowGraph

PASSES = frozenset(
    ("Identity", "Enter", "RefEnter", "Switch", "RefSwitch", "Merge", "ReadVariableOp", "Cast", "StopGradient")
)
"""Operations that give what they take; of a loop, what it starts with."""
VARIABLES = ("Const", "VarHandleOp", "VariableV2", "Variable")
_COPY = re.compile(r"_\d{1,4}\Z")
ADDS = ("Add", "AddV2", "BiasAdd")


class Wires:
    """A graph, both ways, and the names of the tensors that the file holds."""

    def __init__(self, graph: TensorFlowGraph, stored: Collection[str]) -> None:
        self.graph, self.stored = graph, stored
        self._sources: dict[str, tuple[GraphNode | None, int]] = {}

    @cached_property
    def _users(self) -> Mapping[tuple[str, str], list[GraphNode]]:
        """By tensor and operation."""
        found: dict[tuple[str, str], list[GraphNode]] = defaultdict(list)
        for node in self.graph.nodes.values():
            for given in dict.fromkeys(map(_plain, node.inputs)):
                found[given, node.op].append(node)
        return found

    def source(self, tensor: str) -> tuple[GraphNode | None, int]:
        """The node that makes a tensor, past those that hand it on, and which of its outputs it is."""
        passed: list[str] = []
        while True:
            name, _, output = tensor.partition(":")
            node = self.graph.nodes.get(name)
            if name in self._sources:
                found = self._sources[name]
                break
            if node is None or node.op not in PASSES or not node.inputs:
                found = node, int(output) if output.isdecimal() and len(output) < 9 else 0
                break
            self._sources[name] = node, 0  # what a circle of such nodes comes to
            passed.append(name)
            tensor = node.inputs[0]
        self._sources.update(dict.fromkeys(passed, found))
        return found

    def made_by(self, tensor: str, *ops: str) -> GraphNode | None:
        """The node that makes a tensor, if it is one of these operations."""
        node, _ = self.source(tensor)
        return node if node is not None and node.op in ops else None

    def parameter(self, tensor: str) -> str | None:
        """The name in the file of the variable or constant that a tensor is. A node lstm_cell/kernel_1 may stand for
        the variable lstm_cell/kernel, where there is none of its own name: Keras 3 exports such copies."""
        node = self.made_by(tensor, *VARIABLES)
        names = (node.text("shared_name"), node.name) if node else ()
        every = (*names, *(_COPY.sub("", name) for name in names))
        return next((name for name in every if name in self.stored), None)

    @cached_property
    def named(self) -> Mapping[str, GraphNode]:
        """The nodes of the variables and constants, by their names in the file."""
        every = (node for node in self.graph.nodes.values() if node.op in VARIABLES)
        return {name: node for node in every if (name := self.parameter(node.name))}

    def users(self, tensor: str, *ops: str) -> Iterator[GraphNode]:
        """The nodes of these operations that take a tensor."""
        return (node for op in ops for node in self._users.get((_plain(tensor), op), ()))

    def user(self, tensor: str, *ops: str) -> GraphNode | None:
        """The first one of them."""
        return next(self.users(tensor, *ops), None)

    def terms(self, tensor: str) -> list[tuple[GraphNode, int]]:
        """What is added up to a tensor, at most four of it, each with which output it is."""
        found: list[tuple[GraphNode, int]] = []
        waiting = [tensor]
        for _ in range(16):
            if not waiting or len(found) == 4:
                break
            node, output = self.source(waiting.pop(0))
            if node is not None and node.op in ADDS and len(node.inputs) == 2:
                waiting = [*node.inputs, *waiting]
            elif node is not None:
                found.append((node, output))
        return found


def _plain(tensor: str) -> str:
    return tensor.removesuffix(":0")
