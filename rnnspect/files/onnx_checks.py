"""Checks an ONNX model before its numbers are read: texts, attributes, functions, and that the file holds what its
tensors claim."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files.reading import size_of

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

MOST_NODES = 10**6
"""The most nodes of a model with its functions written out: twelve small functions that call each other can stand for
10¹² nodes."""
_NARROW = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2, "FLOAT6E2M3": 6, "FLOAT6E3M2": 6}
"""Types of which a byte holds several numbers: how many bits each takes."""
MOST_AXES, MOST_NUMBERS = 64, 2**58
"""The largest numbers that numpy can count with."""


def graphs_in(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph, and every graph in the attributes of its nodes."""
    yield graph
    yield from graphs_of(graph.node)


def graphs_of(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs_in(inner)


def check_texts(message: Message, where: str) -> None:
    """Raises `FileError` for a text anywhere in the model that is not UTF-8, which protobuf gives as bytes."""
    for known, value in message.ListFields():
        if known.type == known.TYPE_MESSAGE:
            for inner in (value,) if hasattr(value, "ListFields") else value:
                check_texts(inner, where)
        elif known.type == known.TYPE_STRING:
            texts = (value,) if isinstance(value, (str, bytes)) else value
            if not all(isinstance(one, str) for one in texts):
                part = f"{message.DESCRIPTOR.name.removesuffix('Proto')}.{known.name}"
                raise FileError(f"the file is damaged: {part} is not text", where=where)


def check_graph(graph: GraphProto, where: str) -> None:
    """Raises `FileError` for attributes that only a function can have, for a Scan over more than its inputs, and for
    inputs of a type that ONNX does not have."""
    from onnx import TensorProto

    for inner in graphs_in(graph):
        for node in inner.node:
            for attribute in node.attribute:
                if attribute.ref_attr_name:
                    found = f"the attribute {attribute.name} of {node.name or node.op_type} has no value"
                    raise FileError(found, where=where)
                if node.op_type == "Scan" and attribute.name == "num_scan_inputs" and attribute.i > len(node.input):
                    found = f"num_scan_inputs of {node.name or 'a Scan'} is {attribute.i}"
                    raise FileError(found, allowed=f"at most {len(node.input)}, its inputs", where=where)
    for known in graph.input:
        if (kind := known.type.tensor_type.elem_type) not in TensorProto.DataType.values():
            raise FileError(f"the input {known.name} has the unknown data type {kind}", where=where)


def check_functions(model: ModelProto, where: str) -> None:
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
        raise FileError("functions are nested too deeply", where=where) from None
    if total > MOST_NODES:
        found = f"the model has {total:.3g} nodes{' with its functions written out' if functions else ''}"
        raise FileError(found, allowed=f"at most {MOST_NODES:,}", where=where)


def tensors_of(graphs: list[GraphProto], loose: Iterable[NodeProto] = ()) -> Iterator[TensorProto]:
    """Every tensor in these graphs, and in the attributes of nodes that are in none."""
    sparse = [tensor for graph in graphs for tensor in graph.sparse_initializer]
    for graph in graphs:
        yield from graph.initializer
    for node in (*loose, *(node for graph in graphs for node in graph.node)):
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
            sparse += [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            sparse += attribute.sparse_tensors
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def check_tensor(tensor: TensorProto, path: Path) -> int:
    """Bytes of it that are in another file. Raises `FileError` for one that claims more than is there."""
    from onnx import TensorProto, helper

    where = f"{path}:{tensor.name}"
    if tensor.HasField("segment"):
        raise FileError("the tensor is one segment of a larger one, which is not supported", where=where)
    beyond = math.prod(max(size, 1) for size in tensor.dims) > MOST_NUMBERS  # which numpy refuses of empty ones, too
    if any(size < 0 for size in tensor.dims) or len(tensor.dims) > MOST_AXES or beyond:
        raise FileError(f"the tensor has the shape {tuple(tensor.dims)}, which is not possible", where=where)
    count = math.prod(tensor.dims)
    try:
        kind = TensorProto.DataType.Name(tensor.data_type)
        bits = _NARROW.get(kind, 8 * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize))
        values = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
    except (ValueError, KeyError, TypeError):
        raise FileError(f"the tensor has the unknown data type {tensor.data_type}", where=where) from None
    if tensor.data_location == TensorProto.EXTERNAL:
        return _check_external(tensor, path, where, -(-count * bits // 8))
    there: float
    if kind == "STRING":
        there = values
    elif tensor.HasField("raw_data"):
        there = len(tensor.raw_data) * 8 / bits  # a part of a number is too much or too little as well
    else:  # in a list of wider numbers: two make a complex one, and one holds the byte that narrow ones share
        there = values // 2 if kind.startswith("COMPLEX") else values * (8 // bits if kind in _NARROW else 1)
    if there < count or (there > count and kind not in _NARROW):
        less = "less" if there < count else "more"
        raise FileError(f"the tensor has {less} data than its shape {tuple(tensor.dims)} needs", where=where)
    return 0


def _check_external(tensor: TensorProto, path: Path, where: str, needed: int) -> int:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    folder, location = path.resolve().parent, entries.get("location", "")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", -1))
        file = (folder / location).resolve()
        inside = bool(location) and file.is_relative_to(folder)
    except (TypeError, ValueError, OSError, RuntimeError):
        raise FileError("the location of the external data is not valid", where=where) from None
    if not inside:
        found = f"the external data {location!r} lies outside the model's folder"
        raise FileError(found, allowed="a file inside it", where=where)
    size = size_of(file)
    length = length if "length" in entries else size - offset
    if offset < 0 or length < needed or offset + length > size:
        raise FileError(f"the external data lies beyond the end of {location!r}", where=where)
    if length > needed:
        raise FileError(f"the tensor has more external data than its shape {tuple(tensor.dims)} needs", where=where)
    return length
