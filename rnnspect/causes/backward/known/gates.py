"""A gate that gets no gradient, as if it were a constant: the derivative of its function is 0."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import Tape
from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.causes.backward.known.slopes import gates_of, with_slope
from rnnspect.judging.backward.case import BackwardAssumption


def causes(seen: Seen) -> Iterator[BackwardCause]:
    cell = seen.assumed.cell
    for function in (one for one in ("sigmoid", "tanh") if one in cell.functions):
        for place in gates_of(seen.assumed, function):
            gate = cell.gates[place]
            if (cell.name, gate) == ("gru", "r"):  # this one is `grad-reset-path-lost`
                continue
            change = functools.partial(with_slope, function=function, gate=place, slope=_zero)
            yield BackwardCause(
                "grad-gate-path-lost",
                f"{gate} gets no gradient, and neither do its rows of the parameters: it was taken for a constant",
                f"Give {gate} its gradient: do not detach it.",
                functools.partial(BackwardAssumption.with_changes, changes={function: change}),
                {"of": gate},
            )


def _zero(_tape: Tape, _function: str, _s: Any, v: Any) -> Any:
    if not isinstance(v, Number):
        return np.zeros_like(v)
    return Number(torch.zeros_like(v.v), torch.zeros_like(v.v), v.u)
