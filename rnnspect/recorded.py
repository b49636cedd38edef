"""A recording of somebody else's run, in memory or in a file, as an observation."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from rnnspect import tensors
from rnnspect.engines.interface import EngineInfo
from rnnspect.errors import SequenceError, listed, nearest
from rnnspect.observation import Observation, kept_exactly

if TYPE_CHECKING:
    from rnnspect.spec import Spec

_BESIDE = {"spec", "x", "h0", "c0", "lengths", "head", "engine.head"}
"""What `rnnspect run -o` and `trace -o` keep beside what an engine gave."""
_PLACE = re.compile(r"l(\d+)\.(forward|reverse)\.(engine\.)?(\w+)")
_OURS = ("x", "input_projection")


def observation_of(spec: Spec, recorded: Any, steps: int, batch: int, batched: bool) -> Observation:
    """What a recording shows of a run of `steps` steps and `batch` items.

    `recorded` is the output, or what a torch.nn module returns, (output, h_n) or (output, (h_n, c_n)), or a mapping
    with these names, each a tensor or an array:

    - output: (T, D·P), or (B, T, D·P) or (T, B, D·P) as the spec's `batch_first` says;
    - h_n (L·D, P) or (L·D, B, P), c_n (L·D, H) or (L·D, B, H);
    - l0.forward.h, l1.reverse.c, l0.forward.i …: h (B, T, P), c and gates (B, T, H) of one layer and direction.

    These are the names of `rnnspect trace -o`, which adds what the equations gave: where a name with `engine.` is
    there (engine.output, l0.forward.engine.h), only those are taken. Its sequences are [batch][step][unit]; one that
    does not fit the layout of its name but does the other is taken as that.

    Arrays that are mapped into memory are not copied. Raises `SequenceError` for an unknown name or a wrong shape.
    """
    named = _named(recorded)
    _check_names(spec, named)
    by_engine = any("engine." in name for name in named)
    layers: dict[tuple[int, str], dict[str, Tensor]] = {}
    finals: dict[str, Tensor] = {}
    shown = _Shapes(spec, steps, batch, batched)
    seen: list[Tensor] = []
    for name, given in named.items():
        if name in _BESIDE or name.startswith("manual.") or by_engine != ("engine." in name):
            continue
        plain = name.replace("engine.", "")
        place = _PLACE.fullmatch(name)
        if place and place[4] in _OURS:
            continue
        values = _tensor(given, name)
        seen.append(values)
        if plain == "output":
            parts = shown.sequence(name, values, spec.output_size * spec.num_directions, by_engine)
            halves = parts.chunk(spec.num_directions, -1)
            for direction, h in zip(spec.directions, halves, strict=True):
                layers.setdefault((spec.num_layers - 1, direction), {}).setdefault("h", h)
        elif place:
            units = spec.output_size if place[4] == "h" else spec.hidden_size
            at = (int(place[1]), place[2])
            layers.setdefault(at, {})[place[4]] = shown.sequence(name, values, units, True)
        else:
            units = spec.output_size if plain == "h_n" else spec.hidden_size
            finals[plain] = shown.state(name, values, units)
    if not seen:
        raise SequenceError("a recording that holds nothing of the run", allowed=_names_in_words(spec))
    how = [kept_exactly(values, getattr(torch, spec.dtype)) for values in seen]
    relative, absolute = (max(errors) for errors in zip(*how, strict=True))
    engine = EngineInfo("recording", "", "", spec.dtype)
    return Observation(engine, layers, finals.get("h_n"), finals.get("c_n"), relative, absolute)


def _named(recorded: Any) -> Mapping[str, Any]:
    if isinstance(recorded, Mapping):
        return recorded
    if isinstance(recorded, tuple) and len(recorded) == 2:
        output, final = recorded
        states = final if isinstance(final, tuple) else (final,)
        return {"output": output} | dict(zip(("h_n", "c_n"), states, strict=False))
    return {"output": recorded}


def _known(spec: Spec) -> list[str]:
    """Every name that a recording of this spec may have."""
    places = [f"l{layer}.{direction}" for layer in range(spec.num_layers) for direction in spec.directions]
    finals = ["output", "h_n", *(["c_n"] if spec.cell_type.has_cell_state else [])]
    names = finals + [f"{place}.{quantity}" for place in places for quantity in spec.cell_type.quantities]
    names += [f"engine.{name}" for name in finals] + [f"{place}.engine.h" for place in places]
    beside = [f"manual.{name}" for name in (*finals, "head")] + [f"{p}.{name}" for p in places for name in _OURS]
    return names + beside + sorted(_BESIDE)


def _check_names(spec: Spec, named: Mapping[str, Any]) -> None:
    known = _known(spec)
    for name in named:
        if name not in known:
            raise SequenceError(
                f"a recording of {name!r}",
                allowed=_names_in_words(spec),
                nearest=nearest(name, known),
                where="recorded",
            )


def _names_in_words(spec: Spec) -> str:
    names = ["output", "h_n", *(["c_n"] if spec.cell_type.has_cell_state else [])]
    top = f"l{spec.num_layers - 1}.{spec.directions[-1]}"
    return listed([*names, *(f"{top}.{quantity}" for quantity in spec.cell_type.quantities)])


def _tensor(given: Any, name: str) -> Tensor:
    """The same memory where that can be: real numbers, dense, on the CPU."""
    if isinstance(given, Tensor) and given.layout == torch.strided and given.dtype.is_floating_point:
        if not given.is_meta:
            return given.detach().cpu()
    elif isinstance(given, np.ndarray) and given.dtype.kind == "f" and given.dtype.itemsize <= 8 and _shareable(given):
        with warnings.catch_warnings():  # nothing is ever written into a recording
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            return torch.from_numpy(given)
    return tensors.from_anything(given, f"recorded {name}")


def _shareable(array: np.ndarray[Any, Any]) -> bool:
    return array.dtype.isnative and all(stride >= 0 for stride in array.strides)


class _Shapes:
    """The shapes that a recording of one run may have."""

    def __init__(self, spec: Spec, steps: int, batch: int, batched: bool) -> None:
        self._spec, self._steps, self._batch, self._batched = spec, steps, batch, batched

    def sequence(self, name: str, values: Tensor, units: int, batch_major: bool) -> Tensor:
        """Time-major (T, B, units). `batch_major` says which layout is meant where both would fit."""
        T, B = self._steps, self._batch
        shape = tuple(values.shape)
        first = batch_major or self._spec.batch_first
        if not self._batched and shape == (T, units):
            return values.unsqueeze(1)
        if shape == (B, T, units) and (first or shape != (T, B, units)):
            return values.transpose(0, 1)
        if shape == (T, B, units):
            return values
        axes: tuple[str, ...] = ("batch", "step", "unit") if first else ("step", "batch", "unit")
        sizes: tuple[int, ...] = (B, T, units) if first else (T, B, units)
        if not self._batched:
            axes, sizes = ("step", "unit"), (T, units)
        raise _wrong(name, shape, axes, sizes)

    def state(self, name: str, values: Tensor, units: int) -> Tensor:
        """(L·D, B, units)."""
        spec, shape = self._spec, tuple(values.shape)
        places = spec.num_layers * spec.num_directions
        if not self._batched and shape == (places, units):
            return values.unsqueeze(1)
        if shape == (places, self._batch, units):
            return values
        axes: tuple[str, ...] = ("layers × directions" if spec.bidirectional else "layers", "batch", "unit")
        sizes: tuple[int, ...] = (places, self._batch, units)
        if not self._batched:
            axes, sizes = (axes[0], axes[2]), (places, units)
        raise _wrong(name, shape, axes, sizes)


def _wrong(name: str, shape: tuple[int, ...], axes: tuple[str, ...], sizes: tuple[int, ...]) -> SequenceError:
    return SequenceError(f"{name} of shape {shape}", allowed=f"({', '.join(axes)}) = {sizes}", where="recorded")
