"""The parameters of one layer and direction as an engine's numbers show them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspect.judging.interpretation import At, Interpretation
from rnnspect.network.parameters import LayerParameters


@dataclass(frozen=True)
class Recovered:
    """The parameters of one layer and direction as an engine's h shows them, in float64."""

    at: At
    gates: tuple[str, ...]
    """Whose blocks of rows its matrices have, where all are of one size."""
    ours: LayerParameters
    theirs: LayerParameters
    error: LayerParameters
    """The standard error of each; infinite for what the numbers cannot tell, which is left at ours."""
    rows: int
    """Steps × items that were looked at."""
    shrinks: float
    """How many times smaller what differs is with their parameters, in the units that these explain."""
    lost: tuple[int, ...]
    """Units of which more is left than a correct engine may err by. They are at ours."""
    units: int
    right: bool = False
    """Whether ours leave no more than a correct engine may err by, so that nothing is said of theirs."""

    @property
    def explains(self) -> bool:
        """Whether other parameters explain most units, at least."""
        return 2 * len(self.lost) < self.units


def unknowns(reading: Interpretation) -> int:
    """How many parameters a hidden unit answers to."""
    return len(reading.cell.gates) * (reading.p.terms - 1) + len(reading.cell.peepholes) + len(reading.p.own)


def like(p: LayerParameters, value: float | None = None, rows: Tensor | None = None) -> LayerParameters:
    """A copy: all of it or some rows, as it is or filled with a value."""
    made = {}
    for name, w in p.tensors.items():
        cut = w if rows is None else w[rows[rows < len(w)]]
        made[name] = cut.clone() if value is None else torch.full_like(cut, value)
    return p.with_changes(**made)


def squares(residual: Tensor) -> Tensor:
    """Of each unit, over all steps and items."""
    return residual.square().sum((0, 1))
