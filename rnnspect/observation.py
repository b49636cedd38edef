"""What was seen of an engine's run, and how exactly."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.engines.interface import EngineInfo, Recording
    from rnnspect.spec import Spec

MAX_DECIMALS = 6
_ENOUGH = 16
"""Fewer numbers than this may all be round by chance."""


@dataclass(frozen=True)
class Observation:
    """Time-major, on the CPU; what nobody looked at is not there.

    `layers` holds by (layer, direction) the quantities that were seen of it: h (T, B, P), and perhaps c and gates
    (T, B, H). h_n (L·D, B, P), c_n (L·D, B, H). `relative` and `absolute` are how exactly the numbers were kept.
    """

    engine: EngineInfo
    layers: dict[tuple[int, str], dict[str, Tensor]] = field(default_factory=dict)
    h_n: Tensor | None = None
    c_n: Tensor | None = None
    relative: float = 0.0
    absolute: float = 0.0


def observed_by(recording: Recording) -> Observation:
    """Everything that an engine of ours shows: h of every layer, and the final states.

    The final states are those of the stack as a whole; where that is not to the bit what its layers give one by one,
    they are left to `observed_whole`.
    """
    layers = {place: {"h": h.cpu()} for place, h in recording.layers.items()}
    return (
        replace(_finals(recording), layers=layers)
        if recording.stack_difference == 0
        else Observation(recording.engine, layers)
    )


def observed_whole(recording: Recording, spec: Spec) -> Observation:
    """What the stack shows when it runs as a whole: the top layer's h, and the final states."""
    halves = recording.output.cpu().chunk(spec.num_directions, -1)
    top = spec.num_layers - 1
    layers = {(top, direction): {"h": h} for direction, h in zip(spec.directions, halves, strict=True)}
    return replace(_finals(recording), layers=layers)


def _finals(recording: Recording) -> Observation:
    c_n = None if recording.c_n is None else recording.c_n.cpu()
    return Observation(recording.engine, {}, recording.h_n.cpu(), c_n)


def kept_exactly(values: Tensor, dtype: torch.dtype) -> tuple[float, float]:
    """How exactly recorded numbers tell those of a run in `dtype`: a relative and an absolute error.

    A narrower dtype rounds; so does printing with a few decimals, which shows in the numbers themselves.
    """
    relative = absolute = 0.0
    if values.is_floating_point() and values.dtype.itemsize < dtype.itemsize:
        limits = torch.finfo(values.dtype)
        relative, absolute = limits.eps / 2, limits.tiny * limits.eps
    decimals = _decimals(values)
    if decimals is not None:
        absolute = max(absolute, 0.5 * 10.0**-decimals)
    return relative, absolute


def _decimals(values: Tensor) -> int | None:
    """With how few decimals all of these numbers are written; None where they have more than a few."""
    sample = values[:4096].flatten()[:4096].double()
    sample = sample[sample.isfinite() & (sample != 0)]
    if len(sample) < _ENOUGH:
        return None
    for decimals in range(1, MAX_DECIMALS + 1):
        scaled = sample * 10.0**decimals
        # A number that was rounded and then stored is off by half a unit of its dtype.
        stored = scaled.abs() * torch.finfo(values.dtype if values.is_floating_point() else torch.float64).eps
        if bool(((scaled - scaled.round()).abs() <= stored + 1e-9).all()) and bool((stored < 0.05).all()):
            return decimals
    return None
