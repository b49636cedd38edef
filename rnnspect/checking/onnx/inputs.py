"""The inputs of an ONNX model: arrays by name from a file, one array, or drawn numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnnspect.errors import InputError, Problem, SequenceError, listed, nearest
from rnnspect.files import arrays, free_memory, sources, text
from rnnspect.weights.readers.onnx_nodes import OnnxNode, array_of

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    Array = Any

_PLACE = "--input"


LENGTHS = 16, 256, 512, 4096
"""Where no input is given: the sizes of free axes that are tried, until the model runs."""


def feeds_of(
    model: ModelProto, given: Any, nodes: Mapping[str, OnnxNode], batch: int | None, seed: int
) -> Iterator[dict[str, Array]]:
    """The arrays by the names of the model's inputs, at least those without a default, each in its input's type: one
    mapping, or where nothing is given several drawn ones, of which the model may refuse some.

    `given` is written as --input, or None; `batch` and `seed` are for numbers that are drawn. Raises `SequenceError`
    for names or shapes that do not fit.
    """
    inputs = {known.name: known for known in model.graph.input}
    needed = [name for name in inputs if name not in {tensor.name for tensor in model.graph.initializer}]
    source = sources.Generator("randn", None) if given is None else sources.parse(given)
    if not needed:
        yield {}
    elif isinstance(source, sources.Generator):
        free = any(not axis.dim_value for name in needed for axis in inputs[name].type.tensor_type.shape.dim)
        for length in LENGTHS if given is None and free else (source.count or 8,):
            yield _generated(source.kind, length, [inputs[name] for name in needed], model, nodes, batch, seed)
    else:
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
        yield {name: _fitting(values, inputs[name]) for name, values in found.items()}


def drawn(feed: Mapping[str, Array]) -> str:
    """What was drawn for a model to which no input was given: input float32 (1, 512), sr int64 () = 1."""
    said = [
        f"{name} {values.dtype} {tuple(values.shape)}" + (f" = {values.item()}" if values.size == 1 else "")
        for name, values in feed.items()
    ]
    return f"no input was given: drawn were {listed(said)}; --input says others"


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
    kind: str,
    length: int,
    inputs: list[ValueInfoProto],
    model: ModelProto,
    nodes: Mapping[str, OnnxNode],
    batch: int | None,
    seed: int,
) -> dict[str, Array]:
    """Drawn numbers, ones or zeros. Integers are places in a table that the model looks up, below its number of rows,
    or lengths; others are 1."""
    from onnx import TensorProto, helper

    if kind not in ("randn", "ones", "zeros"):
        raise SequenceError(f"{kind} for a model", allowed="randn, ones or zeros", where=_PLACE)
    generator, feed = torch.Generator().manual_seed(seed), {}
    for known in inputs:
        tensor = known.type.tensor_type
        if not tensor.HasField("shape") or tensor.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
            found = f"{_in_words(known)}, for which no numbers can be made up"
            raise SequenceError(found, allowed="a .npz with every input", where=_PLACE)
        shape = _shape(known, nodes, length, batch or 1)
        free_memory.require(8 * math.prod(shape), f"{kind} for {known.name}", _PLACE)
        dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        if any(known.name == node.input("sequence_lens") for node in nodes.values()):
            values = torch.full(shape, length)
        elif rows := _rows_looked_up(known.name, model):
            values = torch.randint(rows, shape, generator=generator)
        elif np.dtype(dtype).kind in "iub":
            values = torch.ones(shape)
        else:
            values = torch.full(shape, float(kind == "ones"), dtype=torch.float64)
            if kind == "randn":
                values.normal_(generator=generator)
        feed[known.name] = values.numpy().astype(dtype)
    return feed


def _shape(known: ValueInfoProto, nodes: Mapping[str, OnnxNode], length: int, batch: int) -> list[int]:
    """A free axis is the batch where a node or its name says so, or where it is the first of several, or stands between
    axes that are fixed, as that of a state does; else it has the length."""
    axes = known.type.tensor_type.shape.dim
    free = [at for at, axis in enumerate(axes) if not axis.dim_value]
    steps_at, batch_at = _axes(known.name, nodes)
    shape = []
    for at, axis in enumerate(axes):
        name = axis.dim_param.lower()
        between = not name and (free == [at] and 0 < at < len(axes) - 1)
        likely = name in ("b", "n") or "batch" in name or between or (not name and len(free) > 1 and at == free[0])
        is_batch = at == batch_at or (at != steps_at and batch_at is None and likely)
        shape.append(axis.dim_value or (batch if is_batch else length))
    return shape


_ONWARD = ("Cast", "Identity", "Unsqueeze", "Squeeze", "Reshape", "Transpose")


def _rows_looked_up(name: str, model: ModelProto) -> int | None:
    """The rows of the smallest table in which a `Gather` looks up the integers of an input; None without one."""
    held = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    names, rows = {name}, []
    for node in model.graph.node:
        if node.op_type in _ONWARD and node.input[0] in names:
            names.update(node.output)
        elif node.op_type == "Gather" and node.input[1] in names and node.input[0] in held:
            rows.append(held[node.input[0]][0])
    return min(rows, default=None)


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
