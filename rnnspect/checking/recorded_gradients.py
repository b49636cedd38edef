"""Reads the gradients of another implementation's run, from memory or a file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.checking.framework_gradients import PREFIX, by_torch_names
from rnnspect.checking.recording import UNSAID, HowRecorded, as_recorded, known_names
from rnnspect.checking.recording_inputs import (
    INPUTS,
    RecordedShapes,
    WhereArray,
    check_inputs,
    refuse_unrounded,
    rounded_notes,
)
from rnnspect.errors import SequenceError, listed, nearest
from rnnspect.judging.recorded_precision import cut_off, kept_exactly, otherwise
from rnnspect.judging.rounding import EXACT, RecordedPrecision, Rounding
from rnnspect.network.gradients import EngineGradients, Upstream, input_names
from rnnspect.network.recording import RECORDING, EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

_Way = tuple[Rounding, Mapping[str, RecordedPrecision]]
_FORWARD = ("output", "h_n", "c_n")
_SEQUENCES = (PREFIX + "output", PREFIX + "x")
_WENT_IN = tuple(PREFIX + name for name in _FORWARD)


@dataclass(frozen=True)
class RecordedGradients:
    """The gradient of the loss by what the network returned, the gradients that were recorded for it, and how exactly
    each was, by the name of what it is the gradient by; and how exactly the output was, that stands beside them."""

    upstream: Upstream | None
    given: EngineGradients
    kept: Mapping[str, RecordedPrecision]
    of_output: RecordedPrecision
    otherwise: Callable[[], list[_Way]]
    """The ways in which they may have been rounded more than they show, the finest first."""
    cut_off: Callable[[], list[_Way]]
    """The ways in which they may have been truncated or rounded down."""


def recorded_gradients(
    spec: Spec,
    recorded: Mapping[Any, Any],
    sequence: Sequence,
    parameters: Mapping[str, Tensor],
    how: HowRecorded = UNSAID,
) -> RecordedGradients:
    """The gradients that somebody recorded for a run.

    `recorded` has these names, each a tensor or an array:

    - grad.output, grad.h_n, grad.c_n: of the loss by what the network returned. Without any of them `upstream` is
      None; what is left out beside another is zero;
    - grad.x, grad.h0, grad.c0, grad.weight_ih_l0 (`by_torch_names` has other names) …: those that are checked;
    - output, h_n, c_n: of the pass forwards, where there are any;
    - x_l1, x_l2 …: what each layer above the lowest received, where dropout acted between them: all of them or none;
    - x, h0, c0, lengths and parameters, which must be those of this run.

    Shapes are those of the array without `grad.`, as in a recording of a run; what else such a recording holds is
    passed over. Raises `SequenceError` for an unknown name, a wrong shape, and inputs or parameters of another run.
    """
    shapes, where = RecordedShapes(spec, sequence), how.where
    own = {name: values for name, values in parameters.items() if not name.startswith("head.")}
    arrays, read_as = by_torch_names(spec, {str(name): given for name, given in recorded.items()}, own, where)
    _check_names(spec, arrays, own, where)
    taken = {name: as_recorded(arrays[name], where(name)) for name in (*INPUTS, *own) if name in arrays}
    check_inputs(taken, parameters, shapes, where)
    dtype, inputs = getattr(torch, spec.dtype), input_names(spec)

    def read(name: str) -> Tensor | None:
        """The array of that name in the recording, time-major."""
        kept = f"engine.{name}" if f"engine.{name}" in arrays else name
        if kept not in arrays:
            return None
        plain, at = name.removeprefix(PREFIX), where(kept)
        values = as_recorded(arrays[kept], at)
        if plain in ("x", "output", *inputs):
            units = spec.input_size if plain == "x" else spec.output_width
            return shapes.time_major(name, values, units, kept != name or spec.batch_first, at).to(dtype)
        if plain in ("h_n", "c_n", "h0", "c0"):
            return shapes.stacked(name, values, spec.units(plain), at).to(dtype)
        if values.shape != own[plain].shape:
            found = f"{name} has the shape {tuple(values.shape)}"
            raise SequenceError(found, allowed=f"{tuple(own[plain].shape)}, that of {plain}", where=at)
        return values.to(dtype)

    gradients = {name: values for name in own if (values := read(PREFIX + name)) is not None}
    x, h0, c0 = (read(PREFIX + name) for name in ("x", "h0", "c0"))
    if not gradients and x is None and h0 is None and c0 is None:
        raise _nothing(own, where(None))
    kept, of_output = _kept(arrays, inputs, dtype, how)
    hows = {name: one.how for name, one in kept.items()} | {"output": of_output.how}
    notes = [*read_as, *_turned(shapes, arrays, where), *rounded_notes(hows)]
    engine = EngineInfo(RECORDING, "", "", spec.dtype)
    upstream = _upstream(spec, sequence, *(read(PREFIX + name) for name in _FORWARD))
    output, h_n, c_n = (read(name) for name in _FORWARD)
    received = {layer: values for name, layer in inputs.items() if (values := read(name)) is not None}
    given = EngineGradients(engine, output, h_n, c_n, x, h0, c0, gradients, tuple(notes), received)
    ways, cuts = (functools.partial(_ways, arrays, dtype, how, is_cut) for is_cut in (False, True))
    return RecordedGradients(upstream, given, _plainly(kept), of_output, ways, cuts)


def _turned(shapes: RecordedShapes, arrays: Mapping[str, Any], where: WhereArray) -> list[str]:
    """Notes about sequences that are read with their axes in the other order."""
    read = {name: as_recorded(arrays[name], where(name)) for name in _SEQUENCES if name in arrays}
    return [note for name, values in read.items() if (note := shapes.turned(name, values))]


def _plainly(kept: Mapping[str, RecordedPrecision]) -> dict[str, RecordedPrecision]:
    """The same by the names without `grad.` before them."""
    return {name.removeprefix(PREFIX): one for name, one in kept.items()}


def _ways(arrays: Mapping[str, Any], dtype: torch.dtype, how: HowRecorded, is_cut: bool) -> list[_Way]:
    """The ways in which gradients may have been cut off, or else rounded more than they show; none where somebody said
    how they were rounded."""
    if how.rounding is not None:
        return []
    read = {name: as_recorded(given, how.where(name)) for name, given in arrays.items() if name.startswith(PREFIX)}
    given = _given(read)
    found = cut_off(read, dtype, given) if is_cut else otherwise(read, dtype, given, given)
    return [(way, _plainly(kept)) for way, kept in found]


def _kept(
    arrays: Mapping[str, Any], inputs: Iterable[str], dtype: torch.dtype, how: HowRecorded
) -> tuple[dict[str, RecordedPrecision], RecordedPrecision]:
    """How exactly each gradient and each input of a layer was recorded, and the output, where it was."""
    outputs = [name for name in ("engine.output", "output") if name in arrays][:1]
    shown = [*outputs, *(name for name in arrays if name.startswith(PREFIX) or name in inputs)]
    read = {name: as_recorded(arrays[name], how.where(name)) for name in shown}
    refuse_unrounded(read, how.rounding, how.where)
    given = _given(read)
    kept = kept_exactly(read, dtype, how.rounding, given, given)
    return {name: one for name, one in kept.items() if name not in outputs}, kept[outputs[0]] if outputs else EXACT


def _given(names: Iterable[str]) -> list[str]:
    """The gradients that may have been clipped, or quantised: all but those of the loss by what the network
    returned."""
    return [name for name in names if name.startswith(PREFIX) and name not in _WENT_IN]


def _nothing(own: Iterable[str], where: str) -> SequenceError:
    allowed = listed(f"{PREFIX}{name}" for name in ("x", "h0", *own))
    return SequenceError("the recording has no gradients to check", allowed=allowed, where=where)


def _upstream(
    spec: Spec, sequence: Sequence, output: Tensor | None, h_n: Tensor | None, c_n: Tensor | None
) -> Upstream | None:
    if output is None and h_n is None and c_n is None:
        return None
    if output is None:
        output = torch.zeros(sequence.steps, sequence.batch, spec.output_width, dtype=sequence.x.dtype)
    return Upstream(sequence.within(output), h_n, c_n)


def _check_names(spec: Spec, arrays: Mapping[str, Any], own: Mapping[str, Tensor], where: WhereArray) -> None:
    """Raises `SequenceError` for a name that no recording of such a run has, and for one without an array."""
    states = ("h", "c") if spec.cell_type.has_cell_state else ("h",)
    taken_by = ["output", *(f"{one}_n" for one in states), "x", *(f"{one}0" for one in states), *own]
    gradients = [PREFIX + name for name in taken_by]
    known = {*gradients, *known_names(spec), *own, *input_names(spec), "head.weight", "head.bias"}
    for name in arrays:
        if name not in known:
            found = f"unknown array {name!r} in the recording"
            raise SequenceError(
                found, allowed=listed(gradients), nearest=nearest(name, sorted(known)), where=where(name)
            )
        if arrays[name] is None:
            advice = "leave it out where it needs none; else call backward() first, and retain_grad() before that"
            raise SequenceError(f"{name} is None: no gradient was computed", advice=advice, where=where(name))
