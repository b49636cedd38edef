"""A path of the gradient is missing: from one step to the one before, or from the final state."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from rnnspect.arithmetic.tape import Tape
from rnnspect.causes.backward.interface import BackwardCause, Seen, as_it_is, of_edges
from rnnspect.judging.backward.case import BackwardAssumption


def causes(seen: Seen) -> Iterator[BackwardCause]:
    cell, last = seen.assumed.cell, seen.assumed.back.last
    given = [name for name, g in last.items() if bool(g.any())]
    for lost in dict.fromkeys([*((name,) for name in given[::-1]), tuple(given)]):
        if lost:
            said = " and ".join(f"{name}_n" for name in lost)
            yield BackwardCause(
                "grad-final-state-ignored",
                f"the gradient of {said} is ignored: what the loss takes from the final state does not go back",
                f"Start going back from the gradient of {said}, and add that of the output at each step.",
                functools.partial(_without, lost=lost),
                {"state": said},
            )
    if cell.has_cell_state:
        yield of_edges(
            "grad-c-path-lost",
            "the gradient of c is not carried from step to step: f ⊙ dL/dc' is missing",
            "Carry dL/dc = f ⊙ dL/dc' to the step before, beside dL/dh.",
            {"carry-c": None},
        )
        yield of_edges(
            "grad-c-carried-without-f",
            "the gradient of c is carried to the step before as it is: dL/dc', without f",
            "Carry f ⊙ dL/dc' to the step before.",
            {"carry-c": as_it_is},
        )
        yield of_edges(
            "grad-c-from-h-lost",
            "c gets no gradient from h: o ⊙ tanh′(c) ⊙ dL/dh is missing",
            "Add o ⊙ (1 − tanh²(c)) ⊙ dL/dh to dL/dc.",
            {"squash": None},
        )
        yield of_edges(
            "grad-c-after-in-f",
            "the gradient of f uses the cell state after the step, not the one before: dL/df = dL/dc ⊙ c_t",
            "Use dL/df = dL/dc ⊙ c_{t−1}.",
            {"carry-f": _of_c_after},
        )
    yield of_edges(
        "grad-hidden-path-lost",
        "no gradient goes through W_hh to the step before: W_hhᵀ dL/d(pre-activations) is missing",
        "Add W_hhᵀ dL/d(pre-activations) to the gradient of h of the step before; do not detach h.",
        {"hidden": _unless_first, "times-right": None} if cell.mixes else {"hidden": None},
    )


def _without(assumed: BackwardAssumption, lost: tuple[str, ...]) -> BackwardAssumption:
    last: Mapping[str, Any] = {name: g for name, g in assumed.back.last.items() if name not in lost}
    return assumed.with_back(last=last)


def _unless_first(tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
    """Only the first product, which is of h, loses its gradient; another one is of r ⊙ h, and r keeps its gradient."""
    return tape.a.transposed("weight_hh", tape.known(g)) if values[0] else None


def _of_c_after(tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
    return tape.times(g, values[0])
