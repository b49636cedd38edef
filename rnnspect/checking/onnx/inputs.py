"""What an ONNX model is fed: arrays by the names of its inputs, one array, or numbers from a generator."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rnnspect.errors import InputError, Problem, SequenceError, listed, nearest
from rnnspect.files import arrays, memory, sources, text
from rnnspect.weights.readers.onnx import array_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto, ValueInfoProto

    from rnnspect.weights.readers.onnx import OnnxNode

    Array = Any

_PLACE = "--input"


def feed_of(
    model: ModelProto, given: Any, nodes: Mapping[str, OnnxNode], batch: int | None, seed: int, file: str
) -> dict[str, Array]:
    """By name the arrays of every input that has no default, in the input's own type.

    Raises `InputError` for names or axes that do not fit.
    """
    defaults = {tensor.name for tensor in model.graph.initializer}
    inputs = {known.name: known for known in model.graph.input}
    needed = [name for name in inputs if name not in defaults]
    if not needed:
        return {}
    if given is None:
        allowed = f"--input with a .npz of {listed(needed)}" if len(needed) > 1 else "--input with an array"
        raise SequenceError(f"{file} has inputs: {listed(map(_in_words, inputs.values()))}", allowed=allowed)
    source = sources.parse(given)
    if isinstance(source, sources.Generator):
        return _generated(source, [inputs[name] for name in needed], nodes, batch, seed)
    found = _read(source, needed)
    problems = [
        Problem(f"no input is called {name!r}", listed(inputs), nearest(name, inputs), _PLACE)
        for name in found
        if name not in inputs
    ]
    missing = [name for name in needed if name not in found]
    if missing and not problems:
        problems = [Problem(f"missing: {listed(missing)}", listed(map(_in_words, inputs.values())), None, _PLACE)]
    if problems:
        raise SequenceError(problems)
    return {name: _fitting(values, inputs[name]) for name, values in found.items()}


def _read(source: sources.Source, needed: list[str]) -> dict[str, torch.Tensor]:
    match source:
        case sources.File(path=path, member=None):
            found = arrays.read_arrays(path)
            return {needed[0]: found[arrays.UNNAMED]} if list(found) == [arrays.UNNAMED] and len(needed) == 1 else found
        case sources.File(path=path, member=member):
            return {needed[0]: arrays.read_array(Path(path), member)}
        case sources.Literal(numbers=str() as written):
            return {needed[0]: text.parse_json(written, _PLACE)}
    raise SequenceError(f"{source} beside a model", allowed="a file, a generator, or the numbers", where=_PLACE)


def _fitting(values: torch.Tensor, known: ValueInfoProto) -> Array:
    from onnx import helper

    tensor = known.type.tensor_type
    if not known.type.HasField("tensor_type"):
        raise InputError(f"{known.name} is no tensor", allowed="a model whose inputs are tensors", where=_PLACE)
    shape = _sizes(known)
    if tensor.HasField("shape"):
        fits = len(shape) == values.dim() and all(a in (None, b) for a, b in zip(shape, values.shape, strict=True))
        if not fits:
            found = f"{known.name} of shape {tuple(values.shape)}"
            raise SequenceError(found, allowed=_in_words(known), where=_PLACE)
    return array_of(values).astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _generated(
    source: sources.Generator, inputs: list[ValueInfoProto], nodes: Mapping[str, OnnxNode], batch: int | None, seed: int
) -> dict[str, Array]:
    """A free axis is the batch where its name or a node says so, else as long as the generator says."""
    from onnx import TensorProto, helper

    floats = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    generator = torch.Generator().manual_seed(seed)
    feed = {}
    for known in inputs:
        tensor = known.type.tensor_type
        if tensor.elem_type not in floats or not tensor.HasField("shape"):
            found = f"{_in_words(known)}, for which no numbers can be made up"
            raise SequenceError(found, allowed="a .npz with every input", where=_PLACE)
        steps_at, batch_at = _axes(known.name, nodes)
        shape = []
        for at, axis in enumerate(tensor.shape.dim):
            if axis.dim_value:
                shape.append(axis.dim_value)
            elif at == batch_at or (at != steps_at and axis.dim_param.lower() in ("b", "n", "batch", "batch_size")):
                shape.append(batch or 1)
            else:
                shape.append(source.count or 8)
        memory.require(8 * math.prod(shape), f"{source.kind} for {known.name}", _PLACE)
        values = torch.empty(shape, dtype=torch.float64)
        if source.kind == "randn":
            values.normal_(generator=generator)
        else:
            values.fill_(source.kind != "zeros")
            if source.kind not in ("zeros", "ones"):
                raise SequenceError(f"{source.kind} for a model", allowed="randn, ones or zeros", where=_PLACE)
        feed[known.name] = values.numpy().astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return feed


def _axes(name: str, nodes: Mapping[str, OnnxNode]) -> tuple[int | None, int | None]:
    """The axes of steps and batch of an input that a node takes as it is."""
    for node in nodes.values():
        last = bool(node.attributes.get("layout"))
        if node.input("X") == name:
            return (1, 0) if last else (0, 1)
        if name in (node.input("initial_h"), node.input("initial_c")):
            return None, 0 if last else 1
    return None, None


def _sizes(known: ValueInfoProto) -> list[int | None]:
    return [axis.dim_value if axis.HasField("dim_value") else None for axis in known.type.tensor_type.shape.dim]


def _in_words(known: ValueInfoProto) -> str:
    """x float [1, T, 3], as the graph says."""
    from onnx import TensorProto

    tensor = known.type.tensor_type
    axes = [str(axis.dim_value) if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim]
    return f"{known.name} {TensorProto.DataType.Name(tensor.elem_type).lower()} [{', '.join(axes)}]"
