"""Frozen graphs of TensorFlow (GraphDef, .pb): the parameters are constants among the operations that use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.files.reading import Tensors
from rnnspect.files.tensorflow.graph_def import is_graph, read_graph
from rnnspect.weights.readers.interface import Module, Reader
from rnnspect.weights.readers.tensorflow.modules import modules_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rnnspect.files.glimpse import Glimpse


def _recognises(seen: Glimpse) -> bool:
    return is_graph(seen.head)


def _modules(path: Path, flags: Mapping[str, Any]) -> dict[str, Module]:
    graph = read_graph(path)
    return modules_of(Tensors(graph.stored, graph.read), graph, str(path), flags)


READER = Reader("a frozen graph of TensorFlow", _recognises, _modules, (".pb",), engine="onnxruntime")
