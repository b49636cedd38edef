"""The shapes that a recording of one run may have, and whether what it keeps of its inputs is what this run has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.errors import SequenceError
from rnnspect.judging.recorded_precision import kept_exactly
from rnnspect.judging.rounding import RecordedPrecision, Rounding
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.network.tensors import first_apart

INPUTS = ("x", "h0", "c0", "lengths")
_STEP, _STATE, _ROW = ("step", "batch", "unit"), ("place", "batch", "unit"), ("row", "column")


@dataclass(frozen=True)
class RecordedShapes:
    """`batched` says whether the run's x has a batch axis; a batch of one may be recorded without."""

    spec: Spec
    steps: int
    batch: int
    batched: bool

    def fits(self, given: Any, units: int) -> bool:
        """Whether this has the shape of a sequence, in either layout."""
        T, B = self.steps, self.batch
        shape = tuple(getattr(given, "shape", ()))
        return shape in {(T, B, units), (B, T, units)} or (B == 1 and shape == (T, units))

    def sequence(self, name: str, values: Tensor, units: int, batch_major: bool, where: str) -> Tensor:
        """Time-major (T, B, units). `batch_major` says which layout is meant where both would fit.

        Raises `SequenceError` for another shape.
        """
        T, B = self.steps, self.batch
        first = batch_major or self.spec.batch_first
        shape = tuple(values.shape)
        if B == 1 and shape == (T, units):
            return values.unsqueeze(1)
        if shape == (B, T, units) and (first or shape != (T, B, units)):
            return values.transpose(0, 1)
        if shape == (T, B, units):
            return values
        axes: tuple[str, ...] = ("batch", "step", "unit") if first else ("step", "batch", "unit")
        sizes: tuple[int, ...] = (B, T, units) if first else (T, B, units)
        if not self.batched:
            axes, sizes = ("step", "unit"), (T, units)
        raise _wrong(name, shape, axes, sizes, where)

    def state(self, name: str, values: Tensor, units: int, where: str) -> Tensor:
        """(L·D, B, units). Raises `SequenceError` for another shape."""
        shape = tuple(values.shape)
        places = self.spec.num_layers * self.spec.num_directions
        if self.batch == 1 and shape == (places, units):
            return values.unsqueeze(1)
        if shape == (places, self.batch, units):
            return values
        axes: tuple[str, ...] = ("layers × directions" if self.spec.bidirectional else "layers", "batch", "unit")
        sizes: tuple[int, ...] = (places, self.batch, units)
        if not self.batched:
            axes, sizes = (axes[0], axes[2]), (places, units)
        raise _wrong(name, shape, axes, sizes, where)


def check_inputs(
    inputs: Mapping[str, Tensor],
    sequence: Sequence,
    parameters: Mapping[str, Tensor],
    shapes: RecordedShapes,
    where: Callable[[str | None], str],
    said: Rounding | None = None,
) -> None:
    """Raises `SequenceError` where a recording holds an x, h0, c0, lengths or parameters that are not this run's.

    Equal means: but for what the recording rounded off; `said` is how, where somebody says so.
    """
    spec = shapes.spec
    dtype = getattr(torch, spec.dtype)
    if "lengths" in inputs:
        ours = sequence.lengths or (sequence.steps,) * sequence.batch
        theirs = inputs["lengths"].flatten().tolist()
        if theirs != list(ours):
            raise _another("lengths", f"{theirs}", f"{list(ours)}", where)
    numbers = {name: values for name, values in inputs.items() if name != "lengths"}
    for name, kept in kept_exactly(numbers, dtype, said).items():
        values, at = inputs[name], where(name)
        if name == "x":
            layouts = [shapes.sequence(name, values, spec.input_size, True, at)]
            if sequence.steps == sequence.batch and values.dim() == 3:
                layouts.append(values)  # nothing else says which axis is which
            apart = [_apart(layout, sequence.x, kept, _STEP, sequence.valid()) for layout in layouts]
            found = None if None in apart else apart[0]
        elif name in ("h0", "c0"):
            ours_now = sequence.h0 if name == "h0" else sequence.c0
            assert ours_now is not None
            units = spec.output_size if name == "h0" else spec.hidden_size
            found = _apart(shapes.state(name, values, units, at), ours_now, kept, _STATE)
        else:
            ours_now = parameters[name]
            if values.shape != ours_now.shape:
                raise _wrong(name, tuple(values.shape), _ROW[: ours_now.dim()], ours_now.shape, at)
            found = _apart(values, ours_now, kept, _ROW)
        if found:
            raise _another(name, *found, where)


def _apart(
    theirs: Tensor, ours: Tensor, kept: RecordedPrecision, axes: tuple[str, ...], valid: Tensor | None = None
) -> tuple[str, str] | None:
    """The first number that is another, with its place, and ours; None where all are equal."""
    at = first_apart(theirs, ours, kept.relative + torch.finfo(ours.dtype).eps, kept.absolute, valid)
    if at is None:
        return None
    place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, at, strict=False))
    return f"{theirs[at].item():.6g} at {place}", f"{ours[at].item():.6g}"


def _another(name: str, theirs: str, ours: str, where: Callable[[str | None], str]) -> SequenceError:
    found = f"the recording has another {name} than this run: {theirs}, where this run has {ours}"
    return SequenceError(found, allowed=f"the same {name}, or a recording without it", where=where(name))


def _wrong(
    name: str, shape: tuple[int, ...], axes: tuple[str, ...], sizes: tuple[int, ...], where: str
) -> SequenceError:
    return SequenceError(f"{name} of shape {shape}", allowed=f"({', '.join(axes)}) = {tuple(sizes)}", where=where)
