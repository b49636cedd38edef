"""The parameters of one layer and direction as an engine's numbers show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters

_AS_WELL = 9.0
"""How much more of what is left a parameter may take than chance lets it, as a mean of many. On drawn input it is 0.5
to 4, since roundings of one step come back in the cell state of the next; on one-hot input up to 8."""
NEARER = 0.01
"""The weights of another layer are a start where they leave such a share of what ours leave, as squares."""


class PackedRows(NamedTuple):
    """How rows are packed: gate after gate, each with its number of rows, and in a gate head after head."""

    gates: tuple[tuple[str, int], ...] = ()
    heads: int = 1

    @classmethod
    def of(cls, layer: LayerEquations) -> PackedRows:
        heads = dict(layer.cell.constants).get("heads", 1)
        return cls(tuple(zip(layer.cell.gates, layer.gate_sizes, strict=True)), max(1, int(heads)))

    def slices(self, heads: int) -> list[list[slice]]:
        """Of each gate the rows of each of so many heads; all of them, where a gate is not made of heads."""
        found, start = [], 0
        for _, size in self.gates:
            height = size // heads if size % heads == 0 else size
            found.append([slice(at, at + height) for at in range(start, start + size, height)])
            start += size
        return found

    @property
    def alike(self) -> tuple[str, ...]:
        """The gates, where all have as many rows; else none."""
        return tuple(gate for gate, _ in self.gates) if len({size for _, size in self.gates}) == 1 else ()


@dataclass(frozen=True)
class Recovered:
    """The parameters of one layer and direction as an engine's h shows them, in float64."""

    at: At
    packed: PackedRows
    """Of its weights and biases."""
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


def unknowns(assumed: Assumption) -> int:
    """How many parameters a hidden unit answers to."""
    return len(assumed.cell.gates) * (assumed.p.terms - 1) + len(assumed.cell.peepholes) + len(assumed.p.own)


def like(p: LayerParameters, value: float | None = None, rows: Tensor | None = None) -> LayerParameters:
    """A copy: all of it or some rows, as it is or filled with a value."""
    made = {}
    for name, w in p.tensors.items():
        cut = w if rows is None else w[rows[rows < len(w)]]
        made[name] = cut.clone() if value is None else torch.full_like(cut, value)
    return p.with_changes(**made)


def with_second_bias(theirs: LayerParameters, error: LayerParameters, ours: LayerParameters) -> LayerParameters:
    """Theirs, where of two biases that come together the second is ours: it may be that of another start."""
    first, second, kept = theirs.bias_ih, theirs.bias_hh, ours.bias_hh
    if first is None or second is None or kept is None or error.bias_ih is None or error.bias_hh is None:
        return theirs
    moved = torch.where(error.bias_hh.isinf() & error.bias_ih.isfinite(), second - kept, 0)
    return theirs.with_changes(bias_ih=first + moved, bias_hh=second - moved)


def squares(residual: Tensor) -> Tensor:
    """Of each unit, over all steps and items."""
    return residual.square().sum((0, 1))


@dataclass(frozen=True)
class Claim:
    """Values that the parameters of a layer are said to have."""

    values: LayerParameters
    open: LayerParameters
    """Of truth values: of which numbers it says none."""

    @classmethod
    def ours(cls, found: Recovered) -> Claim:
        """That all of them are ours."""
        none = {name: torch.zeros_like(of, dtype=torch.bool) for name, of in found.ours.tensors.items()}
        return cls(like(found.ours), found.ours.with_changes(**none))

    def with_open(self, found: Recovered) -> LayerParameters:
        """The claimed values; where nothing is claimed, the recovered ones."""
        return self.values.with_changes(
            **{name: torch.where(self.open[name], found.theirs[name], of) for name, of in self.values.tensors.items()}
        )


def explains_as_well(left: Tensor, found: Tensor, rows: int, told: Tensor, open_: Tensor) -> Tensor:
    """Whether what a claim leaves (Σ squares in so many rows) is no more than what was `found` freely leaves, but for
    what numbers that were `told` take of the noise, those that the claim has `open_` aside: the F test."""
    fewer, spare = told - open_, (rows - told).clamp(min=1)
    return left - found <= _AS_WELL * fewer * found / spare
