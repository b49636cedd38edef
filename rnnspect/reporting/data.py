"""What a report holds: frozen data, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rnnspect.network.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from rnnspect.arithmetic.expression import Array, Expression
    from rnnspect.judging.verdict import Verdict
    from rnnspect.network.parameters import Shapes
    from rnnspect.network.spec import Spec
    from rnnspect.reporting.downsampling import Picture


@dataclass(frozen=True)
class Map:
    """A quantity, step × unit: of the equations or of the engine, their difference, or its ratio to the bound."""

    quantity: str
    shown: str
    """ "equations", "engine", "difference" or "ratio"."""
    picture: Picture


@dataclass(frozen=True)
class Curve:
    """One number a step, such as the norm of h."""

    name: str
    picture: Picture


@dataclass(frozen=True)
class EngineBeside:
    """The engine's h at the kept steps (kept, P), and how far a check lets it be from the equations'."""

    engine: Array
    bound: Array


@dataclass(frozen=True, eq=False)
class Derivable:
    """What a page derives the quantities of one layer and direction from, at the kept steps."""

    equations: dict[str, Expression]
    parameters: Mapping[str, Tensor]
    """Of all layers."""
    given: dict[int, dict[str, Array]]
    """By step of the input, in order: what `given_of` gives."""


@dataclass(frozen=True)
class LayerReport:
    """One layer and direction of the batch item that is shown."""

    layer: int
    direction: str
    maps: tuple[Map, ...]
    curves: tuple[Curve, ...]
    saturated: dict[str, str]
    """When a unit of a gate counts as saturated: "below 0.05 or above 0.95"."""
    derivable: Derivable
    beside: EngineBeside | None
    """None where the engine did not show this layer."""


@dataclass(frozen=True)
class Report(Shown):
    """A run as a page shows it.

    The equations are those of a check: each step starts from what the engine gave at the step before.
    """

    spec: Spec
    shapes: Shapes
    verdict: Verdict
    steps: int
    items: int
    """How many sequences the batch has."""
    item: int
    length: int
    """Steps of the item that is shown."""
    batched: bool
    layers: tuple[LayerReport, ...]
    weights: dict[str, Picture]
    """Every parameter, row × column; a bias has one column."""
    command: str | None
    """How the run was described on the command line, for commands that say more of it; None for a live module."""
    recorded: bool
    """Whether what is shown is somebody's recording."""
