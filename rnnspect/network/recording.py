"""What an engine gave when it ran, and which engine it was."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from rnnspect.network.spec import Spec

STATES = {"h": ("h0", "h_n"), "c": ("c0", "c_n")}
"""By a state of a cell what a run calls its value before the first and after the last step."""


@dataclass(frozen=True)
class EngineInfo:
    """What ran: `precision` holds the reduced-precision switches in force, empty where none can be."""

    name: str
    version: str
    device: str
    dtype: str
    precision: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """What an engine gave, time-major, on the device it ran on.

    output (T, B, D·P), h_n (L·D, B, P), c_n (L·D, B, H) or None, head (B, out_features) or None; `layers` holds h
    (T, B, P) by (layer, direction), of those layers that could be seen. All are zero beyond an item's length.
    `stack_difference` is the largest difference between the stack as a whole and its layers one by one. `notes` say
    what of the parameters the engine has no place for.
    """

    engine: EngineInfo
    output: Tensor
    h_n: Tensor
    c_n: Tensor | None
    layers: dict[tuple[int, str], Tensor]
    stack_difference: float
    head: Tensor | None = None
    notes: tuple[str, ...] = ()


def by_direction(spec: Spec, layer: int, output: Tensor) -> dict[tuple[int, str], Tensor]:
    """What each direction has of the output (T, B, D·P) of a layer, by (layer, direction)."""
    parts = output.chunk(spec.num_directions, -1)
    return {(layer, direction): h for direction, h in zip(spec.directions, parts, strict=True)}
