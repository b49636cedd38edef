"""Reads a recording of another implementation's run, from memory or a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.checking.recording_inputs import (
    INPUTS,
    RecordedShapes,
    WhereArray,
    check_inputs,
    refuse_unrounded,
    rounded_notes,
    unknown_array,
)
from rnnspect.errors import SequenceError, listed
from rnnspect.files.silenced import ignoring
from rnnspect.judging.assumption import At
from rnnspect.judging.observation import Observation
from rnnspect.judging.recorded_precision import Precisions, cut_off, kept_exactly, otherwise
from rnnspect.judging.rounding import EIGHT_BITS, RecordedPrecision, Rounding
from rnnspect.network import tensors
from rnnspect.network.quantities import PROJECTIONS
from rnnspect.network.recording import RECORDING, ArrayName, EngineInfo, by_direction
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec

_PASSED_OVER = {"spec", "head", "engine.head"}
"""Arrays that `rnnspect run -o` and `trace -o` store and that are no part of the recurrent network."""
_EQUATIONS_ONLY = ("x", *PROJECTIONS)
"""Quantities of a layer that `trace -o` stores and that no engine shows."""
_CHECKED_BY = "rnnspect check … --backward"
_RESERVED = re.compile(r"l\d+\.|engine\.|manual\.")


@dataclass(frozen=True)
class HowRecorded:
    """Where each array of a recording is, by its name, and how its numbers were rounded, if somebody says so."""

    where: WhereArray = lambda _name: "recorded"
    rounding: Rounding | None = None


UNSAID = HowRecorded()
"""For a recording that is in no file, and of which nobody says how it was rounded."""


@dataclass(frozen=True)
class Recorded:
    """A recording as observations: two where its output is not the h that it holds of the top layer, else one. `notes`
    say how it was read. `otherwise` gives the ways in which it may have been rounded more, the finest first, with the
    same observations as they are then; `cut_off` those in which it may have been truncated or rounded down.
    `either_order`: whether arrays of layers have a shape that says nothing about the order of their axes."""

    observations: tuple[Observation, ...]
    notes: tuple[str, ...] = ()
    either_order: bool = False
    otherwise: Callable[[], list[tuple[Rounding, tuple[Observation, ...]]]] = list
    cut_off: Callable[[], list[tuple[Rounding, tuple[Observation, ...]]]] = list


def observations_of(
    spec: Spec,
    recorded: Any,
    sequence: Sequence,
    parameters: Mapping[str, Tensor] | None = None,
    how: HowRecorded = UNSAID,
    layers_batch_major: bool = True,
) -> Recorded:
    """What somebody recorded of a run of the sequence.

    `recorded` is the output, or what a torch.nn module returns, (output, h_n) or (output, (h_n, c_n)), or a mapping
    with these names, each a tensor, an array or a packed sequence:

    - output: (T, D·P), or (B, T, D·P) or (T, B, D·P) as the spec's `batch_first` says; of a batch of one, (T, D·P)
      does as well; or with an axis for the directions, such as ONNX's (T, D, B, P). A single array of another name is
      the output too;
    - h_n (L·D, P) or (L·D, B, P), c_n (L·D, H) or (L·D, B, H); of one step alone h_n is the h of each layer;
    - l0.forward.h, l1.reverse.c, l0.forward.i …: h (B, T, P), c and gates (B, T, H) of one layer and direction;
    - x, h0, c0, lengths and parameters, which must be those of this run; gradients are passed over with a note.

    These are the names of `rnnspect trace -o`, whose engine's numbers are engine.output, l0.forward.engine.h …: they
    are taken in place of the plain names beside them, which are what the equations gave. Its sequences are
    [batch][step][unit]; one that does not fit the layout of its name but does the other is taken as that. Where arrays
    of layers fit both, `layers_batch_major` says which is meant.

    Arrays that are mapped into memory are not copied. Raises `SequenceError` for an unknown name, a wrong shape, inputs
    or parameters of another run, and numbers that were not rounded as somebody says.
    """
    shapes, where, said = RecordedShapes(spec, sequence, layers_batch_major), how.where, how.rounding
    parameters = parameters or {}
    arrays, passed = _without_gradients(recorded, where)
    called = _named(arrays, shapes, parameters, where)

    def tensor(name: ArrayName) -> Tensor:
        at = where(called[name])
        return shapes.joined(str(name), as_recorded(shapes.padded(arrays[called[name]], at), at), at)

    inputs = {str(name): tensor(name) for name in called if str(name) in {*INPUTS, *parameters}}
    check_inputs(inputs, parameters, shapes, where, said)
    passed_over = {*inputs, *_PASSED_OVER}
    seen = {name: tensor(name) for name in called if str(name) not in passed_over and not _of_equations(name, called)}
    if not seen:
        raise SequenceError("the recording has nothing to compare", allowed=_in_words(spec), where=where(None))
    arrays_seen, dtype = {called[name]: values for name, values in seen.items()}, getattr(torch, spec.dtype)
    refuse_unrounded(arrays_seen, said, where)
    valid, exactly = sequence.valid(), kept_exactly(arrays_seen, dtype, said, quantised=arrays_seen)

    def observed(kept: Precisions) -> Recorded:
        return _with_output(*_observed(*_as_meant(seen, kept, called), shapes, called, where), valid)

    def ways(of: Callable[..., list[tuple[Rounding, Precisions]]]) -> list[tuple[Rounding, tuple[Observation, ...]]]:
        return [(way, observed(kept).observations) for way, kept in of(arrays_seen, dtype, quantised=arrays_seen)]

    read = observed(exactly)
    either = [str(name) for name in seen if name.place is not None and name.whose is None] if shapes.fits_both else []
    notes = (*_notes(seen, called, exactly, shapes), *passed, *shapes.read_as(either), *read.notes)
    read = replace(read, notes=notes, either_order=bool(either))
    if said is not None:
        return read
    return replace(read, otherwise=partial(ways, otherwise), cut_off=partial(ways, cut_off))


def _notes(
    seen: Mapping[ArrayName, Tensor], called: Mapping[ArrayName, str], kept: Precisions, shapes: RecordedShapes
) -> list[str]:
    renamed = called.get(ArrayName("output"), "output")
    notes = [] if renamed == "output" else [f"{renamed} is read as the output"]
    notes += [note for name, values in seen.items() if (note := shapes.turned(str(name), values))]
    return notes + rounded_notes({name: one.how for name, one in kept.items()})


def _as_meant(
    seen: Mapping[ArrayName, Tensor], kept: Precisions, called: Mapping[ArrayName, str]
) -> tuple[dict[ArrayName, Tensor], Precisions]:
    """The numbers as they were before they were written or cut off, as far as that is known, and how exactly."""
    meant = {name: kept[called[name]].numbers(values) for name, values in seen.items()}
    each = {name: kept[called[name]].centred(values) for name, values in meant.items()}
    return {name: v for name, (v, _) in each.items()}, {called[name]: how for name, (_, how) in each.items()}


def _without_gradients(recorded: Any, where: WhereArray) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The arrays by name without those that are gradients, and a note where there were some."""
    every = {str(name): given for name, given in _as_mapping(recorded).items()}
    arrays = {name: given for name, given in every.items() if not ArrayName.parse(name).is_gradient}
    if every and not arrays:
        advice = f"{_CHECKED_BY} checks them, backward=True in Python"
        raise SequenceError("the recording has nothing but gradients", advice=advice, where=where(None))
    if len(arrays) == len(every):
        return arrays, ()
    return arrays, (f"the recorded gradients were not checked; {_CHECKED_BY} checks them",)


def _as_mapping(recorded: Any) -> Mapping[Any, Any]:
    """An output, or what a torch.nn module returns, under the names of its parts."""
    if isinstance(recorded, tuple) and len(recorded) == 2:
        output, final = recorded
        states = final if isinstance(final, tuple) else (final,)
        return {"output": output} | dict(zip(("h_n", "c_n"), states, strict=False))
    return recorded if isinstance(recorded, Mapping) else {"output": recorded}


def _named(
    arrays: Mapping[str, Any], shapes: RecordedShapes, parameters: Mapping[str, Tensor], where: WhereArray
) -> dict[ArrayName, str]:
    """By the names of this run the names in the recording. They are the same, but for a single array of another name
    where there is no output: that is the output. Raises `SequenceError` for any other unknown name."""
    spec = shapes.spec
    known = [*known_names(spec), *parameters]
    unknown = [name for name in arrays if name not in known]
    renamed = None
    if len(unknown) == 1 and "output" not in arrays and "engine.output" not in arrays:
        fits = shapes.fits(arrays[unknown[0]], spec.output_width)
        if fits and not _RESERVED.match(unknown[0]):
            renamed = unknown.pop()
    for name in unknown:
        raise unknown_array(name, spec, known, _in_words(spec), where(name))
    return {ArrayName.parse("output" if name == renamed else name): name for name in arrays}


def known_names(spec: Spec) -> list[str]:
    """Every name that a recording of this spec may have."""
    cell = spec.cell_type
    finals = ["output", "h_n", *(["c_n"] if cell.has_cell_state else [])]
    names = [ArrayName(name) for name in finals]
    names += [ArrayName(quantity, place) for place in spec.places for quantity in cell.quantities]
    names += [replace(name, whose="engine") for name in names]
    names += [ArrayName(name, whose="manual") for name in (*finals, "head")]
    names += [ArrayName(quantity, place) for place in spec.places for quantity in _EQUATIONS_ONLY]
    inputs = [name for name in INPUTS if name != "c0" or cell.has_cell_state]
    return [*map(str, names), *inputs, *sorted(_PASSED_OVER)]


def _in_words(spec: Spec) -> str:
    names = ["output", "h_n", *(["c_n"] if spec.cell_type.has_cell_state else [])]
    of_layers = [ArrayName("h", place) for place in spec.places]
    of_layers += [ArrayName(quantity, spec.places[-1]) for quantity in spec.cell_type.quantities if quantity != "h"]
    return listed([*names, *map(str, of_layers)])


def _of_equations(name: ArrayName, named: Collection[ArrayName]) -> bool:
    """Whether this is a number of the equations that `trace -o` stores, or one for which the recording has the engine's
    as well."""
    if name.whose == "manual" or (name.place is not None and name.quantity in _EQUATIONS_ONLY):
        return True
    if name.whose == "engine":
        return False
    kept_by_trace = name.place is not None and any(other.whose == "manual" for other in named)
    return kept_by_trace or replace(name, whose="engine") in named


def _observed(
    seen: Mapping[ArrayName, Tensor],
    exactly: Mapping[str, RecordedPrecision],
    shapes: RecordedShapes,
    called: Mapping[ArrayName, str],
    where: WhereArray,
) -> tuple[Observation, dict[At, tuple[Tensor, RecordedPrecision]]]:
    """Quantities by layer and direction, and final states; and by themselves, since they may differ from these, the
    values of the output as h of the top layer's directions."""
    spec = shapes.spec
    layers: dict[At, dict[str, Tensor]] = {}
    finals: dict[str, Tensor] = {}
    kept: dict[tuple[int, str, str] | str, RecordedPrecision] = {}
    output: dict[At, tuple[Tensor, RecordedPrecision]] = {}
    for name, values in seen.items():
        at, how = where(called[name]), exactly[called[name]]
        if name.place is not None:
            units = spec.units(name.quantity)
            first = name.whose is not None or shapes.layers_batch_major
            layers.setdefault(name.place, {})[name.quantity] = shapes.time_major(str(name), values, units, first, at)
            kept[*name.place, name.quantity] = how
        elif name.quantity == "output":
            first = name.whose is not None or spec.batch_first
            both = shapes.time_major(called[name], values, spec.output_width, first, at)
            output = {place: (h, how) for place, h in by_direction(spec, spec.num_layers - 1, both).items()}
        else:
            units = spec.units(name.quantity)
            finals[name.quantity] = shapes.stacked(str(name), values, units, at)
            kept[name.quantity] = how
    engine, h_n = EngineInfo(RECORDING, "", "", spec.dtype), finals.get("h_n")
    if shapes.sequence.steps == 1 and h_n is not None and not output and not any("h" in of for of in layers.values()):
        for place in spec.places:  # of one step they are every layer's h
            layers.setdefault(place, {})["h"] = h_n[spec.row(*place)][None]
            kept[*place, "h"] = kept["h_n"]
    return Observation(engine, layers, h_n, finals.get("c_n"), kept=kept), output


def _with_output(
    seen: Observation, output: Mapping[At, tuple[Tensor, RecordedPrecision]], valid: Tensor | None
) -> Recorded:
    """The output is h of the top layer; where the recording has another h of it, both are observations."""

    def taken(places: Iterable[At]) -> Observation:
        h = {place: output[place] for place in places}
        layers = {place: {**seen.layers.get(place, {}), "h": values} for place, (values, _) in h.items()}
        kept = dict(seen.kept) | {(*place, "h"): how for place, (_, how) in h.items()}
        return replace(seen, layers=seen.layers | layers, kept=kept)

    missing = [place for place in output if "h" not in seen.layers.get(place, {})]
    both = [(place, seen.layers[place]["h"], h) for place, (h, _) in output.items() if place not in missing]
    other = [place for place, one, h in both if tensors.first_apart(one, h, 0, 0, valid) is not None]
    if not other:
        return Recorded((taken(missing),))
    names = listed(str(ArrayName("h", place)) for place in other)
    note = f"output and {names} differ; both were judged"
    return Recorded((taken(missing), taken(output)), (note,))


def as_recorded(given: Any, where: str) -> Tensor:
    """The array as a tensor, in the same memory if possible: real numbers, dense, on the CPU; numbers of `EIGHT_BITS`,
    which torch does not compute with, in float32. Raises `SequenceError` for other types of 8 bits, and of 1 bit."""
    if isinstance(given, Tensor) and given.dtype.is_floating_point and given.dtype.itemsize == 1:
        if given.dtype not in EIGHT_BITS:
            found = f"the recording has the dtype {str(given.dtype).removeprefix('torch.')}"
            allowed = "float8_e4m3fn, float8_e5m2, float16, bfloat16, float32 or float64"
            raise SequenceError(found, allowed=allowed, where=where)
        given = given.float()
    if isinstance(given, Tensor) and given.layout == torch.strided and given.dtype.is_floating_point:
        if not given.is_meta:
            return given.detach().cpu()
    elif isinstance(given, np.ndarray) and given.dtype.type in (np.float16, np.float32, np.float64):
        # torch has no negative strides and no foreign byte order. Nothing is ever written into a recording.
        with suppress(ValueError), ignoring("The given NumPy array is not writable"):
            return torch.from_numpy(given)
    values = tensors.from_anything(given, where)
    if values.dtype == torch.bool:
        raise SequenceError("the recording is true and false alone", allowed="numbers", where=where)
    return values.float() if values.dtype in EIGHT_BITS else values  # an array of JAX or ONNX
