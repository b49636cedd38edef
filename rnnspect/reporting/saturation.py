"""How many units of a gate are saturated: so far out that what goes in hardly moves what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from rnnspect.arithmetic.terms import Address, Applied, Known, Terms, step_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from rnnspect.network.parameters import LayerParameters
    from rnnspect.network.spec import Spec

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


def saturations(spec: Spec, p: LayerParameters, direction: str) -> dict[str, Saturation]:
    """When a unit of each gate is saturated, by the function that makes it; a relu and its like where it is shut."""

    def zeros(name: str, units: int) -> Known:
        return Known(torch.zeros(units), lambda unit: Address(name, (unit,), 0))

    cell, hidden = spec.cell_type, p.weight_hh.shape[1]
    states = [zeros("h", hidden)] + [zeros("c", spec.hidden_size)] * (len(cell.states) - 1)
    a = Terms(p, len(cell.gates), spec.nonlinearity_of(direction), "")
    found = step_of(cell, a, zeros("x", p.weight_ih.shape[1]), tuple(states), 0)
    made = {gate: found[gate].at(0).made for gate in cell.gates}
    # What is made of another gate, f = 1 − i, is a gate as that is.
    return {gate: _KINDS.get(one.function, _SHUT) if isinstance(one, Applied) else _GATE for gate, one in made.items()}
