"""The sequence that a network runs: x with h0, c0 and lengths, from wherever they are written."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from rnnspect.errors import SequenceError, nearest
from rnnspect.files import arrays, memory, sources, text
from rnnspect.network import drawing, tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from torch import Generator, Tensor

    from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Sequence:
    """Time-major: x (T, B, I), h0 (L·D, B, P), c0 (L·D, B, H) or None; a length for each item of the batch or None.

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

    @property
    def state(self) -> tuple[Tensor, ...]:
        """(h0,) or (h0, c0)."""
        return (self.h0,) if self.c0 is None else (self.h0, self.c0)

    def valid(self) -> Tensor | None:
        """(T, B): true where a step is inside its item's length. None where there is no padding."""
        if self.lengths is None or min(self.lengths) == self.steps:
            return None
        return torch.arange(self.steps)[:, None] < torch.tensor(self.lengths)

    def first(self, steps: int, items: int | None = None) -> Self:
        """Its first steps, of all items of the batch or of the first ones."""
        c0 = None if self.c0 is None else self.c0[:, :items].contiguous()
        lengths = self.lengths and tuple(min(length, steps) for length in self.lengths[:items])
        x, h0 = self.x[:steps, :items].contiguous(), self.h0[:, :items].contiguous()
        return replace(self, x=x, h0=h0, c0=c0, lengths=lengths)

    def to(self, device: torch.device) -> Self:
        c0 = None if self.c0 is None else self.c0.to(device)
        return type(self)(self.x.to(device), self.h0.to(device), c0, self.lengths, self.batched)


def sequence_of(
    spec: Spec,
    generator: Generator,
    where: Callable[[tuple[int | str, ...]], str],
    require_memory: Callable[[Spec, int, int], int],
    x: Any = None,
    h0: Any = None,
    c0: Any = None,
) -> Sequence:
    """x, h0, c0 and lengths as the spec writes them, or as given: tensors, arrays, nested lists, source strings.

    Random ones are drawn from `generator` in that order. `require_memory` estimates what the work needs.

    Raises `SequenceError` for numbers that do not fit the spec, `ResourceError` before memory is taken.
    """
    dtype = getattr(torch, spec.dtype)
    given_x = spec.input if x is None else x
    given_h0 = spec.h0 if h0 is None else h0
    given_c0 = spec.c0 if c0 is None else c0
    if x is not None and not _is_generator(x):
        spec = spec.with_changes(batch=None)  # it was meant for the generator that x replaces
    if given_x is None:
        raise SequenceError("no input", allowed=sources.FORMS, where=where(("input",)))
    if sum(isinstance(given, str) and given.strip() == "-" for given in (given_x, given_h0, given_c0)) > 1:
        raise SequenceError("standard input twice", allowed="- once", where=where(("h0",)))
    _check_memory(spec, given_x, where, require_memory)
    found = _input(spec, given_x, generator, where).to(dtype)
    batched = found.dim() == 3
    found = (found.transpose(0, 1) if spec.batch_first else found) if batched else found[:, None]
    steps, batch = found.shape[:2]
    memory.require(require_memory(spec, steps, batch), "this run")
    stacked = spec.num_layers * spec.num_directions
    states: list[Tensor | None] = []
    for name, given, units in (("h0", given_h0, spec.output_size), ("c0", given_c0, spec.hidden_size)):
        if name == "c0" and not spec.cell_type.has_cell_state:
            if given is not None:
                raise SequenceError(f"cell {spec.cell} has no cell state", allowed="leave c0 out", where=where(("c0",)))
            states.append(None)
        else:
            shape = (stacked, batch, units) if batched else (stacked, units)
            state = _state(name, given, shape, spec.bidirectional, generator, where).to(dtype)
            states.append(state if batched else state[:, None])
    assert states[0] is not None
    lengths = _lengths(spec, steps, batch, batched, where)
    return Sequence(found, states[0].contiguous(), states[1], lengths, batched)


def input_of(spec: Spec, where: Callable[[tuple[int | str, ...]], str]) -> Tensor:
    """The spec's input alone, as it is written, for a model that takes it whatever its shape; a generator makes it in
    the spec's sizes."""
    if _is_generator(spec.input):
        return _input(spec, spec.input, drawing.generator_of(spec), where)
    return _numbers(spec.input, "input", where)


def _is_generator(given: Any) -> bool:
    return isinstance(given, str) and isinstance(sources.parse(given), sources.Generator)


def _check_memory(
    spec: Spec,
    given: Any,
    where: Callable[[tuple[int | str, ...]], str],
    require_memory: Callable[[Spec, int, int], int],
) -> None:
    """A generator says how much it will make; a file's reader looks at the file's own size."""
    if isinstance(given, str) and isinstance(source := sources.parse(given), sources.Generator) and source.count:
        needed = require_memory(spec, source.count, spec.batch or 1)
        memory.require(needed, f"running {given} through this network", where(("input",)))


def _input(spec: Spec, given: Any, generator: Generator, where: Callable[[tuple[int | str, ...]], str]) -> Tensor:
    place = where(("input",))
    source = sources.parse(given) if isinstance(given, str) else None
    if isinstance(source, sources.Generator):
        if not source.count:
            raise SequenceError(f"{given} makes no steps", allowed=f"{source.kind}:3 for 3 steps", where=place)
        x = _generated(spec, source.kind, source.count, generator)
    else:
        if spec.batch is not None:
            allowed = "batch goes with a generator such as randn:100"
            raise SequenceError(
                "a batch size beside an input that has its own", allowed=allowed, where=where(("batch",))
            )
        x = _numbers(given, "input", where)
    if x.dim() == 1:
        x = x[:, None]
    axes = "(B, T, {0})" if spec.batch_first else "(T, B, {0})"
    allowed = f"(T, {{0}}) or {axes}".format(spec.input_size)
    if x.dim() not in (2, 3):
        raise SequenceError(f"x of shape {_shape(x)}", allowed=allowed, where=place)
    if 0 in x.shape:
        raise SequenceError(f"x of shape {_shape(x)} has no steps", allowed=allowed, where=place)
    if x.shape[-1] != spec.input_size:
        found = f"x has {_features(x.shape[-1])} at each step, input_size is {spec.input_size}"
        raise SequenceError(found, allowed=f"x of shape {allowed}", where=place)
    return x


def _generated(spec: Spec, kind: str, steps: int, generator: Generator) -> Tensor:
    """(T, I), or with a batch size the batch in the layout that the spec asks for."""
    if kind == "randn":
        if spec.batch is None:
            return drawing.draw_normal((steps, spec.input_size), generator)
        first = (spec.batch, steps) if spec.batch_first else (steps, spec.batch)
        return drawing.draw_normal((*first, spec.input_size), generator)
    one = _pattern(kind, steps, spec.input_size)
    if spec.batch is None:
        return one
    return torch.stack([one] * spec.batch, dim=0 if spec.batch_first else 1)


def _pattern(kind: str, count: int, width: int) -> Tensor:
    """(count, width): ramp counts 1, 2, 3, …; impulse is 1 in the first row; sine gives column i i + 1 periods."""
    at = torch.arange(count, dtype=torch.float64)[:, None]
    match kind:
        case "ramp":
            column = at + 1
        case "impulse":
            column = (at == 0).double()
        case "sine":
            return torch.sin(2 * math.pi * at * torch.arange(1, width + 1) / count)
        case _:
            column = torch.full_like(at, kind == "ones")
    return column.repeat(1, width)


def _state(
    name: str,
    given: Any,
    shape: tuple[int, ...],
    bidirectional: bool,
    generator: Generator,
    where: Callable[[tuple[int | str, ...]], str],
) -> Tensor:
    if given is None:
        return torch.zeros(shape)
    axes = ["layers × directions" if bidirectional else "layers", "batch", "units"]
    if len(shape) == 2:
        del axes[1]
    allowed = f"({', '.join(axes)}) = {shape}"
    source = sources.parse(given) if isinstance(given, str) else None
    if isinstance(source, sources.Generator):
        if source.count not in (None, shape[0]):
            found = f"{given} makes {source.count} states"
            raise SequenceError(found, allowed=f"{source.kind} or {source.kind}:{shape[0]}", where=where((name,)))
        if source.kind == "randn":
            return drawing.draw_normal(shape, generator)
        pattern = _pattern(source.kind, shape[0], shape[-1])
        return pattern if len(shape) == 2 else pattern[:, None].repeat(1, shape[1], 1)
    state = _numbers(given, name, where)
    if tuple(state.shape) != shape:
        raise SequenceError(f"{name} of shape {_shape(state)}", allowed=allowed, where=where((name,)))
    return state


def _numbers(given: Any, name: str, where: Callable[[tuple[int | str, ...]], str]) -> Tensor:
    """The numbers of anything but a generator, on the CPU."""
    if isinstance(given, tuple):
        given = list(given)
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if not isinstance(given, str | list):
        return tensors.from_anything(given, where((name,)))
    match sources.parse(given):
        case sources.Literal(numbers=str() as written):
            return text.parse_json(written, where((name,)))
        case sources.Literal(numbers=list() as lists):
            return text.from_lists(_plain(lists), lambda at: where((name, *at)))
        case sources.StandardInput():
            return arrays.parse_bytes(_standard_input(), "standard input")
        case sources.File() as file:
            near = nearest(str(file.path).partition(":")[0], sources.GENERATORS)
            if near and not sources.is_there(file.path):
                found = f"no file is called {str(file)!r}"
                raise SequenceError(found, allowed=sources.FORMS, nearest=f"{near}:3", where=where((name,)))
            array = tensors.checked(arrays.read_array(file.path, file.member), str(file))
            return array.detach() if array.is_contiguous() else tensors.real(array, str(file))
    raise AssertionError(given)


def _plain(numbers: Any) -> Any:
    """Lists of tensors, arrays or numpy's numbers as lists of Python's."""
    if hasattr(numbers, "tolist"):
        return _plain(numbers.tolist())
    return [_plain(item) for item in numbers] if isinstance(numbers, list | tuple) else numbers


def _standard_input() -> bytes:
    data = sys.stdin.buffer.read(arrays.MAX_PIPE + 1)
    if len(data) > arrays.MAX_PIPE:
        raise SequenceError("too much on standard input", allowed=memory.in_words(arrays.MAX_PIPE))
    if not data.strip():
        raise SequenceError("nothing came through standard input", allowed=".npy, .npz, JSON or rows of numbers")
    return data


def _lengths(
    spec: Spec,
    steps: int,
    batch: int,
    batched: bool,
    where: Callable[[tuple[int | str, ...]], str],
) -> tuple[int, ...] | None:
    if spec.lengths is None:
        return None
    place = where(("lengths",))
    if not batched:
        raise SequenceError("lengths beside an x without a batch axis", allowed="a batch, or no lengths", where=place)
    if len(spec.lengths) != batch:
        found = f"{len(spec.lengths)} lengths for a batch of {batch}"
        raise SequenceError(found, allowed="one length a sequence", where=place)
    for index, length in enumerate(spec.lengths):
        if length > steps:
            found = f"length {length} in a batch of {steps} steps"
            raise SequenceError(found, allowed=f"1 to {steps}", where=where(("lengths", index)))
    return tuple(spec.lengths)


def _shape(tensor: Tensor) -> str:
    return "(" + ", ".join(map(str, tensor.shape)) + ("," if tensor.dim() == 1 else "") + ")"


def _features(count: int) -> str:
    return "1 feature" if count == 1 else f"{count} features"
