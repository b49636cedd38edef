"""A recording of somebody else's run, in memory or in a file, as an observation."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rnnspect.checking.recording_inputs import INPUTS, Shapes, check_inputs
from rnnspect.errors import SequenceError, listed, nearest
from rnnspect.judging.observation import Observation
from rnnspect.judging.recorded_precision import Kept, kept_exactly
from rnnspect.network import tensors
from rnnspect.network.recording import EngineInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rnnspect.network.sequence import Sequence
    from rnnspect.network.spec import Spec

    Where = Callable[[str | None], str]
    """Where an array of this name is; without a name, the recording as a whole."""

_UNJUDGED = {"spec", "head", "engine.head"}
"""What `rnnspect run -o` and `trace -o` keep that is no part of the recurrent network, and is passed over."""
_PLACE = re.compile(r"l(\d+)\.(forward|reverse)\.(engine\.)?(\w+)")
_LIKE_OURS = re.compile(r"l\d+\.|engine\.|manual\.")
_OURS = ("x", "input_projection")
_ROWS = 1 << 16  # compared together


@dataclass(frozen=True)
class Recorded:
    """What a recording shows: once, and once more where its output is not its top layer's own h; and what is worth
    saying of how it was read."""

    observations: tuple[Observation, ...]
    notes: tuple[str, ...] = ()


def observations_of(
    spec: Spec,
    recorded: Any,
    sequence: Sequence,
    parameters: Mapping[str, Tensor] | None = None,
    where: Where = lambda _name: "recorded",
) -> Recorded:
    """What a recording shows of a run of the sequence.

    `recorded` is the output, or what a torch.nn module returns, (output, h_n) or (output, (h_n, c_n)), or a mapping
    with these names, each a tensor or an array:

    - output: (T, D·P), or (B, T, D·P) or (T, B, D·P) as the spec's `batch_first` says; of a batch of one, (T, D·P)
      does as well. A single array of another name is the output too;
    - h_n (L·D, P) or (L·D, B, P), c_n (L·D, H) or (L·D, B, H);
    - l0.forward.h, l1.reverse.c, l0.forward.i …: h (B, T, P), c and gates (B, T, H) of one layer and direction;
    - x, h0, c0, lengths and parameters, which must be those of this run.

    These are the names of `rnnspect trace -o`, whose engine's numbers are engine.output, l0.forward.engine.h …: they
    are taken in place of the plain names beside them, which are what the equations gave. Its sequences are
    [batch][step][unit]; one that does not fit the layout of its name but does the other is taken as that.

    Arrays that are mapped into memory are not copied. Raises `SequenceError` for an unknown name, a wrong shape, and
    inputs or parameters of another run.
    """
    shapes = Shapes(spec, sequence.steps, sequence.batch, sequence.batched)
    named, notes, called = _named(spec, recorded, shapes, parameters or {}, where)
    inputs = {name: _tensor(named[name], where(name)) for name in named if name in {*INPUTS, *(parameters or {})}}
    check_inputs(inputs, sequence, parameters or {}, shapes, where)
    taken = {
        name: _tensor(given, where(called.get(name, name)))
        for name, given in named.items()
        if name not in inputs and name not in _UNJUDGED and not _of_equations(name, named)
    }
    if not taken:
        raise SequenceError("a recording that holds nothing of the run", allowed=_in_words(spec), where=where(None))
    exactly = kept_exactly(taken, getattr(torch, spec.dtype))
    layers: dict[tuple[int, str], dict[str, Tensor]] = {}
    finals: dict[str, Tensor] = {}
    kept: dict[tuple[int, str, str] | str, Kept] = {}
    whole: dict[tuple[int, str], Tensor] = {}
    for name, values in taken.items():
        at, plain = where(called.get(name, name)), name.replace("engine.", "")
        if place := _PLACE.fullmatch(name):
            units = spec.output_size if place[4] == "h" else spec.hidden_size
            layers.setdefault((int(place[1]), place[2]), {})[place[4]] = shapes.sequence(name, values, units, True, at)
            kept[int(place[1]), place[2], place[4]] = exactly[name]
        elif plain == "output":
            units = spec.output_size * spec.num_directions
            parts = shapes.sequence(called.get(name, name), values, units, plain != name, at)
            halves = parts.chunk(spec.num_directions, -1)
            whole = {(spec.num_layers - 1, d): h for d, h in zip(spec.directions, halves, strict=True)}
        else:
            finals[plain] = shapes.state(name, values, spec.output_size if plain == "h_n" else spec.hidden_size, at)
            kept[plain] = exactly[name]
    engine = EngineInfo("recording", "", "", spec.dtype)
    seen = Observation(engine, layers, finals.get("h_n"), finals.get("c_n"), kept=kept)
    valid = sequence.valid()
    notes += _read_as({called.get(name, name): how.how for name, how in exactly.items()})
    other = [at for at, h in whole.items() if "h" in layers.get(at, {}) and not _same(layers[at]["h"], h, valid)]
    how = exactly.get("engine.output") or exactly.get("output") or Kept()

    def with_output(places: Iterable[tuple[int, str]]) -> Observation:
        h = {at: {**layers.get(at, {}), "h": whole[at]} for at in places}
        return replace(seen, layers=layers | h, kept=kept | {(*at, "h"): how for at in h})

    own = with_output(at for at in whole if "h" not in layers.get(at, {}))
    if not other:
        return Recorded((own,), notes)
    names = listed(f"l{layer}.{direction}.h" for layer, direction in other)
    return Recorded((own, with_output(whole)), (*notes, f"output is not what {names} holds; both were judged"))


def _named(
    spec: Spec, recorded: Any, shapes: Shapes, parameters: Mapping[str, Tensor], where: Where
) -> tuple[Mapping[str, Any], tuple[str, ...], dict[str, str]]:
    """Arrays by name; what is worth saying; and what the output was called, if not so."""
    if isinstance(recorded, tuple) and len(recorded) == 2:
        output, final = recorded
        states = final if isinstance(final, tuple) else (final,)
        recorded = {"output": output} | dict(zip(("h_n", "c_n"), states, strict=False))
    if not isinstance(recorded, Mapping):
        return {"output": recorded}, (), {}
    known = [*_known(spec), *parameters]
    unknown = [str(name) for name in recorded if name not in known]
    if len(unknown) == 1 and "output" not in recorded and "engine.output" not in recorded:
        name = unknown[0]
        fits = shapes.fits(recorded[name], spec.output_size * spec.num_directions)
        if fits and not _LIKE_OURS.match(name):
            named = {"output" if key == name else key: given for key, given in recorded.items()}
            return named, (f"{name} was taken as the output",), {"output": name}
    for name in unknown:
        found = f"a recording of {name!r}"
        if name == "c_n":
            found += f", which a {spec.cell} has not: output, (h, c) = {spec.cell}(x) takes the layers of h_n apart"
        raise SequenceError(found, allowed=_in_words(spec), nearest=nearest(name, known), where=where(name))
    return recorded, (), {}


def _known(spec: Spec) -> list[str]:
    """Every name that a recording of this spec may have."""
    cell = spec.cell_type
    finals = ["output", "h_n", *(["c_n"] if cell.has_cell_state else [])]
    beside = [name for name in INPUTS if name != "c0" or cell.has_cell_state]
    places = [f"l{layer}.{direction}" for layer in range(spec.num_layers) for direction in spec.directions]
    names = finals + [f"{place}.{quantity}" for place in places for quantity in cell.quantities]
    names += [f"engine.{name}" for name in finals] + [f"{p}.engine.{name}" for p in places for name in cell.quantities]
    names += [f"manual.{name}" for name in (*finals, "head")] + [f"{p}.{name}" for p in places for name in _OURS]
    return names + beside + sorted(_UNJUDGED)


def _in_words(spec: Spec) -> str:
    names = ["output", "h_n", *(["c_n"] if spec.cell_type.has_cell_state else [])]
    top = f"l{spec.num_layers - 1}.{spec.directions[-1]}"
    return listed([*names, *(f"{top}.{quantity}" for quantity in spec.cell_type.quantities)])


def _of_equations(name: str, named: Mapping[str, Any]) -> bool:
    """Whether this is what `trace -o` keeps of the equations, or stands beside what an engine gave of the same."""
    place = _PLACE.fullmatch(name)
    if name.startswith("manual.") or (place and place[4] in _OURS):
        return True
    if "engine." in name:
        return False
    twin = f"l{place[1]}.{place[2]}.engine.{place[4]}" if place else f"engine.{name}"
    return twin in named or (place is not None and any(other.startswith("manual.") for other in named))


def _read_as(how: Mapping[str, str]) -> tuple[str, ...]:
    """read as rounded to 2 decimals: output, h_n."""
    by_how: dict[str, list[str]] = {}
    for name, said in how.items():
        by_how.setdefault(said, []).append(name)
    return tuple(f"read as rounded to {said}: {listed(names)}" for said, names in by_how.items() if said)


def _same(a: Tensor, b: Tensor, valid: Tensor | None) -> bool:
    """Whether two h (T, B, P) are equal where an item has a step; NaN is itself."""
    for start in range(0, len(a), _ROWS):
        at = slice(start, start + _ROWS)
        same = (a[at] == b[at]) | (a[at].isnan() & b[at].isnan())
        if not bool((same if valid is None else same | ~valid[at].cpu().unsqueeze(-1)).all()):
            return False
    return True


def _tensor(given: Any, where: str) -> Tensor:
    """The same memory where that can be: real numbers, dense, on the CPU."""
    if isinstance(given, Tensor) and given.layout == torch.strided and given.dtype.is_floating_point:
        if not given.is_meta:
            return given.detach().cpu()
    elif isinstance(given, np.ndarray) and given.dtype.kind == "f" and given.dtype.itemsize <= 8 and _shareable(given):
        with warnings.catch_warnings():  # nothing is ever written into a recording
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(given)
    return tensors.from_anything(given, where)


def _shareable(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.isnative and all(stride >= 0 for stride in array.strides)
