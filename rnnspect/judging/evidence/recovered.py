"""The parameters of one layer and direction as recovered from an engine's numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters

_AS_WELL = 9.0
"""A claim fits if each parameter that it fixes adds no more than this to the residual, in units of what chance would
add. On drawn input 0.5 to 4 were measured for right claims, since roundings of one step come back in the cell state of
the next; on one-hot input up to 8."""
NEARER = 0.01
"""The weights of another layer are used as a start if they leave at most this share of the squares that ours leave."""


class PackedRows(NamedTuple):
    """How rows are packed: gate after gate, each with its number of rows, and in a gate head after head."""

    gates: tuple[tuple[str, int], ...] = ()
    heads: int = 1

    @classmethod
    def of(cls, layer: LayerEquations) -> PackedRows:
        heads = dict(layer.cell.constants).get("heads", 1)
        return cls(tuple(zip(layer.cell.gates, layer.gate_sizes, strict=True)), max(1, int(heads)))

    def slices(self, heads: int) -> list[list[slice]]:
        """For each gate the rows of each head; all rows of the gate where it is not made of heads."""
        found, start = [], 0
        for _, size in self.gates:
            height = size // heads if size % heads == 0 else size
            found.append([slice(at, at + height) for at in range(start, start + size, height)])
            start += size
        return found

    @property
    def alike(self) -> tuple[str, ...]:
        """The gates, where all have the same number of rows; else none."""
        return tuple(gate for gate, _ in self.gates) if len({size for _, size in self.gates}) == 1 else ()


@dataclass(frozen=True)
class Recovered:
    """The parameters of one layer and direction as an engine's h shows them, in float64."""

    at: At
    packed: PackedRows
    """How the rows of its weights and biases are packed."""
    ours: LayerParameters
    theirs: LayerParameters
    error: LayerParameters
    """The standard error of each number; infinite for those that are not determined, which stay at ours."""
    rows: int
    """How many rows (steps × items) were looked at."""
    shrinks: float
    """How many times smaller the residual is with the recovered parameters, in the units that these explain."""
    lost: tuple[int, ...]
    """Units whose residual remains larger than a correct engine allows. Their parameters stay at ours."""
    units: int
    right: bool = False
    """Whether with our parameters the residual is no larger than a correct engine allows: then nothing is said of
    theirs."""

    @property
    def explains(self) -> bool:
        """Whether the recovered parameters explain most of the units."""
        return 2 * len(self.lost) < self.units


def unknowns(assumed: Assumption) -> int:
    """How many parameters a hidden unit depends on."""
    return len(assumed.cell.gates) * (assumed.p.terms - 1) + len(assumed.cell.peepholes) + len(assumed.p.own)


def like(p: LayerParameters, value: float | None = None, rows: Tensor | None = None) -> LayerParameters:
    """A copy of all rows or some, with their values or filled with one value."""
    made = {}
    for name, w in p.tensors.items():
        cut = w if rows is None else w[rows[rows < len(w)]]
        made[name] = cut.clone() if value is None else torch.full_like(cut, value)
    return p.with_changes(**made)


def with_second_bias(theirs: LayerParameters, error: LayerParameters, ours: LayerParameters) -> LayerParameters:
    """The recovered parameters with our second bias, where two biases are only ever added: the one they have may come
    from another start."""
    first, second, kept = theirs.bias_ih, theirs.bias_hh, ours.bias_hh
    if first is None or second is None or kept is None or error.bias_ih is None or error.bias_hh is None:
        return theirs
    moved = torch.where(error.bias_hh.isinf() & error.bias_ih.isfinite(), second - kept, 0)
    return theirs.with_changes(bias_ih=first + moved, bias_hh=second - moved)


def squares(residual: Tensor) -> Tensor:
    """Σ squares of each unit, over all steps and items."""
    return residual.square().sum((0, 1))


@dataclass(frozen=True)
class Claim:
    """Values that the parameters of a layer are claimed to have."""

    values: LayerParameters
    open: LayerParameters
    """Truth values: the numbers for which nothing is claimed."""

    @classmethod
    def ours(cls, found: Recovered) -> Claim:
        """The claim that all parameters are ours."""
        none = {name: torch.zeros_like(of, dtype=torch.bool) for name, of in found.ours.tensors.items()}
        return cls(like(found.ours), found.ours.with_changes(**none))

    def with_open(self, found: Recovered) -> LayerParameters:
        """The claimed values; where nothing is claimed, the recovered ones."""
        return self.values.with_changes(
            **{name: torch.where(self.open[name], found.theirs[name], of) for name, of in self.values.tensors.items()}
        )


def explains_as_well(left: Tensor, found: Tensor, rows: int, told: Tensor, open_: Tensor) -> Tensor:
    """Whether the residual with a claim (Σ squares over so many rows) is no larger than the residual `found` without
    it, by the F test: parameters that can be chosen freely always fit some of the noise. `told` is how many numbers
    were determined freely, `open_` how many of them the claim leaves open."""
    fewer, spare = told - open_, (rows - told).clamp(min=1)
    return left - found <= _AS_WELL * fewer * found / spare
