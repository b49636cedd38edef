"""The inputs of an ONNX model: arrays by name from a file, one array, or drawn numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from rnnspect.errors import InputError, Problem, SequenceError, listed, nearest
from rnnspect.files import arrays, free_memory, sources, text
from rnnspect.weights.readers.onnx import OnnxNode, array_of

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    Array = Any

_PLACE = "--input"


def feed_of(
    model: ModelProto, given: Any, nodes: Mapping[str, OnnxNode], batch: int | None, seed: int, file: str
) -> dict[str, Array]:
    """The arrays by the names of the model's inputs, at least those without a default, each in its input's type.

    `given` is written as --input; `batch` and `seed` are for a generator. Raises `SequenceError` for names or shapes
    that do not fit.
    """
    inputs = {known.name: known for known in model.graph.input}
    needed = [name for name in inputs if name not in {tensor.name for tensor in model.graph.initializer}]
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
    if not problems and (missing := [name for name in needed if name not in found]):
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
            return {needed[0]: arrays.read_array(path, member)}
        case sources.Literal(numbers=str() as written):
            return {needed[0]: text.parse_json(written, _PLACE)}
    raise SequenceError(f"{source} beside a model", allowed="a file, a generator, or the numbers", where=_PLACE)


def _fitting(values: torch.Tensor, known: ValueInfoProto) -> Array:
    from onnx import helper

    tensor = known.type.tensor_type
    if not known.type.HasField("tensor_type"):
        raise InputError(f"{known.name} is no tensor", allowed="a model whose inputs are tensors", where=_PLACE)
    sizes = [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim]
    fits = len(sizes) == values.dim() and all(a in (None, b) for a, b in zip(sizes, values.shape, strict=True))
    if tensor.HasField("shape") and not fits:
        found = f"{known.name} of shape {tuple(values.shape)}"
        raise SequenceError(found, allowed=_in_words(known), where=_PLACE)
    return array_of(values).astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _generated(
    source: sources.Generator, inputs: list[ValueInfoProto], nodes: Mapping[str, OnnxNode], batch: int | None, seed: int
) -> dict[str, Array]:
    """Drawn numbers, ones or zeros. An axis without a size is the batch where its name or a node says so, else it is as
    long as the generator says."""
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
            named_batch = axis.dim_param.lower() in ("b", "n", "batch", "batch_size")
            is_batch = at == batch_at or (at != steps_at and named_batch)
            shape.append(axis.dim_value or ((batch or 1) if is_batch else (source.count or 8)))
        free_memory.require(8 * math.prod(shape), f"{source.kind} for {known.name}", _PLACE)
        if source.kind not in ("randn", "ones", "zeros"):
            raise SequenceError(f"{source.kind} for a model", allowed="randn, ones or zeros", where=_PLACE)
        values = torch.full(shape, float(source.kind == "ones"), dtype=torch.float64)
        if source.kind == "randn":
            values.normal_(generator=generator)
        feed[known.name] = values.numpy().astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return feed


def _axes(name: str, nodes: Mapping[str, OnnxNode]) -> tuple[int | None, int | None]:
    """Which axis of an input is the steps and which the batch, where a node takes the input as it is."""
    for node in nodes.values():
        batch = 0 if node.attributes.get("layout") else 1
        if node.input("X") == name:
            return 1 - batch, batch
        if name in (node.input("initial_h"), node.input("initial_c")):
            return None, batch
    return None, None


def _in_words(known: ValueInfoProto) -> str:
    """Name, type and axes as the graph says them: x float [1, T, 3]."""
    from onnx import TensorProto

    tensor = known.type.tensor_type
    axes = [str(axis.dim_value) if axis.HasField("dim_value") else axis.dim_param or "?" for axis in tensor.shape.dim]
    return f"{known.name} {TensorProto.DataType.Name(tensor.elem_type).lower()} [{', '.join(axes)}]"
