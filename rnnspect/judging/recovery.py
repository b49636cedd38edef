"""What was recovered of an engine's parameters: frozen data, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Likeness:
    """What a parameter of an engine, recovered from what it gave, is to ours."""

    layer: int
    direction: str
    name: str
    kind: str
    """A fixed id: multiple, half, bits, columns, rows, both, transposed, shift, entries, others, zeros, low_rank,
    noise, other."""
    said: str
    checkpoint: str | None = None
    """Whose weights it has, where they are those of another checkpoint."""


@dataclass(frozen=True)
class RecoveredLayer:
    """One layer and direction."""

    layer: int
    direction: str
    rows: int
    """Steps × items that were looked at."""
    shrinks: float
    """How many times smaller what differs is with the recovered parameters."""
    explains: bool
    """Whether with them no more is left than rounding, in most units."""
    lost: tuple[int, ...]
    """The other units."""
    likenesses: tuple[Likeness, ...]
    """What they are to ours, where they explain the run; empty where all are as here."""
    count: int
    """How many numbers there are."""
    untold: int
    """How many of them the steps do not tell."""
    why_untold: str | None
    """Why, and what would tell them; None where all are told."""
    kept: bool
    """Whether these are ours. Else they moved with others: all together give the engine's h."""
    together: bool
    """Whether of two biases only the sum is told, so that the second is left at ours, if nothing said what it is."""
    exact: bool
    """Whether the parameters are exactly what is said of them, and ours where nothing is: that explains the run as
    well as what was found freely."""


@dataclass(frozen=True)
class Recovery:
    """The parameters of an engine, as what it gave shows them."""

    layers: tuple[RecoveredLayer, ...]
    parameters: Mapping[str, Tensor] = field(repr=False)
    """All of the network's, by PyTorch's names; ours where nothing was told."""
    differences: Mapping[str, Tensor] = field(repr=False)
    """Of those layers, recovered − ours in float64; NaN where the numbers do not tell it."""
    errors: Mapping[str, Tensor] = field(repr=False)
    """The standard error of each of these; infinite where the numbers do not tell it."""
    left_out: tuple[str, ...]
    """Layers that could not be recovered, and why."""
    compared: tuple[str, ...]
    """The other checkpoints that they were compared with."""
