"""The inputs of an ONNX model: those given with --input, and random numbers for the others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch

from rnnspect.checking.onnx.axes import BATCH, STEPS, Axis, Uses, axes_of, in_words, uses_of
from rnnspect.checking.onnx.given_inputs import KINDS, PLACE, what_is_said
from rnnspect.errors import InputError, SequenceError, listed
from rnnspect.files import free_memory
from rnnspect.files.sources import Generator
from rnnspect.weights.readers.onnx import Part
from rnnspect.weights.readers.onnx_rnn_nodes import array_of

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

    from rnnspect.network.spec import Spec

    _Array = Any

LENGTHS = 16, 256, 512, 4096
"""Sizes of free axes that are tried where nobody says one, until the model runs."""


@dataclass(frozen=True)
class Feed:
    """The arrays by the names of a model's inputs, and what was drawn of them."""

    arrays: dict[str, _Array]
    note: str = ""


@dataclass
class _Sizes:
    """The sizes that free axes have in one feed: as far as said inputs tell, and else these."""

    batch: int
    steps: int
    by_name: dict[str, int] = field(default_factory=dict)

    def of(self, axis: Axis, name: str, count: int | None) -> int:
        """The size of an axis, which goes by a name in the graph, or by none."""
        if isinstance(axis, int):
            return axis
        size = self.by_name.get(name) or (self.batch if axis == BATCH else count or self.steps)
        if name:
            self.by_name[name] = size
        return size


def feeds_of(
    model: ModelProto, given: Any, layers: Iterable[tuple[Part, Spec]], batch: int | None, seed: int
) -> Iterator[Feed]:
    """The arrays of the model's inputs, at least of those without a default, each in its input's type: one feed, or
    where free axes have to be chosen several, of which the model may refuse some.

    `given` is written as --input, or None; `batch` and `seed` are for numbers that are drawn. Raises `SequenceError`
    for names or shapes that do not fit.
    """
    inputs = {known.name: known for known in model.graph.input}
    held = {tensor.name for tensor in model.graph.initializer}
    needed = [name for name in inputs if name not in held]
    if not needed and given is None:
        yield Feed({})
        return
    said = what_is_said(given, inputs, needed)
    fixed = {name: _fitting(value, inputs[name]) for name, value in said.items() if not isinstance(value, Generator)}
    to_draw: dict[str, Generator] = {}
    for name in dict.fromkeys((*needed, *said)):
        if isinstance(how := said.get(name, Generator("")), Generator):
            to_draw[name] = how
            _check(how, name, inputs[name])
    uses = uses_of(model, needed, layers)
    sizes = _Sizes(0, 0)
    for name, values in fixed.items():
        _bind(sizes, axes_of(inputs[name], uses), inputs[name], values.shape)
    open_axes = any(
        axis == STEPS and not how.count and not sizes.by_name.get(_axis_name(inputs[name], at))
        for name, how in to_draw.items()
        for at, axis in enumerate(axes_of(inputs[name], uses) or ())
    )
    for length in (sizes.steps,) if sizes.steps or not open_axes else LENGTHS:
        chosen = replace(sizes, batch=batch or sizes.batch or 1, steps=length or 8, by_name=dict(sizes.by_name))
        drawn = _all_drawn(to_draw, inputs, uses, chosen, seed)
        yield Feed(fixed | drawn, _in_words(drawn, said, uses, chosen))


def _fitting(values: torch.Tensor, known: ValueInfoProto) -> _Array:
    from onnx import helper

    tensor = known.type.tensor_type
    if not known.type.HasField("tensor_type"):
        raise InputError(f"the input {known.name} is not a tensor, which is not supported", where=PLACE)
    sizes = [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim]
    fits = len(sizes) == values.dim() and all(a in (None, b) for a, b in zip(sizes, values.shape, strict=True))
    if tensor.HasField("shape") and not fits:
        found = f"{known.name} has the shape {tuple(values.shape)}"
        raise SequenceError(found, allowed=in_words(known), where=PLACE)
    return array_of(values).astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))


def _bind(sizes: _Sizes, axes: tuple[Axis, ...] | None, known: ValueInfoProto, shape: tuple[int, ...]) -> None:
    """Takes the sizes of free axes from an array that was given."""
    for at, (axis, size) in enumerate(zip(axes or (), shape, strict=False)):
        if isinstance(axis, str):
            if name := _axis_name(known, at):
                sizes.by_name.setdefault(name, size)
            if axis == BATCH:
                sizes.batch = sizes.batch or size
            elif len(shape) > 1:
                sizes.steps = sizes.steps or size


def _axis_name(known: ValueInfoProto, at: int) -> str:
    axes = known.type.tensor_type.shape.dim
    return str(axes[at].dim_param) if at < len(axes) else ""


def _check(how: Generator, name: str, known: ValueInfoProto) -> None:
    """Raises `SequenceError` for an input that cannot be drawn, or not so."""
    from onnx import TensorProto

    if how.kind and how.kind not in KINDS:
        found = f"{how.kind} cannot draw an input of a model"
        raise SequenceError(found, allowed=listed(KINDS), where=f"{PLACE} {name}")
    if known.type.tensor_type.elem_type in (TensorProto.UNDEFINED, TensorProto.STRING):
        _refuse(known)


def _refuse(known: ValueInfoProto) -> NoReturn:
    found = f"cannot draw numbers for the input {in_words(known)}"
    advice = f"give it: --input {known.name}=x.npy, or a .npz file with every input"
    raise SequenceError(found, advice=advice, where=PLACE)


def _all_drawn(
    to_draw: Mapping[str, Generator], inputs: Mapping[str, ValueInfoProto], uses: Uses, sizes: _Sizes, seed: int
) -> dict[str, _Array]:
    """Drawn numbers. A count that is said is the size of a free axis that is no batch. Integers are places in a table
    that the model looks up, below its number of rows, or lengths; others are 1."""
    from onnx import helper

    generator, found = torch.Generator().manual_seed(seed), {}
    for name, how in sorted(to_draw.items(), key=lambda one: one[1].count is None):  # sizes that were said come first
        axes = axes_of(inputs[name], uses)
        if axes is None:
            _refuse(inputs[name])
        count = how.count
        if count is None and (several := axes.count(STEPS)) > 1:  # loops inside of each other: as many steps in all
            count = max(2, round(sizes.steps ** (1 / several)))
        shape = [sizes.of(axis, _axis_name(inputs[name], at), count) for at, axis in enumerate(axes)]
        if how.count and STEPS in axes and len(shape) > 1:
            sizes.steps = how.count
        free_memory.require(8 * math.prod(shape), f"drawing {name}", PLACE)
        dtype = helper.tensor_dtype_to_np_dtype(inputs[name].type.tensor_type.elem_type)
        found[name] = _numbers(how, shape, name, uses, generator, sizes, np.dtype(dtype))
    return {name: found[name] for name in to_draw}


def _numbers(
    how: Generator,
    shape: list[int],
    name: str,
    uses: Uses,
    generator: torch.Generator,
    sizes: _Sizes,
    dtype: np.dtype[Any],
) -> _Array:
    below = how.below or uses.rows.get(name)
    if how.kind == "randint" or (below and how.kind not in ("zeros", "ones")):
        values = torch.randint(below or 2, shape, generator=generator)
    elif name in uses.lengths and how.kind in ("", "randn"):
        values = torch.full(shape, sizes.steps)
    elif dtype.kind in "iub" and how.kind != "zeros":
        values = torch.ones(shape)
    else:
        values = torch.full(shape, float(how.kind == "ones"), dtype=torch.float64)
        if how.kind in ("", "randn"):
            values.normal_(generator=generator)
    return values.numpy().astype(dtype)


def _in_words(drawn: Mapping[str, _Array], said: Mapping[str, Any], uses: Uses, sizes: _Sizes) -> str:
    """What was drawn because nobody said it: input float32 (1, 512), sr int64 () = 1 (batch = 1)."""
    unsaid = {name: values for name, values in drawn.items() if name not in said}
    if not unsaid:
        return ""
    words = []
    for name, values in unsaid.items():
        below = f" below {uses.rows[name]}" if name in uses.rows else ""
        words.append(
            f"{name} {values.dtype} {tuple(values.shape)}" + (f" = {values.item()}" if values.size == 1 else below)
        )
    chosen = listed(f"{name} = {size}" for name, size in sizes.by_name.items())
    what = "not all inputs were given" if said else "no input was given"
    drawn_as = listed(words) + (f" ({chosen})" if chosen else "")
    return f"{what}: drew {drawn_as}; give others with --input {next(iter(unsaid))}=x.npy"
