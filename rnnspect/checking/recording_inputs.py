"""The shapes that a recording of one run may have, and whether what it keeps of its inputs is what this run has."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.errors import SequenceError, listed, nearest
from rnnspect.judging.recorded_precision import first_off, kept_exactly
from rnnspect.judging.rounding import RecordedPrecision, Rounding
from rnnspect.network.axes import only_exchanged
from rnnspect.network.gradients import input_names
from rnnspect.network.sequence import Sequence
from rnnspect.network.shown import counted
from rnnspect.network.spec import Spec
from rnnspect.network.tensors import first_apart

WhereArray = Callable[[str | None], str]
"""Where an array of this name is; without a name, the recording as a whole."""
INPUTS = ("x", "h0", "c0", "lengths")
_WITH_DIRECTIONS: tuple[tuple[str, ...], ...] = (
    ("step", "direction", "batch"),
    ("batch", "step", "direction"),
    ("step", "batch", "direction"),
    ("batch", "direction", "step"),
)
"""Orders of the axes of an output whose directions are an axis of their own, before that of units: ONNX with layout 0
and 1, torch's output as a view of it, and what `numpy.stack` makes of the directions."""


@dataclass(frozen=True)
class RecordedShapes:
    """The shapes that a recording of a run of this sequence may have; of a batch of one also those without a batch."""

    spec: Spec
    sequence: Sequence
    layers_batch_major: bool = True
    """Whether an array of a layer is (batch, step, unit) where its shape fits both orders."""

    @property
    def fits_both(self) -> bool:
        """Whether a sequence has the same shape in either layout."""
        return self.sequence.steps == self.sequence.batch > 1

    def fits(self, given: Any, units: int) -> bool:
        """Whether this has the shape of a sequence, in either layout."""
        T, B = self.sequence.steps, self.sequence.batch
        shape = tuple(getattr(given, "shape", ()))
        if len(shape) == 4 and units == self.spec.output_width:
            return bool(self.with_directions(shape))
        return shape in {(T, B, units), (B, T, units)} or (B == 1 and shape == (T, units))

    def with_directions(self, shape: tuple[int, ...]) -> list[tuple[str, ...]]:
        """The orders of axes that an output of this shape may have whose directions are an axis of their own."""
        sizes = {"step": self.sequence.steps, "batch": self.sequence.batch, "direction": self.spec.num_directions}
        fits = [axes for axes in _WITH_DIRECTIONS if shape == (*(sizes[axis] for axis in axes), self.spec.output_size)]
        as_x = [axes for axes in fits if (axes.index("batch") < axes.index("step")) == self.spec.batch_first]
        return as_x if self.fits_both else fits

    def joined(self, name: str, values: Tensor, where: str) -> Tensor:
        """An output in the layout of x, where its directions are an axis of their own; any other array as it is. Raises
        `SequenceError` where its shape fits two orders of axes, and they do not give the same numbers."""
        orders = self.with_directions(tuple(values.shape)) if name == "output" else []
        if not orders:
            return values
        meant = ("batch", "step", "direction") if self.spec.batch_first else ("step", "batch", "direction")
        each = [values.permute(*map(axes.index, meant), 3) for axes in orders]
        if any(first_apart(one, each[0], 0, 0) for one in each[1:]):
            either = " or ".join(f"({', '.join(axes)}, unit)" for axes in orders)
            found = f"output has the shape {tuple(values.shape)}, which may be {either}"
            raise SequenceError(found, advice="join the directions: (step, batch, directions × units)", where=where)
        return each[0].flatten(2)

    def turned(self, name: str, values: Tensor) -> str:
        """A note for an output, or a gradient by it or by x, whose axes are in another order than those of x; empty for
        any other array."""
        T, B = self.sequence.steps, self.sequence.batch
        own, other = (("batch", B), ("step", T)) if self.spec.batch_first else (("step", T), ("batch", B))
        is_sequence = name in ("output", "grad.output", "grad.x")
        if not is_sequence or T == B or tuple(values.shape[:2]) != (other[1], own[1]) or values.dim() != 3:
            return ""
        called, last = f"the {name}" if name == "output" else name, "feature" if name == "grad.x" else "unit"
        return f"{called} is read as ({other[0]}, {own[0]}, {last}), while x is ({own[0]}, {other[0]}, feature)"

    def read_as(self, names: list[str]) -> tuple[str, ...]:
        """A note for arrays of layers whose shape fits both orders, unless they are read as everything else is."""
        if not names or (self.spec.batch_first and self.layers_batch_major):
            return ()
        axes = "(batch, step, unit)", "(step, batch, unit)"
        taken, other = axes if self.layers_batch_major else axes[::-1]
        verb, whose = ("is", "its shape fits") if len(names) == 1 else ("are", "their shapes fit")
        return (f"{listed(names)} {verb} read as {taken}; {whose} {other} as well",)

    def time_major(self, name: str, values: Tensor, units: int, batch_major: bool, where: str) -> Tensor:
        """A recorded sequence as (T, B, units). `batch_major` says which layout is meant where both would fit.

        Raises `SequenceError` for another shape.
        """
        T, B = self.sequence.steps, self.sequence.batch
        shape = tuple(values.shape)
        if B == 1 and shape == (T, units):
            return values.unsqueeze(1)
        if shape == (B, T, units) and (batch_major or shape != (T, B, units)):
            return values.transpose(0, 1)
        if shape == (T, B, units):
            return values
        axes = {"batch": B, "step": T, "unit": units} if batch_major else {"step": T, "batch": B, "unit": units}
        raise self.wrong(name, values, axes, where)

    def stacked(self, name: str, values: Tensor, units: int, where: str) -> Tensor:
        """A recorded state as (L·D, B, units). Raises `SequenceError` for another shape."""
        places, batch = self.spec.num_layers * self.spec.num_directions, self.sequence.batch
        shape = tuple(values.shape)
        if batch == 1 and shape == (places, units):
            return values.unsqueeze(1)
        if shape == (places, batch, units):
            return values
        if self.sequence.batched and shape == (places, self.sequence.steps, units):
            found, advice = only_exchanged(f"{name} {shape}", self.spec)
            raise SequenceError(found, advice=advice, where=where)
        rows = "layers × directions" if self.spec.bidirectional else "layers"
        raise self.wrong(name, values, {rows: places, "batch": batch, "unit": units}, where)

    def wrong(self, name: str, values: Tensor, axes: Mapping[str, int], where: str) -> SequenceError:
        """The error for an array of another shape than that of these axes; x without a batch has no batch axis."""
        named = [axis for axis in axes if axis != "batch" or self.sequence.batched]
        meant, shape = tuple(axes[axis] for axis in named), tuple(values.shape)
        allowed = f"({', '.join(named)}) = {meant}"
        found, advice = f"{name} has the shape {shape}", None
        default = "input" not in self.spec.model_fields_set and "step" in named
        if steps := _other_steps(shape, meant, named):
            found = f"{name} has {counted(steps, 'step')}, the {'default ' * default}input has {axes['step']}"
            if name == "output" and steps == 1:
                advice = self._of_one_step()
            elif name != "x" and not name.startswith("grad.") and steps < axes["step"]:
                state = " and c0" if self.spec.cell_type.has_cell_state else ""
                these, they = ("this step", "it is") if steps == 1 else (f"these {steps} steps", "they are")
                before = f"if {they} not the first, also the state before as h0{state}"
                advice = f"pass only the x of {these}; {before}; steps with gaps cannot be checked"
        elif lacks := [axis for at, axis in enumerate(named) if (*shape[:at], 1, *shape[at:]) == meant]:
            advice = f"add its axis of {lacks[0]}, which has the size 1"
        elif sorted({1, *shape}) == sorted({1, *meant}):
            advice = "swap its axes"
        elif name in ("h_n", "c_n") and shape == (self.spec.num_directions, *meant[1:]):
            advice = f"the top layer's alone cannot be read: record {name} of every layer, or the output at every step"
        elif name == "output" and self.spec.bidirectional and shape == (*meant[:-1], self.spec.output_size):
            one = f"or one of them, as l{self.spec.num_layers - 1}.forward.h"
            advice = f"record both directions, one behind the other (merge_mode='concat' in Keras), {one}"
        elif name == "output" and shape == tuple(axes[axis] for axis in named if axis != "step"):
            advice = self._of_one_step()
        if default:
            recorded = "this x" if name == "x" else "the x of the recording"
            file = where.removeprefix("--recorded ")
            given = file if name == "x" and file.endswith(":x") else "x.npy"
            advice = f"no input was given: pass {recorded} with --input {shlex.quote(given)}"
        return SequenceError(found, allowed=allowed, where=where, advice=advice)

    def _of_one_step(self) -> str:
        """What to record in place of the output at one step, which is h_n only with a single layer and direction."""
        every = "record the output at every step"
        if self.spec.num_layers > 1 or self.spec.directions != ("forward",):
            return f"{every}, or h_n of every layer"
        batch = (self.sequence.batch,) if self.sequence.batched else ()
        return f"{every}; if this is the last step, name it h_n, with the shape {(1, *batch, self.spec.output_size)}"

    def padded(self, given: Any, where: str) -> Any:
        """A packed sequence of torch's with zeros behind its items; anything else as it is. Raises `SequenceError` for
        one of other lengths."""
        from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

        if not isinstance(given, PackedSequence):
            return given
        theirs, ours = pad_packed_sequence(given)[1].tolist(), self.sequence.step_counts().tolist()
        if theirs != ours:
            raise _another("lengths", f"{theirs}", f"{ours}", lambda _name: where)
        return pad_packed_sequence(given, self.spec.batch_first, total_length=self.sequence.steps)[0]


def _other_steps(shape: tuple[int, ...], meant: tuple[int, ...], named: list[str]) -> int:
    """The steps of an array that is of the meant shape but for these; 0 for any other."""
    if "step" not in named or len(shape) != len(meant):
        return 0
    at = named.index("step")
    rest = (*shape[:at], *shape[at + 1 :]) == (*meant[:at], *meant[at + 1 :])
    return shape[at] if rest else 0


def check_inputs(
    inputs: Mapping[str, Tensor],
    parameters: Mapping[str, Tensor],
    shapes: RecordedShapes,
    where: WhereArray,
    said: Rounding | None = None,
) -> None:
    """Raises `SequenceError` where a recording holds an x, h0, c0, lengths or parameters that are not this run's.

    Equal means: but for what the recording rounded off; `said` is how, where somebody says so.
    """
    spec, sequence = shapes.spec, shapes.sequence
    if "lengths" in inputs:
        ours = sequence.step_counts().tolist()
        theirs = inputs["lengths"].flatten().tolist()
        if theirs != ours:
            raise _another("lengths", f"{theirs}", f"{ours}", where)
    numbers = {name: values for name, values in inputs.items() if name != "lengths"}
    states = {"h0": (sequence.h0, spec.output_size), "c0": (sequence.c0, 0 if sequence.c0 is None else spec.units("c"))}
    for name, kept in kept_exactly(numbers, getattr(torch, spec.dtype), said).items():
        values, at = inputs[name], where(name)
        if name == "x":
            layouts = [shapes.time_major(name, values, spec.input_size, True, at)]
            if shapes.fits_both and values.dim() == 3:
                layouts.append(values)  # nothing else says which axis is which
            apart = [_apart(one, sequence.x, kept, ("step", "batch item", "unit"), sequence.valid()) for one in layouts]
            found = None if None in apart else apart[0]
        elif name in states:
            state, units = states[name]
            assert state is not None
            found = _apart(shapes.stacked(name, values, units, at), state, kept, ("place", "batch item", "unit"))
        else:
            axes, parameter = ("row", "column"), parameters[name]
            if values.shape != parameter.shape:
                raise shapes.wrong(name, values, dict(zip(axes, parameter.shape, strict=False)), at)
            found = _apart(values, parameter, kept, axes)
        if found:
            raise _another(name, *found, where)


def _apart(
    theirs: Tensor, ours: Tensor, kept: RecordedPrecision, axes: tuple[str, ...], valid: Tensor | None = None
) -> tuple[str, str] | None:
    """The first number that differs, with its place, and ours; None where all are equal."""
    at = first_apart(theirs, ours, kept.relative + torch.finfo(ours.dtype).eps, kept.absolute, valid)
    if at is None:
        return None
    place = ", ".join(f"{axis} {i}" for axis, i in zip(axes, at, strict=False))
    return f"{theirs[at].item():.6g} at {place}", f"{ours[at].item():.6g}"


def _another(name: str, theirs: str, ours: str, where: WhereArray) -> SequenceError:
    verb = "are" if name == "lengths" else "is"
    found = f"the recording's {name} {verb} not this run's: it has {theirs}, this run has {ours}"
    advice = f"run with the recording's {name}, or leave {name} out of the recording"
    return SequenceError(found, advice=advice, where=where(name))


def refuse_unrounded(arrays: Mapping[str, Tensor], said: Rounding | None, where: WhereArray) -> None:
    """Raises `SequenceError` where no array can have been rounded as somebody says."""
    if said is not None and (off := first_off(arrays, said)):
        found = f"{off[1]:.9g} is not rounded to {said}"
        advice = "choose a rounding that fits all numbers, or exact"
        raise SequenceError(found, advice=advice, where=where(off[0]))


def rounded_notes(how: Mapping[str, str]) -> list[str]:
    """A note for each way of rounding that was found: "output, h_n appear rounded to 2 decimals"."""
    by_how: dict[str, list[str]] = {}
    for name, said in how.items():
        by_how.setdefault(said, []).append(name)
    return [
        f"{listed(names)} {'appears' if len(names) == 1 else 'appear'} rounded to {said}"
        for said, names in by_how.items()
        if said
    ]


def unknown_array(name: str, spec: Spec, known: Iterable[str], allowed: str, where: str) -> SequenceError:
    """The error for an array that no recording of a pass forwards has."""
    if name in input_names(spec):
        layer = input_names(spec)[name]
        found = f"{name} is the input of layer {layer}, which only a check of gradients uses"
        advice = "add --backward (backward=True in Python); for the output, check each layer as its own network, "
        return SequenceError(found, advice=f"{advice}layer {layer} with {name} as its x", where=where)
    found = f"unknown array {name!r} in the recording"
    if name == "c_n":
        found += f": a {spec.cell} has no cell state, so output, (h, c) = {spec.cell}(x) splits the layers of h_n"
    return SequenceError(found, allowed=allowed, nearest=nearest(name, known), where=where)
