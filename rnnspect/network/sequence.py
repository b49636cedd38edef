"""The sequence that a network runs: x with h0, c0 and lengths, out of a spec, files, or arrays of the caller."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Generator, Tensor

from rnnspect.errors import SequenceError, Where, nearest
from rnnspect.files import arrays, free_memory, sources, text
from rnnspect.files.reading import why
from rnnspect.network import axes, drawing, tensors
from rnnspect.network.shown import counted
from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Sequence:
    """Time-major: x (T, B, I), h0 (L·D, B, P), c0 (L·D, B, H) or None where the cell has no cell state; how many steps
    each item of the batch has, or None where all have T.

    `batched` says whether the user's x had a batch axis; without one B is 1.
    """

    x: Tensor
    h0: Tensor
    c0: Tensor | None
    lengths: tuple[int, ...] | None
    batched: bool

    @property
    def steps(self) -> int:
        return self.x.shape[0]

    @property
    def batch(self) -> int:
        return self.x.shape[1]

    def length(self, item: int) -> int:
        """How many steps an item of the batch has."""
        return self.lengths[item] if self.lengths else self.steps

    @property
    def state(self) -> tuple[Tensor, ...]:
        """(h0,) or (h0, c0)."""
        return (self.h0,) if self.c0 is None else (self.h0, self.c0)

    def valid(self) -> Tensor | None:
        """(T, B): true where a step is inside its item's length. None where there is no padding."""
        if self.lengths is None or min(self.lengths) == self.steps:
            return None
        return torch.arange(self.steps)[:, None] < torch.tensor(self.lengths)

    def within(self, values: Tensor, beyond: float = 0) -> Tensor:
        """Values (T, B, ·), with that number where a step is beyond its item's length."""
        valid = self.valid()
        return values if valid is None else torch.where(valid.to(values.device)[..., None], values, beyond)

    def step_counts(self, device: torch.device | None = None) -> Tensor:
        """(B,): how many steps each item has."""
        return torch.tensor(self.lengths or [self.steps] * self.batch, device=device)

    def with_each_state(self, change: Callable[[Tensor], Tensor]) -> Self:
        """With h0, and c0 where there is one, changed alike."""
        return replace(self, h0=change(self.h0), c0=None if self.c0 is None else change(self.c0))

    def first(self, steps: int, items: int | None = None) -> Self:
        """Its first steps, of all items of the batch or of the first ones."""
        lengths = self.lengths and tuple(min(length, steps) for length in self.lengths[:items])
        of_items = self.with_each_state(lambda initial: initial[:, :items].contiguous())
        return replace(of_items, x=self.x[:steps, :items].contiguous(), lengths=lengths)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        return replace(self.with_each_state(lambda initial: initial.to(device, dtype)), x=self.x.to(device, dtype))


def sequence_of(
    spec: Spec,
    generator: Generator,
    where: Where,
    require_memory: Callable[[Spec, int, int], int],
    x: Any,
    h0: Any,
    c0: Any,
) -> Sequence:
    """x, h0, c0 and lengths as the spec writes them, or as given: tensors, arrays, nested lists, source strings.

    Random ones are drawn from `generator` in that order. `require_memory` estimates the bytes that the work needs from
    the spec, T and B.

    Raises `SequenceError` for numbers that do not fit the spec, `ResourceError` before memory is taken.
    """
    dtype = getattr(torch, spec.dtype)
    if x is not None and sources.generator_in(x) is None:
        spec = spec.with_changes(batch=None)  # it was meant for the generator that x replaces
    x, h0, c0 = spec.input if x is None else x, spec.h0 if h0 is None else h0, spec.c0 if c0 is None else c0
    if x is None:
        allowed = f"a tensor or an array (T, {spec.input_size}), or {sources.FORMS}"
        raise SequenceError("no input was given", allowed=allowed, where=where(("input",)))
    if sum(isinstance(given, str) and given.strip() == "-" for given in (x, h0, c0)) > 1:
        advice = "give the other one as a file"
        raise SequenceError("standard input (-) can be read only once", advice=advice, where=where(("h0",)))
    if (made := sources.generator_in(x)) and made.count:  # a file's reader looks at the file's own size
        needed = require_memory(spec, made.count, spec.batch or 1)
        free_memory.require(needed, f"running {x} through this network", where(("input",)))
    found = _input(spec, x, generator, where).to(dtype)
    batched = found.dim() == 3
    found = (found.transpose(0, 1) if spec.batch_first else found) if batched else found[:, None]
    steps, batch = found.shape[:2]
    free_memory.require(require_memory(spec, steps, batch), "this run")

    def state(name: str, given: Any, units: int) -> Tensor:
        shape = (len(spec.places), batch, units) if batched else (len(spec.places), units)
        initial = _state(name, given, shape, spec, steps, generator, where).to(dtype)
        return (initial if batched else initial[:, None]).contiguous()

    h = state("h0", h0, spec.output_size)
    if c0 is not None and not spec.cell_type.has_cell_state:
        raise SequenceError(f"cell {spec.cell} has no cell state", advice="leave c0 out", where=where(("c0",)))
    c = state("c0", c0, spec.units("c")) if spec.cell_type.has_cell_state else None
    return Sequence(found, h, c, _lengths(spec, steps, batch, batched, where), batched)


def input_of(spec: Spec, where: Where) -> Tensor:
    """The spec's input alone, in the shape in which it is written; a generator makes it in the spec's sizes. randint
    makes what an embedding takes: (T,) or, as `batch_first` says, (B, T) or (T, B) of int64."""
    if made := sources.generator_in(spec.input):
        width = 1 if made.kind == "randint" else spec.input_size
        size = 8 * (made.count or 0) * (spec.batch or 1) * width
        free_memory.require(size, f"drawing {spec.input}", where(("input",)))
        x = _drawn(spec, made, width, drawing.generator_of(spec), where(("input",)))
        return x[..., 0] if made.kind == "randint" else x
    return numbers_of(spec.input, "input", where)


def _input(spec: Spec, given: Any, generator: Generator, where: Where) -> Tensor:
    """x with one column for each feature: (T, I), or with a batch axis as `batch_first` says."""
    place = where(("input",))
    if source := sources.generator_in(given):
        x = _drawn(spec, source, spec.input_size, generator, place)
    elif spec.batch is not None:
        found = "batch is for generators such as randn:100; this input has its own batch size"
        raise SequenceError(found, advice="leave batch out", where=where(("batch",)))
    else:
        x = numbers_of(given, "input", where)
    if x.dim() == 1:
        x = x[:, None]
    with_batch = "(B, T, {0})" if spec.batch_first else "(T, B, {0})"
    allowed = f"(T, {{0}}) or {with_batch}".format(spec.input_size)
    if x.dim() not in (2, 3):
        raise SequenceError(f"x has the shape {tuple(x.shape)}", allowed=allowed, where=place)
    if 0 in x.shape:
        raise SequenceError(f"x has the shape {tuple(x.shape)}, which is empty", allowed=allowed, where=place)
    if x.shape[-1] != spec.input_size:
        if elsewhere := axes.features_elsewhere(x.shape, spec.input_size):
            raise SequenceError(elsewhere[0], advice=elsewhere[1], where=place)
        features = "1 feature" if x.shape[-1] == 1 else f"{x.shape[-1]} features"
        found = f"x has {features} per step, input_size is {spec.input_size}"
        raise SequenceError(found, allowed=f"the shape {allowed}", where=place)
    return x


def _drawn(spec: Spec, source: sources.Generator, width: int, generator: Generator, place: str) -> Tensor:
    """What a generator makes for x: so many steps of `width` numbers, with a batch axis where the spec has a batch."""
    if not source.count:
        steps = sources.EXAMPLES[source.kind].split(":")[1]
        advice = f"write {sources.EXAMPLES[source.kind]} for {steps} steps"
        raise SequenceError(f"{source} needs a length", advice=advice, where=place)
    shape = [source.count, width]
    batch_axis = 0 if spec.batch_first else 1
    if spec.batch is not None:
        shape.insert(batch_axis, spec.batch)
    return _generated(source, tuple(shape), batch_axis, generator, place)


def _generated(
    source: sources.Generator, shape: tuple[int, ...], batch_axis: int, generator: Generator, place: str
) -> Tensor:
    """Numbers of that shape: (rows, columns), or with a batch axis the same for each of its items, unless random.

    ramp counts the rows 1, 2, 3, …; impulse is 1 in the first row; sine has i + 1 periods in column i.
    """
    if source.kind == "randn":
        return drawing.draw_normal(shape, generator)
    if source.kind == "randint":
        if not source.below:
            advice = f"write {sources.RANDINT} for 20 integers from 0 to 4999"
            raise SequenceError(f"{source} needs an upper limit", advice=advice, where=place)
        return torch.randint(source.below, shape, generator=generator, device="cpu")
    rows = shape[0] if len(shape) == 2 else shape[1 - batch_axis]
    at = torch.arange(rows, dtype=torch.float64)[:, None]
    match source.kind:
        case "ramp":
            values = at + 1
        case "impulse":
            values = (at == 0).double()
        case "sine":
            values = torch.sin(2 * math.pi * at * torch.arange(1, shape[-1] + 1) / rows)
        case _:
            values = torch.full_like(at, source.kind == "ones")
    return (values if len(shape) == 2 else values.unsqueeze(batch_axis)).expand(shape).contiguous()


def _state(
    name: str, given: Any, shape: tuple[int, ...], spec: Spec, steps: int, generator: Generator, where: Where
) -> Tensor:
    """h0 or c0, (L·D, B, units), or (L·D, units) beside an x without a batch axis; zeros where none is given."""
    if given is None:
        return torch.zeros(shape)
    if source := sources.generator_in(given):
        if source.count not in (None, shape[0]):
            found = f"{given} gives {source.count} initial states, the network needs {shape[0]} (layers × directions)"
            raise SequenceError(found, advice=f"write {source.kind}", where=where((name,)))
        return _generated(source, shape, 1, generator, where((name,)))
    state = numbers_of(given, name, where)
    if tuple(state.shape) != shape:
        if spec.batch is None and len(shape) == 3 and tuple(state.shape) == (shape[0], steps, shape[2]):
            found, advice = axes.only_exchanged(f"{name} {tuple(state.shape)}", spec)
            raise SequenceError(found, advice=advice, where=where((name,)))
        named = ["layers × directions" if spec.bidirectional else "layers", *["batch"] * (len(shape) == 3), "units"]
        allowed = f"({', '.join(named)}) = {shape}"
        raise SequenceError(f"{name} has the shape {tuple(state.shape)}", allowed=allowed, where=where((name,)))
    return state


def numbers_of(given: Any, name: str, where: Where) -> Tensor:
    """The numbers of anything but a generator, on the CPU."""
    if isinstance(given, tuple | list):
        return text.from_lists(_plain(given), lambda at: where((name, *at)))
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if not isinstance(given, str):
        return tensors.from_anything(given, where((name,)))
    match sources.parse(given):
        case sources.Literal(numbers):
            return text.parse_json(numbers, where((name,)))
        case sources.StandardInput():
            return arrays.parse_bytes(_standard_input(), "standard input")
        case sources.File() as file:
            near = nearest(str(file.path).partition(":")[0], sources.EXAMPLES)
            if (near or not file.path.suffix) and not sources.is_there(file.path):
                found = f"there is no file or generator {str(file)!r}"
                meant, advice = (sources.EXAMPLES[near], None) if near else (None, "try randn:20")
                raise SequenceError(found, nearest=meant, advice=advice, where=where((name,)))
            array = tensors.checked(arrays.read_array(file.path, file.member), str(file))
            return array.detach() if array.is_contiguous() else tensors.real(array, str(file))
    raise AssertionError(given)


def _plain(numbers: Any) -> Any:
    """Lists of tensors, arrays or numpy's numbers as lists of Python's."""
    if hasattr(numbers, "tolist"):
        return _plain(numbers.tolist())
    return [_plain(item) for item in numbers] if isinstance(numbers, list | tuple) else numbers


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise SequenceError("standard input is closed", advice="give it numbers: -i - < x.csv", where="-")
    try:
        data = sys.stdin.buffer.read(arrays.MAX_PIPE + 1)
    except OSError as error:
        raise SequenceError(f"standard input cannot be read: {why(error)}", where="-") from None
    if len(data) > arrays.MAX_PIPE:
        limit = free_memory.in_words(arrays.MAX_PIPE)
        raise SequenceError("standard input has too much data", allowed=f"at most {limit}")
    if not data.strip():
        raise SequenceError("standard input is empty", allowed=".npy, .npz, JSON or rows of numbers")
    return data


def _lengths(spec: Spec, steps: int, batch: int, batched: bool, where: Where) -> tuple[int, ...] | None:
    if spec.lengths is None:
        return None
    place = where(("lengths",))
    if not batched:
        found = "lengths are for a batch, and this x has no batch axis"
        raise SequenceError(found, advice="leave lengths out", where=place)
    if len(spec.lengths) == steps != batch and max(spec.lengths) <= batch:
        found, advice = axes.only_exchanged(f"a list of {len(spec.lengths)} lengths", spec)
        raise SequenceError(found, advice=advice, where=place)
    if len(spec.lengths) != batch:
        found = f"{counted(len(spec.lengths), 'length')} for a batch of {counted(batch, 'sequence')}"
        raise SequenceError(found, allowed=f"{batch}", where=place)
    for index, length in enumerate(spec.lengths):
        if length > steps:
            found = f"a sequence of length {length} in a batch of {counted(steps, 'step')}"
            raise SequenceError(found, allowed=f"1 to {steps}", where=where(("lengths", index)))
    return tuple(spec.lengths)
