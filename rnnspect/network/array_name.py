"""The names of arrays that a run is kept under, in a .npz file or a mapping: l0.forward.i, engine.output, h_n.

output  h_n  c_n  head  x  h0  c0  lengths      of the run as a whole
l0.forward.h  l1.reverse.c  l0.forward.i        a quantity of one layer and direction
engine.output  l0.forward.engine.h              the engine's number, where both are kept
manual.output                                   the equations' number beside it
engine.keras.output  l0.forward.engine.keras.h  the number of one of several engines
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(
    r"(?:l(?P<layer>0|[1-9][0-9]*)\.(?P<direction>forward|reverse)\.)?"
    r"(?:(?P<whose>engine|manual)\.(?:(?P<engine>.+)\.)?)?"
    r"(?P<quantity>\w+)"
)


@dataclass(frozen=True)
class ArrayName:
    """`quantity` is h, c, a gate, output, h_n …; `place` is its (layer, direction), or None of the run as a whole.

    `whose` is "engine" or "manual" (the equations), or None where the name does not say it; `engine` is the name of
    that engine where several are kept.
    """

    quantity: str
    place: tuple[int, str] | None = None
    whose: str | None = None
    engine: str | None = None

    def __str__(self) -> str:
        place = () if self.place is None else (f"l{self.place[0]}", self.place[1])
        return ".".join(part for part in (*place, self.whose, self.engine, self.quantity) if part)

    @classmethod
    def parse(cls, text: str) -> ArrayName:
        """The parts of a name; a name of another form is a quantity of that name."""
        match = _NAME.fullmatch(text)
        if match is None:
            return cls(text)
        place = None if match["layer"] is None else (int(match["layer"]), match["direction"])
        return cls(match["quantity"], place, match["whose"], match["engine"])
