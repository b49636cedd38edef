"""One number of a run as arithmetic that can be read and added up again: frozen data, nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.network.shown import Shown

if TYPE_CHECKING:
    from rnnspect.arithmetic.terms import Address, Term
    from rnnspect.network.recording import EngineInfo
    from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class At:
    """The address of a number; `step` is the index in the input."""

    layer: int
    direction: str
    step: int
    batch: int
    unit: int
    quantity: str


@dataclass(frozen=True)
class Equation:
    """A quantity of the step and unit, taken apart as far as named quantities and parameters."""

    address: Address
    written: str | None
    """The line of mathematics in the cell's file."""
    term: Term


@dataclass(frozen=True)
class InTurn:
    """A number that a derivation stops at, and how to derive it; `unit` says it for each k of a sum."""

    what: str
    layer: int
    direction: str
    step: int
    unit: str
    quantity: str


@dataclass(frozen=True)
class Derivation(Shown):
    """A number from the equations in float64, how it comes about, and the engine's beside it.

    `equations` holds the quantity first, then what it needs of the same step and unit. They are computed on what the
    engine itself showed of the step before, as in a check; `taken` says where each vector comes from.
    """

    spec: Spec
    engine: EngineInfo
    at: At
    items: int
    """How many sequences the batch has."""
    equations: tuple[Equation, ...]
    taken: tuple[tuple[str, str], ...]
    in_turn: tuple[InTurn, ...]
    engine_value: float | None
    """None where the engine does not show the quantity: it shows h, and c of an item's last step."""
    bound: float | None
    """How far apart a check lets the two be at this address, in this `arithmetic`."""
    arithmetic: str
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> float:
        return self.equations[0].term.value

    @property
    def difference(self) -> float | None:
        """engine − equations; 0 where both are the same infinity or both NaN."""
        if self.engine_value is None:
            return None
        same = self.engine_value == self.value or (math.isnan(self.engine_value) and math.isnan(self.value))
        return 0.0 if same else self.engine_value - self.value

    @property
    def ratio(self) -> float | None:
        """|difference| / bound; infinite where only one of both is a number."""
        if self.difference is None or self.bound is None:
            return None
        ratio = abs(self.difference) / self.bound if self.difference else 0.0
        return math.inf if math.isnan(ratio) else ratio
