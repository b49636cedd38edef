"""Defines what a known mistake of going back is."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import Changes, Tape
from rnnspect.causes.interface import Mistake
from rnnspect.judging.backward.case import BackwardAssumption, SeenLayer
from rnnspect.judging.backward.sums import ParameterGradients

IN_OWN_ORDER = "in the order of each direction"
"""The parameter of a mistake in a loop over steps that both directions share, each in its own order."""


@dataclass(frozen=True)
class BackwardCause(Mistake[BackwardAssumption]):
    """A known mistake of a pass backwards."""

    shows: Literal["gates", "ends", "sums"] = "gates"
    """Where the mistake shows first: in the gradients of the gates, of the initial state, or only of the parameters. If
    gates are wrong, only a mistake that shows there can explain it."""


def of_edges(name: str, explanation: str, fix: str, changes: Changes, **parameters: Any) -> BackwardCause:
    """A mistake in the gradients that go along some edges of the tape."""
    change = functools.partial(BackwardAssumption.with_changes, changes=changes)
    return BackwardCause(name, explanation, fix, change, parameters)


def as_it_is(_tape: Tape, g: Any, _values: tuple[Any, ...]) -> Any:
    """For an edge: the gradient goes on without a factor."""
    return g


def rows_of(values: Any, like: Number) -> tuple[Tensor, Tensor]:
    """The values on an edge of the tape for all steps and items as rows (N, ·), and their bound, in the dtype of
    `like`."""
    own = isinstance(values, Number)
    v, e = (values.v, values.e.expand_as(values.v)) if own else (torch.from_numpy(values), torch.zeros(values.shape))
    return v.flatten(0, 1).to(like.v.dtype), e.flatten(0, 1).to(like.v.dtype)


@dataclass(frozen=True)
class Seen:
    """What is known of one layer and direction when its mistakes are listed."""

    assumed: BackwardAssumption
    layer: SeenLayer
    """What the engine showed of the whole layer, in both directions."""
    known: ParameterGradients
    """The gradients of the parameters of this layer and direction by the equations, with the bound of each entry."""
    order: int | None
    """How many steps are gone back over before the first wrong gradient of a gate; None where all are right."""
    dropped: Tensor | None = None
    """The factors of dropout for the layer's input (T, B, ·): 0, or 1/(1 − p); None where there was no dropout."""
    recorded: float = 0.0
    """How far recorded gradients may be off, relative to the largest of them; for numbers recorded with few decimals
    that is much."""
    has_above: bool = False
    """Whether dL/d of its output comes from a layer above it, in a pass that was seen as a whole."""
    in_both_directions: bool = False
    """Whether a mistake is made in both directions at once, since only the results of both are seen."""

    @property
    def steps(self) -> int:
        return self.assumed.run.x.shape[0]

    @property
    def batch(self) -> int:
        return self.assumed.run.x.shape[1]

    @property
    def unit(self) -> float:
        """The rounding of a stored number."""
        return self.assumed.u.stored

    def engine(self) -> Tensor:
        """Every gradient of a parameter that the engine gave for this place, in one float64 vector."""
        return torch.cat([self.assumed.gradients[name].double().flatten() for name in self.names])

    def own(self) -> Tensor:
        """The same gradients by the equations."""
        return torch.cat([self.known[name][0].flatten() for name in self.names])

    @property
    def names(self) -> list[str]:
        """The parameters whose gradients the engine gave."""
        return [name for name in self.known if name in self.assumed.gradients]


def recorded_to(given: Mapping[str, Tensor], errors: Mapping[str, Tensor]) -> float:
    """The largest error of recorded gradients, relative to the largest number of each."""
    off = [float(errors[name].max()) / max(float(g.abs().max()), 1e-300) for name, g in given.items() if name in errors]
    return max(off, default=0.0)


def is_nothing(wrong: Iterable[Tensor]) -> bool:
    """Whether gradients that are wrong are zero everywhere. Most likely none came then; and any mistake in a sum that
    leaves nothing of it fits: what step 0 adds to dL/dW_hh, with h0 = 0."""
    return not any(bool(g.any()) for g in wrong)


def times(known: ParameterGradients, factor: float, unit: float) -> ParameterGradients:
    """Every gradient times a factor; each bound grows by the rounding of the product."""
    return {
        name: (value * factor, bound * abs(factor) + (value * factor).abs() * 3 * unit)
        for name, (value, bound) in known.items()
    }
