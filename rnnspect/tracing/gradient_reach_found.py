"""How far a gradient goes back through time in one layer and direction, and what of the run decides it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class GradientPath:
    """One way from a step to the step before. `ratios` (B, T): ‖what comes out at the step before‖ / ‖what goes in at
    this step‖, by step of the input; NaN where nothing goes in, and beyond an item's length."""

    name: str
    ratios: Tensor

    def rate(self, item: int) -> float | None:
        """The geometric mean of the ratios, of those that are not zero; None where there is none. The first step of
        the direction counts as well: it leads to h0."""
        found = self.ratios[item]
        found = found[found.isfinite() & (found > 0)]
        return math.exp(float(found.log().mean())) if len(found) else None

    def blocked(self, item: int) -> int:
        """At how many steps a gradient goes in, and nothing comes out."""
        return int((self.ratios[item] == 0).sum())


@dataclass(frozen=True)
class Reach:
    """How far the gradient of one layer and direction goes back.

    `norms` (B, T) by state, h and c: ‖dL/dh_t‖ of each item by step of the input, NaN beyond its length; h_next is what
    of it came from later steps, and h_output what came from the output. `saturated` is by gate the share of its values
    where its function is almost flat. `dead` are the units whose h never changes in the run. `time_constants` (H,) are
    -1/ln of the mean of what each unit carries along, its forget gate, in steps; None for a cell that carries nothing.
    `spectral_radius` is that of W_hh by gate, the largest |eigenvalue|; None above 512 units.
    """

    norms: dict[str, Tensor]
    paths: tuple[GradientPath, ...]
    saturated: dict[str, float]
    dead: tuple[int, ...]
    time_constants: Tensor | None
    spectral_radius: dict[str, float | None]
