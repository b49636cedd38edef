"""What was observed of an engine's run, and how precisely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rnnspect.judging.rounding import RecordedPrecision
from rnnspect.network.recording import EngineInfo, Recording, by_direction
from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Observation:
    """Time-major, on the CPU; what nobody looked at is not there.

    `layers` holds by (layer, direction) the quantities that were seen of it: h (T, B, P), and perhaps c and gates
    (T, B, H). h_n (L·D, B, P), c_n (L·D, B, H). `kept` is how exactly each was kept, by (layer, direction, quantity)
    or the name of a final state; `relative` and `absolute` are the same of those that it does not have.
    """

    engine: EngineInfo
    layers: dict[tuple[int, str], dict[str, Tensor]] = field(default_factory=dict)
    h_n: Tensor | None = None
    c_n: Tensor | None = None
    relative: float = 0.0
    absolute: float = 0.0
    kept: Mapping[tuple[int, str, str] | str, RecordedPrecision] = field(default_factory=dict)

    def kept_of(self, name: tuple[int, str, str] | str) -> RecordedPrecision:
        """How exactly one quantity, or a final state, was kept."""
        return self.kept.get(name) or RecordedPrecision(self.relative, self.absolute)

    def rounded_more(self, factor: float) -> Observation:
        """The same with `factor` times the error in each quantity that was kept rounded."""
        return replace(self, kept={name: how.times(factor) for name, how in self.kept.items()})

    def of_numbers(self, dtype: torch.dtype) -> Observation | None:
        """The same in a narrower dtype; None where that does not hold all numbers exactly."""
        layers = {at: {name: values.to(dtype) for name, values in seen.items()} for at, seen in self.layers.items()}
        h_n, c_n = (None if state is None else state.to(dtype) for state in (self.h_n, self.c_n))
        every = [values for seen in self.layers.values() for values in seen.values()]
        every += [state for state in (self.h_n, self.c_n) if state is not None]
        made = Observation(replace(self.engine, dtype=str(dtype).removeprefix("torch.")), layers, h_n, c_n)
        return made if all(is_of(dtype, values) for values in every) else None


def is_of(dtype: torch.dtype, values: Tensor) -> bool:
    """Whether all of these numbers exist in a narrower dtype, or are NaN."""
    return bool((values.isnan() | (values.to(dtype).to(values.dtype) == values)).all())


def observed_by(recording: Recording) -> Observation:
    """Everything that an engine of ours shows: h of every layer, c where it shows it, and the final states.

    The final states are those of the stack as a whole; where that is not to the bit what its layers give one by one,
    they are left to `observed_whole`.
    """
    layers = {place: {"h": h.cpu()} for place, h in recording.layers.items()}
    for place, c in recording.cell_states.items():
        layers[place]["c"] = c.cpu()
    if recording.stack_difference == 0:
        return replace(_finals(recording), layers=layers)
    return Observation(recording.engine, layers)


def observed_whole(recording: Recording, spec: Spec) -> Observation:
    """What the stack shows when it runs as a whole: the top layer's h, and the final states."""
    assert recording.output is not None
    parts = by_direction(spec, spec.num_layers - 1, recording.output.cpu())
    return replace(_finals(recording), layers={place: {"h": h} for place, h in parts.items()})


def _finals(recording: Recording) -> Observation:
    h_n, c_n = (None if state is None else state.cpu() for state in (recording.h_n, recording.c_n))
    return Observation(recording.engine, {}, h_n, c_n)
