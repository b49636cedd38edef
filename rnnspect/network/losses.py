"""The loss whose gradients are asked for: from what a network returns to dL/d output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnspect.errors import InputError, Problem, SequenceError, nearest
from rnnspect.files.arrays import read_recording
from rnnspect.files.sources import SUFFIXES, File, Generator, is_there, parse
from rnnspect.network.drawing import draw_normal, generator_of
from rnnspect.network.gradients import Upstream
from rnnspect.network.sequence import Sequence, numbers_of
from rnnspect.network.spec import Spec

SAID = {
    "sum": "the sum of the output",
    "mean": "the mean of the output",
    "last": "the sum of the output at each item's last step",
}
"""What each loss is, in words, for those that need nothing but the output."""
FORMS = "sum, mean, last, drawn, drawn:h_n, FILE with dL/d output, or mse:FILE with a target"
_GRADIENT = "grad."
"""What the names of a recording's gradients begin with."""
_OF_OBJECTS = f"an array of dL/d output, or one of {FORMS}"
_TARGET = "mse:"
DRAWN = "drawn"
"""Standard normal numbers, the same for the same spec: dL/d output; by drawn:h_n,c_n those of final states, too."""


@dataclass(frozen=True)
class Loss:
    """A scalar L of what a network returns. `kind` is sum, mean or last; or given, where `values` (T, B, D·P) are
    dL/d output; or mse, where they are the target. `finals` are dL/dh_n and dL/dc_n (L·D, B, ·), where L depends on
    them. `said` is the loss in words."""

    kind: str
    said: str
    values: Tensor | None = None
    finals: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def needs_output(self) -> bool:
        """Whether dL/d output depends on the output."""
        return self.kind == "mse"

    def of(
        self, output: Tensor, sequence: Sequence, ended: Mapping[str, Tensor] | None = None
    ) -> tuple[float, Upstream]:
        """L and its gradients for this output (T, B, D·P), and these h_n and c_n. What is beyond an item's length
        counts nowhere."""
        inside = _inside(output, sequence, 0)
        y, g = torch.where(inside, output.double(), 0), self._gradient(output, sequence, 0)
        count = _count(output, sequence)
        match self.kind:
            case "sum":
                value = y.sum()
            case "mean":
                value = y.sum() / count
            case "mse":
                value = (torch.where(inside, y - self._values(output, 0), 0) ** 2).sum() / count
            case _:
                value = torch.where(g == 0, 0, y * g).sum()
        for name, state in (ended or {}).items():
            if name in self.finals:
                value = value + (state.double() * self.finals[name].to(state.device)).sum()
        finals = {name: one.to(output) for name, one in self.finals.items()}
        return float(value), Upstream(g.to(output.dtype).contiguous(), **finals)

    def of_piece(self, output: Tensor, sequence: Sequence, start: int) -> Tensor:
        """dL/d output of some steps (n, B, D·P) of the sequence, from `start` on, for what was returned there."""
        return self._gradient(output, sequence, start).to(output.dtype).contiguous()

    def _gradient(self, output: Tensor, sequence: Sequence, start: int) -> Tensor:
        inside = _inside(output, sequence, start)
        ones = inside.double().expand(output.shape)
        match self.kind:
            case "sum":
                return ones
            case "mean":
                return ones / _count(output, sequence)
            case "last":
                return ones * (_places(output, start) == sequence.step_counts(output.device) - 1)[..., None]
            case "given":
                return torch.where(inside, self._values(output, start), 0)
        apart = torch.where(inside, torch.where(inside, output.double(), 0) - self._values(output, start), 0)
        return 2 * apart / _count(output, sequence)

    def _values(self, output: Tensor, start: int) -> Tensor:
        assert self.values is not None
        return self.values[start : start + len(output)].to(output.device).double()


def _places(output: Tensor, start: int) -> Tensor:
    """(n, 1): the steps of the sequence to which an output (n, B, ·) from `start` on belongs."""
    return torch.arange(start, start + len(output), device=output.device)[:, None]


def _inside(output: Tensor, sequence: Sequence, start: int) -> Tensor:
    """(n, B, 1): whether the item has that step."""
    return (_places(output, start) < sequence.step_counts(output.device))[..., None]


def _count(output: Tensor, sequence: Sequence) -> int:
    """How many numbers the network returns, without padding."""
    return int(sequence.step_counts().sum()) * output.shape[-1]


def loss_of(given: Any, spec: Spec, sequence: Sequence, where: str) -> Loss:
    """The loss that was asked for: sum, mean, last, drawn, drawn:h_n, mse:FILE, or dL/d output as a file or an array.

    An array has the shape of the output: (T, D·P), or of a batch (T, B, D·P), with `batch_first` (B, T, D·P). A file
    may be a recording of gradients: of its grad.output, grad.h_n and grad.c_n what is left out is zero.

    Raises `SequenceError` for another word or another shape, `FileError` for a file that cannot be read.
    """
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if not isinstance(given, str):
        return Loss("given", "the sum of dL/d output ⊙ output", _of_output(given, "dL/d output", spec, sequence, where))
    word = given.strip()
    if word in SAID:
        return Loss(word, SAID[word])
    if word.partition(":")[0] == DRAWN:
        return _drawn(word, spec, sequence, where)
    if word.startswith(_TARGET):
        target = _of_output(word.removeprefix(_TARGET), "the target", spec, sequence, where)
        return Loss("mse", f"the mean squared difference to {word.removeprefix(_TARGET)}", target)
    if (recorded := _recorded(word, spec, sequence, where)) is not None:
        return recorded
    return Loss("given", f"the sum of {word} ⊙ output", _of_output(word, "dL/d output", spec, sequence, where))


def _recorded(word: str, spec: Spec, sequence: Sequence, where: str) -> Loss | None:
    """The loss whose gradients by what the network returned are in a recording; None for a file without them."""
    file = parse(word)
    if not isinstance(file, File) or file.path.suffix.lower() not in SUFFIXES or not is_there(file.path):
        return None
    try:
        arrays = read_recording(file.path, file.member)
    except InputError as error:
        raise type(error)(_placed(error.problems, where)) from None
    if isinstance(arrays, Tensor):
        return None
    names = ("output", *(f"{name}_n" for name in spec.cell_type.states))
    given = {name: arrays[_GRADIENT + name] for name in names if _GRADIENT + name in arrays}
    if not given:
        return None
    said = " + ".join(f"{_GRADIENT}{name} ⊙ {name}" for name in given)
    values = torch.zeros(sequence.steps, sequence.batch, spec.output_width)
    if "output" in given:
        values = _of_output(given.pop("output"), f"{word}: {_GRADIENT}output", spec, sequence, where)
    finals = {name: _of_final(g, name, spec, sequence, where) for name, g in given.items()}
    return Loss("given", f"the sum of {said} of {word}", values, finals)


def _of_final(given: Tensor, name: str, spec: Spec, sequence: Sequence, where: str) -> Tensor:
    """dL/d of a final state, (L·D, B, ·); of a batch of one also without its axis."""
    shape = (len(spec.places), sequence.batch, spec.units(name.removesuffix("_n")))
    if tuple(given.shape) != shape and (sequence.batch > 1 or tuple(given.shape) != (shape[0], shape[2])):
        found, allowed = f"{_GRADIENT}{name} has the shape {tuple(given.shape)}", f"that of {name}, {shape}"
        raise SequenceError(found, allowed=allowed, where=where)
    if not bool(given.isfinite().all()):
        raise SequenceError(f"{_GRADIENT}{name} contains NaN or infinity", allowed="finite numbers", where=where)
    return given.reshape(shape)


def drawn_with(names: Iterable[str]) -> str:
    """The loss that draws the gradients of the output and of these final states."""
    return ":".join(filter(None, (DRAWN, ",".join(names))))


def finals_drawn(spec: Spec, batch: int) -> dict[str, Tensor]:
    """Drawn gradients of h_n and c_n, by these names."""
    generator = generator_of(spec.with_changes(seed=(spec.seed + 1) % 2**64))  # not the numbers of dL/d output again
    shapes = {f"{name}_n": (len(spec.places), batch, spec.units(name)) for name in spec.cell_type.states}
    return {name: draw_normal(shape, generator) for name, shape in shapes.items()}


def _drawn(word: str, spec: Spec, sequence: Sequence, where: str) -> Loss:
    shape = (sequence.steps, sequence.batch, spec.output_width)
    values = draw_normal(shape, generator_of(spec))
    finals = finals_drawn(spec, sequence.batch)
    names = [name.strip() for name in word.partition(":")[2].split(",")] if ":" in word else []
    for name in names:
        if name not in finals:
            raise SequenceError.unknown(f"there is no final state {name!r}", name, finals, where)
    said = " + ".join(f"dL/d {name} drawn ⊙ {name}" for name in ("output", *names))
    return Loss("given", said, values, {name: finals[name] for name in names})


def _of_output(given: Any, name: str, spec: Spec, sequence: Sequence, where: str) -> Tensor:
    """Numbers in the shape of the output, time-major."""
    if isinstance(given, str):
        _check_source(given, where)
    values = _numbers(given, where)
    width = spec.output_width
    steps, batch = sequence.steps, sequence.batch
    axes: str
    shape: tuple[int, ...]
    if not sequence.batched:
        axes, shape = "(step, unit)", (steps, width)
    elif spec.batch_first:
        axes, shape = "(batch, step, unit)", (batch, steps, width)
    else:
        axes, shape = "(step, batch, unit)", (steps, batch, width)
    if not sequence.batched and values.dim() == 3:  # a batch of one, as the file of a trace has it
        values = values.squeeze(0 if spec.batch_first else 1)
    if tuple(values.shape) != shape:
        found, allowed = f"{name} has the shape {tuple(values.shape)}", f"that of the output, {axes} = {shape}"
        turned = sequence.batched and tuple(values.shape) == (*shape[1::-1], width)
        advice = "its first two axes are swapped: y.swapaxes(0, 1) fits" if turned else None
        raise SequenceError(found, allowed=allowed, advice=advice, where=where)
    if not sequence.batched:
        values = values[:, None]
    elif spec.batch_first:
        values = values.transpose(0, 1)
    _check_finite(values, name, sequence, where)
    return values


def _numbers(given: Any, where: str) -> Tensor:
    """The numbers of a file or an array."""
    try:
        return numbers_of(given, "loss", lambda _keys: where)
    except InputError as error:
        if isinstance(given, str):
            raise type(error)(_placed(error.problems, where)) from None
        if isinstance(given, list | tuple) or hasattr(given, "__array__"):
            raise
        found = f"a loss cannot be a {type(given).__name__}"
        advice = "pass the gradient that it gives, dL/d output" if callable(given) else None
        raise SequenceError(found, allowed=_OF_OBJECTS, advice=advice, where=where) from error


def _placed(problems: Iterable[Problem], where: str) -> Iterator[Problem]:
    """The problems of a file, with the option that names it."""
    for one in problems:
        placed = (one.where or "").startswith(where)
        yield one if placed else replace(one, where=f"{where}: {one.where}" if one.where else where)


def _check_finite(values: Tensor, name: str, sequence: Sequence, where: str) -> None:
    """Raises `SequenceError` for NaN or infinity (T, B, ·) within an item's length: no gradient is known then."""
    bad = ~values.double().isfinite()
    if (valid := sequence.valid()) is not None:
        bad &= valid[..., None]
    if bool(bad.any()):
        step, item, unit = (int(at) for at in bad.nonzero()[0])
        kind = "NaN" if bool(values[step, item, unit].isnan()) else "infinity"
        at = f"step {step}, batch item {item}, unit {unit}" if sequence.batched else f"step {step}, unit {unit}"
        raise SequenceError(f"{name} contains {kind} at {at}", allowed="finite numbers", where=where)


def _check_source(given: str, where: str) -> None:
    """Raises `SequenceError` for a word that is neither a loss nor a file."""
    if given in ("mse", ""):
        found, advice = "there is no file with the target", "name it, as in mse:target.npy"
        raise SequenceError(found, allowed=FORMS, advice=advice, where=where)
    source = parse(given)
    if isinstance(source, Generator):
        raise SequenceError(f"{given!r} is a generator, and no loss", allowed=FORMS, where=where)
    path = Path(given)
    is_source = given.startswith("[") or given == "-" or path.suffix or is_there(path)
    if not is_source:
        near = nearest(given, (*SAID, DRAWN, _TARGET.rstrip(":")))
        raise SequenceError(f"there is no loss or file {given!r}", allowed=FORMS, nearest=near, where=where)
