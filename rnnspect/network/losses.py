"""The loss whose gradients are asked for: from what a network returns to dL/d output."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rnnspect.errors import SequenceError, nearest
from rnnspect.files.sources import Generator, is_there, parse
from rnnspect.network.drawing import draw_normal, generator_of
from rnnspect.network.gradients import Upstream
from rnnspect.network.sequence import Sequence, numbers_of
from rnnspect.network.spec import Spec

SAID = {
    "sum": "the sum of the output",
    "mean": "the mean of the output",
    "last": "the sum of the output at each item's last step",
}
"""What each loss is that needs no numbers beside the output."""
FORMS = "sum, mean, last, drawn, FILE with dL/d output, or mse:FILE with a target"
_TARGET = "mse:"
DRAWN = "drawn"
"""dL/d output is drawn: standard normal numbers, the same for the same spec."""


@dataclass(frozen=True)
class Loss:
    """A scalar L of a network's output. `kind` is sum, mean or last; or given, where `values` (T, B, D·P) are
    dL/d output; or mse, where they are the target. `said` is the loss in words."""

    kind: str
    said: str
    values: Tensor | None = None

    @property
    def needs_output(self) -> bool:
        """Whether dL/d output depends on the output."""
        return self.kind == "mse"

    def of(self, output: Tensor, sequence: Sequence) -> tuple[float, Upstream]:
        """L and its gradients for this output (T, B, D·P). What is beyond an item's length counts nowhere."""
        valid = sequence.valid()
        inside = torch.ones(output.shape[:2], dtype=torch.bool) if valid is None else valid
        inside = inside.to(output.device)[..., None]
        y = torch.where(inside, output.double(), 0)
        count = int(inside.sum()) * output.shape[-1]
        ones = inside.double().expand_as(y)
        match self.kind:
            case "sum":
                value, g = y.sum(), ones
            case "mean":
                value, g = y.sum() / count, ones / count
            case "last":
                ends = torch.tensor([sequence.length(item) for item in range(sequence.batch)], device=output.device)
                is_last = torch.arange(sequence.steps, device=output.device)[:, None] == ends - 1
                g = ones * is_last[..., None]
                value = (y * g).sum()
            case "given":
                g = torch.where(inside, self._values(output), 0)
                value = torch.where(g == 0, 0, y * g).sum()
            case _:
                apart = torch.where(inside, y - self._values(output), 0)
                value, g = (apart**2).sum() / count, 2 * apart / count
        return float(value), Upstream(g.to(output.dtype).contiguous())

    def _values(self, output: Tensor) -> Tensor:
        assert self.values is not None
        return self.values.to(output.device).double()


def loss_of(given: Any, spec: Spec, sequence: Sequence, where: str) -> Loss:
    """The loss that was asked for: sum, mean, last, drawn, mse:FILE, or dL/d output as a file or as an array.

    An array has the shape of the output: (T, D·P), or of a batch (T, B, D·P), with `batch_first` (B, T, D·P).

    Raises `SequenceError` for another word or another shape, `FileError` for a file that cannot be read.
    """
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if not isinstance(given, str):
        return Loss("given", "the sum of dL/d output ⊙ output", _of_output(given, "dL/d output", spec, sequence, where))
    word = given.strip()
    if word in SAID:
        return Loss(word, SAID[word])
    if word == DRAWN:
        shape = (sequence.steps, sequence.batch, spec.output_size * spec.num_directions)
        return Loss("given", "dL/d output drawn ⊙ output", draw_normal(shape, generator_of(spec)))
    if word.startswith(_TARGET):
        target = _of_output(word.removeprefix(_TARGET), "the target", spec, sequence, where)
        return Loss("mse", f"the mean squared difference to {word.removeprefix(_TARGET)}", target)
    return Loss("given", f"the sum of {word} ⊙ output", _of_output(word, "dL/d output", spec, sequence, where))


def _of_output(given: Any, name: str, spec: Spec, sequence: Sequence, where: str) -> Tensor:
    """Numbers in the shape of the output, time-major."""
    if isinstance(given, str):
        _check_source(given, where)
    values = numbers_of(given, "loss", lambda _keys: where)
    width = spec.output_size * spec.num_directions
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
        advice = "its first two axes are exchanged: y.swapaxes(0, 1) fits" if turned else None
        raise SequenceError(found, allowed=allowed, advice=advice, where=where)
    if not sequence.batched:
        return values[:, None]
    return values.transpose(0, 1) if spec.batch_first else values


def _check_source(given: str, where: str) -> None:
    """Raises `SequenceError` for a word that is neither a loss nor a file."""
    source = parse(given)
    if isinstance(source, Generator):
        raise SequenceError(f"{given!r} is a generator, and no loss", allowed=FORMS, where=where)
    path = Path(given)
    is_source = given.startswith("[") or given == "-" or path.suffix or is_there(path)
    if not given or not is_source:
        near = nearest(given, (*SAID, DRAWN, _TARGET.rstrip(":")))
        raise SequenceError(f"there is no loss or file {given!r}", allowed=FORMS, nearest=near, where=where)
