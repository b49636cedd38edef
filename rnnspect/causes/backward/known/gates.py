"""A gate that gets no gradient, as if it were a constant."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import Tape
from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption

_CANDIDATES = ("g", "n")


def causes(seen: Seen) -> Iterator[BackwardCause]:
    cell = seen.assumed.cell
    for place, gate in enumerate(cell.gates):
        function = "tanh" if gate in _CANDIDATES else "sigmoid"
        if function not in cell.functions or (cell.name, gate) == ("gru", "r"):  # that of r is a family of its own
            continue
        yield BackwardCause(
            "grad-gate-path-lost",
            f"{gate} gets no gradient, and neither do its rows of the parameters: it was taken for a constant",
            f"Give {gate} its gradient: do not detach it.",
            functools.partial(
                BackwardAssumption.with_changes, changes={function: functools.partial(_but_of, place, function)}
            ),
            {"of": gate},
        )


def _but_of(gate: int, function: str, tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
    """The gradient of what goes into the function, which is 0 in that gate."""
    s, v, own = values
    return tape.times(g, tape.a.slope(function, s, v)) if own != gate else _zeros(g)


def _zeros(like: Any) -> Any:
    if not isinstance(like, Number):
        return np.zeros_like(like)
    return Number(torch.zeros_like(like.v), torch.zeros_like(like.v), like.u)
