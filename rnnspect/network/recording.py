"""What an engine returned in a run, which engine it was, and the array names under which a run is saved."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.spec import Spec

STATES = {"h": ("h0", "h_n"), "c": ("c0", "c_n")}
"""By a state of a cell the names of its initial and its final value."""
_ARRAY_NAME = re.compile(
    r"(?:l(?P<layer>0|[1-9][0-9]{0,8})\.(?P<direction>forward|reverse)\.)?"
    r"(?:(?P<whose>engine|manual)\.(?:(?P<engine>(?!grad\.).+?)\.)?)?"
    r"(?P<gradient>grad\.)?(?P<quantity>\w+)"
)


RECORDING = "recording"
"""The engine of a run that was recorded."""


@dataclass(frozen=True)
class EngineInfo:
    """What ran: `precision` holds the reduced-precision switches in force, empty where none can be."""

    name: str
    version: str
    device: str
    dtype: str
    precision: dict[str, str] = field(default_factory=dict)
    one_by_one: bool = False
    """Whether it is known to compute one step after the other."""


@dataclass(frozen=True)
class Recording:
    """What an engine gave, time-major, on the device it ran on.

    output (T, B, D·P), h_n (L·D, B, P), c_n (L·D, B, H) or None, head (B, out_features) or None; `layers` holds h
    (T, B, P) by (layer, direction), of those layers that could be seen, and `cell_states` c (T, B, H) of those that
    show it at each step. All are zero beyond an item's length. Where no engine ran, output and h_n are None, too.
    `stack_difference` is the largest difference between the stack as a whole and its layers one by one. `notes` say
    what of the parameters the engine has no place for.
    """

    engine: EngineInfo
    output: Tensor | None
    h_n: Tensor | None
    c_n: Tensor | None
    layers: dict[tuple[int, str], Tensor]
    stack_difference: float
    head: Tensor | None = None
    notes: tuple[str, ...] = ()
    cell_states: dict[tuple[int, str], Tensor] = field(default_factory=dict)


def by_direction(spec: Spec, layer: int, output: Tensor) -> dict[tuple[int, str], Tensor]:
    """The h (T, B, P) of each direction in a layer's output (T, B, D·P), by (layer, direction)."""
    parts = output.chunk(spec.num_directions, -1)
    return {(layer, direction): h for direction, h in zip(spec.directions, parts, strict=True)}


@dataclass(frozen=True)
class ArrayName:
    """The name of an array in a .npz file or a mapping that holds a run:

        output  h_n  c_n  head  x  h0  c0  lengths      of the run as a whole
        l0.forward.h  l1.reverse.c  l0.forward.i        a quantity of one layer and direction
        engine.output  l0.forward.engine.h              the engine's number, where both are kept
        manual.output                                   the equations' number beside it
        engine.keras.output  l0.forward.engine.keras.h  the number of one of several engines
        grad.x  grad.weight_ih_l0  l0.forward.grad.i    a gradient: dL/d of what is named; grad.output goes in
        l0.forward.grad.i_pre  manual.grad.x            of what goes into a gate's function; by the equations

    `quantity` is h, c, a gate, output, h_n …; `place` is its (layer, direction), or None of the run as a whole.

    `whose` is "engine" or "manual" (the equations), or None where the name does not say it; `engine` is the name of
    that engine where several are kept. `is_gradient`: it is the gradient of a loss.
    """

    quantity: str
    place: tuple[int, str] | None = None
    whose: str | None = None
    engine: str | None = None
    is_gradient: bool = False

    def __str__(self) -> str:
        place = () if self.place is None else (f"l{self.place[0]}", self.place[1])
        gradient = "grad" if self.is_gradient else None
        return ".".join(part for part in (*place, self.whose, self.engine, gradient, self.quantity) if part)

    @classmethod
    def parse(cls, text: str) -> ArrayName:
        """The parts of a name; a name of another form is a quantity of that name."""
        match = _ARRAY_NAME.fullmatch(text)
        if match is None:
            return cls(text)
        place = None if match["layer"] is None else (int(match["layer"]), match["direction"])
        return cls(match["quantity"], place, match["whose"], match["engine"], match["gradient"] is not None)
