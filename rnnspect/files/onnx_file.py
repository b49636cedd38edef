"""ONNX models, read as data: sizes are checked against what the file holds, and nothing outside its folder is read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files import memory
from rnnspect.files.reading import read_bytes, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

MOST = 2**31 - 1
"""What one protobuf message can hold."""
MOST_NODES = 10**6
"""Of a model with its functions written out: twelve small ones that call each other can stand for 10¹² nodes."""
_TYPED = {
    "FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data", "UINT64": "uint64_data",
    "UINT32": "uint64_data", "STRING": "string_data",
}  # fmt: skip


def read_model(path: Path) -> ModelProto:
    """The model with its functions inlined and its external data read in.

    Raises `FileError` for what is no ONNX model, for one that claims more than the file holds, and for external data
    outside its folder; `InputError` where the package onnx is missing.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import inliner
    except ImportError:
        allowed = "after: pip install 'rnnspect[onnx]'"
        raise FileError("reading it needs the package onnx", allowed=allowed, where=str(path)) from None
    where = str(path)
    memory.require(4 * size_of(path), "reading it", where)
    data = read_bytes(path, MOST)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise FileError("not an ONNX model, or cut short, or graphs in graphs beyond all use", where=where) from None
    if not model.graph.node or not model.opset_import:
        raise FileError("not an ONNX model: it has no nodes", where=where)
    _check_tensors(model, path)
    _check_functions(model, where)
    try:
        onnx.load_external_data_for_model(model, str(path.resolve().parent))
        whole = inliner.inline_local_functions(model) if model.functions else model
    except (ValueError, RuntimeError, OSError, onnx.checker.ValidationError) as error:
        raise FileError(f"not a valid ONNX model: {_line(error)}", where=where) from None
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(graphs_in(whole.graph))):
        raise FileError("external data of a function", allowed="that of the graph", where=where)
    return whole


def graphs_in(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph, and every graph in the attributes of its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs_in(inner)


def _check_functions(model: ModelProto, where: str) -> None:
    """Raises `FileError` for functions in a circle, and for more nodes than are read when all calls are written out."""
    made: dict[tuple[str, str], int] = {}  # 0 while it is being counted

    def count(nodes: Iterable[NodeProto]) -> int:
        total = 0
        for node in nodes:
            total += 1 + sum(count(graph.node) for a in node.attribute for graph in (a.g, *a.graphs))
            if (name := (node.domain, node.op_type)) in functions:
                if name not in made:
                    made[name] = 0
                    made[name] = count(functions[name].node)
                if not made[name]:
                    raise FileError(f"the function {node.op_type} calls itself", where=where)
                total += made[name]
        return total

    functions = {(function.domain, function.name): function for function in model.functions if function.node}
    try:
        total = count(model.graph.node)
    except RecursionError:
        raise FileError("functions in functions beyond all use", where=where) from None
    if total > MOST_NODES:
        found = f"its functions make {total:.3g} nodes of it" if functions else f"{total:.3g} nodes"
        raise FileError(found, allowed=f"at most {MOST_NODES:,}", where=where)


def _check_tensors(model: ModelProto, path: Path) -> None:
    graphs = [*graphs_in(model.graph)]
    loose = [node for function in model.functions for node in function.node]
    graphs += [g for node in loose for a in node.attribute if a.HasField("g") for g in graphs_in(a.g)]
    outside = 0
    for tensor in _tensors(graphs, loose):
        outside += _check_tensor(tensor, path)
    memory.require(3 * outside, "reading its external data", str(path))


def _tensors(graphs: Iterable[GraphProto], loose: Iterable[NodeProto] = ()) -> Iterator[TensorProto]:
    """Every tensor in these graphs, and in the attributes of nodes that are in none."""
    attributes = [attribute for node in loose for attribute in node.attribute]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        attributes += [attribute for node in graph.node for attribute in node.attribute]
    for attribute in attributes:
        yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
        for sparse in (
            *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
            *attribute.sparse_tensors,
        ):
            yield from (sparse.values, sparse.indices)


def _check_tensor(tensor: TensorProto, path: Path) -> int:
    """Bytes of it that are in another file."""
    from onnx import TensorProto, helper

    where = f"{path}:{tensor.name}"
    if any(size < 0 for size in tensor.dims):
        raise FileError(f"a tensor of shape {tuple(tensor.dims)}", where=where)
    count = math.prod(tensor.dims)
    try:
        kind = TensorProto.DataType.Name(tensor.data_type)
        bits = 0 if kind == "STRING" else _bits(kind, helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (ValueError, KeyError, TypeError):
        raise FileError(f"a tensor of unknown type {tensor.data_type}", where=where) from None
    if tensor.data_location == TensorProto.EXTERNAL:
        return _check_external(tensor, path, where, count * bits // 8)
    if tensor.HasField("raw_data"):
        there = len(tensor.raw_data) * 8
    else:
        field = _TYPED.get(kind, {"COMPLEX64": "float_data", "COMPLEX128": "double_data"}.get(kind, "int32_data"))
        values = len(getattr(tensor, field))
        packed = {"COMPLEX64": 0.5, "COMPLEX128": 0.5}.get(kind, 2 if bits == 4 else 4 if bits == 2 else 1)
        there, bits = int(values * packed), 1
    if there < count * bits:
        raise FileError(f"a tensor of shape {tuple(tensor.dims)} with less data than that", where=where)
    return 0


def _check_external(tensor: TensorProto, path: Path, where: str, needed: int) -> int:
    said = {entry.key: entry.value for entry in tensor.external_data}
    folder, location = path.resolve().parent, said.get("location", "")
    try:
        offset, length = int(said.get("offset", 0)), int(said.get("length", needed))
        file = (folder / location).resolve()
        inside = bool(location) and file.is_relative_to(folder)
    except (ValueError, OSError, RuntimeError):
        raise FileError("external data that is nowhere", where=where) from None
    if not inside:
        raise FileError(f"external data outside its folder: {location!r}", allowed="beside the model", where=where)
    size = size_of(file)
    if offset < 0 or length < needed or offset + length > size:
        raise FileError(f"external data beyond the end of {location!r}", where=where)
    return length


def _bits(kind: str, itemsize: int) -> int:
    return {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}.get(kind, 8 * itemsize)


def _line(error: Any) -> str:
    return str(error).strip().partition("\n")[0]
