"""A gate that gets no gradient, as if it were a constant: the derivative of its function is 0."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.causes.backward.known.slopes import constant, gates_of, with_slope
from rnnspect.judging.backward.case import BackwardAssumption


def causes(seen: Seen) -> Iterator[BackwardCause]:
    cell, no_slope = seen.assumed.cell, functools.partial(constant, number=0.0)
    for function in (one for one in ("sigmoid", "tanh") if one in cell.functions):
        for place in gates_of(seen.assumed, function):
            gate = cell.gates[place]
            if (cell.name, gate) == ("gru", "r"):  # this one is `grad-reset-path-lost`
                continue
            change = functools.partial(with_slope, function=function, gate=place, slope=no_slope)
            yield BackwardCause(
                "grad-gate-path-lost",
                f"{gate} and its rows of the parameters get no gradient: it was treated as a constant",
                f"Give {gate} its gradient: do not detach it.",
                functools.partial(BackwardAssumption.with_changes, changes={function: change}),
                {"of": gate},
            )
