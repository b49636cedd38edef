"""What an engine that made a known mistake does on its way back through the steps of one layer and direction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from rnnspect.judging.backward.clipped import Clipped
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.chunks import Chunk
from rnnspect.network.parameters import LayerParameters


@dataclass(frozen=True)
class StepMistake:
    """What it does in place of what the equations say, beside `Changes` of edges; the defaults are no mistake."""

    detached: Callable[[str, Tensor], Tensor] | None = None
    """From the name of a state and places in processing order to whether the state before each of these steps is
    detached."""
    skipped: int = 0
    """How many first steps it does not go over: these have no gradients, and what comes to the state after them is
    given for the gradient of the initial state."""
    weights: LayerParameters | None = None
    """The weights that it goes back with, where it went forwards with others."""
    terms: Callable[[list[Term], Chunk], list[Term]] | None = None
    """From the terms of the parameters' gradients in some steps to those that it adds up."""
    given_x: Callable[[Tensor], Tensor] | None = None
    """From dL/dx of the direction (T, ·, I) to what it returns."""
    dropped: Callable[[Tensor], Tensor] | None = None
    """From the factors of dropout for x to those that it multiplies dL/dx with."""
    clipped: Clipped | None = None
    """What it clips at each step."""
