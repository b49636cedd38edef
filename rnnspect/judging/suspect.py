"""What evidence says of an engine's parameters: frozen data, and its words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rnnspect.network.shown import apart

_NOTHING = 2.0**-20
"""A factor that is below what float32 shows of one."""

SuspectKind = Literal["parameter", "row", "gate", "unit", "feature", "scale"]


@dataclass(frozen=True)
class Suspect:
    """A parameter, or a group of them, that is another one in the engine, as the residuals of one layer and direction
    say: what is left of the engine's h after that of the equations, at all steps."""

    layer: int
    direction: str
    kind: SuspectKind
    name: str
    """weight_hh_l0[3,5]; row 3 of weight_hh_l0; weight_ih_l0."""
    entry: tuple[str, tuple[int, ...]]
    """The parameter by its full name, and its index there; of a group the first one of it."""
    gate: str | None
    unit: int | None
    ours: float | None
    theirs: float | None
    """Of one parameter its two values."""
    factor: float | None
    """Of a group that is scaled: theirs / ours."""
    shrinks: float
    """How many times smaller the residual is, where the change is made."""
    log10_chance: float
    """log₁₀ of how likely roundings are to look so, times how many parameters could have been named."""
    size: float
    """How large the change is: of a parameter, or of a factor; else of h, as a root mean square."""
    floor: float
    """The largest change, in the same measure, that a correct engine can look like: what its roundings may be where
    they all fall in one direction."""
    usual: float
    """The largest change, in the same measure, that a correct engine usually looks like."""

    @property
    def certain(self) -> bool:
        """Whether no correct engine could look like this."""
        return self.size > self.floor

    @property
    def place(self) -> str:
        """gate f of unit 3, where the name does not say it."""
        said = [f"gate {self.gate}"] if self.gate and "gate" not in self.name else []
        said += [f"unit {self.unit}"] if self.unit is not None and "unit" not in self.name else []
        return " of ".join(said)

    @property
    def said(self) -> str:
        """weight_hh_l0[3,5] is 0.2002 in the engine and 0.2 here."""
        if self.ours is not None and self.theirs is not None:
            theirs, ours = apart(self.theirs, self.ours)
            return f"{self.name} is {theirs} in the engine and {ours} here"
        if self.factor is not None:
            verb = "are" if " and " in self.name else "is"
            if abs(self.factor) < _NOTHING:
                return f"{self.name} {verb} zero in the engine"
            return f"{self.name} {verb} {apart(self.factor, 1.0)[0]} times as large in the engine as here"
        return f"{self.name} has other values in the engine than here"
