"""The share of a gate's units that are saturated: where the function that makes them is nearly flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rnnspect.cells.functions import KINDS

if TYPE_CHECKING:
    import numpy.typing as npt

    from rnnspect.arithmetic.expression import Expression

    Array = npt.NDArray[np.float64]

NEAR = 0.05
"""How near to its limit a unit is."""


@dataclass(frozen=True)
class Saturation:
    """A unit counts whose value is at most `low` or at least `high`; `words` say it."""

    words: str
    low: float
    high: float

    def share(self, values: Array) -> Array:
        """Of (steps, units) the share of units at each step: (steps, 1)."""
        with np.errstate(invalid="ignore"):
            share: Array = ((values <= self.low) | (values >= self.high)).mean(1, keepdims=True)
        return share


_GATE = Saturation(f"at most {NEAR} or at least {1 - NEAR}", NEAR, 1 - NEAR)
_SIGNED = Saturation(f"at least {1 - NEAR} in size", NEAR - 1, 1 - NEAR)
_SHUT = Saturation("0 or less", 0.0, np.inf)
_KINDS = {"sigmoid": _GATE, "hard_sigmoid": _GATE, "tanh": _SIGNED, "softsign": _SIGNED}


def saturations(gates: tuple[str, ...], equations: dict[str, Expression]) -> dict[str, Saturation]:
    """When a unit of each gate is saturated, by the function that makes it; a relu and its like where it is shut."""
    made = {gate: equations[gate].kind for gate in gates}
    # What is made of another gate, f = 1 − i, is a gate as that is.
    return {gate: _KINDS.get(kind, _SHUT) if kind in KINDS else _GATE for gate, kind in made.items()}
