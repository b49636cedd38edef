"""A path of the gradient is missing: from one step to the one before, or from the final state."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import Changes, Tape
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
                f"the gradient of {said} is ignored, although the loss uses the final state",
                f"Start the backward pass with the gradient of {said}, and add that of the output at each step.",
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
    if cell.is_recurrent and len(cell.gates) > 1:
        yield from _of_single_gates(seen.assumed)


def _of_single_gates(assumed: BackwardAssumption) -> Iterator[BackwardCause]:
    gates = assumed.cell.gates
    sizes = assumed.p.gate_sizes(len(gates))
    for gate, size, end in zip(gates, sizes, itertools.accumulate(sizes), strict=True):
        of, term = f"W_h{gate} h", f"W_h{gate}ᵀ dL/d(W_h{gate} h)"
        changes: Changes = {"hidden": functools.partial(_without_rows, rows=slice(end - size, end))}
        if (assumed.cell.name, gate) == ("gru", "n") and assumed.cell.mixes:
            of, term = "W_hn (r ⊙ h)", "r ⊙ W_hnᵀ dL/d(W_hn (r ⊙ h))"
            changes = {"times-right": None}
        yield of_edges(
            "grad-hidden-path-lost",
            f"no gradient of {gate} goes through {of} to the h of the step before: {term} is missing",
            f"Add {term} to the gradient of h of the step before.",
            changes,
            of=gate,
        )


def _without_rows(tape: Tape, g: Any, values: tuple[Any, ...], rows: slice) -> Any:
    """The gradient of the first product, which is of h, without what goes through these rows of W_hh."""
    g = tape.known(g)
    return tape.a.transposed("weight_hh", g if values[0] else _zero_in(g, rows))


def _zero_in(g: Any, columns: slice) -> Any:
    if isinstance(g, Number):
        return replace(g, v=_zero_in(g.v, columns), e=_zero_in(g.e, columns) if g.e.dim() else g.e)
    kept = g.clone() if isinstance(g, Tensor) else g.copy()
    kept[..., columns] = 0
    return kept


def _without(assumed: BackwardAssumption, lost: tuple[str, ...]) -> BackwardAssumption:
    last: Mapping[str, Any] = {name: g for name, g in assumed.back.last.items() if name not in lost}
    return assumed.with_back(last=last)


def _unless_first(tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
    """Only the first product, which is of h, loses its gradient; another one is of r ⊙ h, and r keeps its gradient."""
    return tape.a.transposed("weight_hh", tape.known(g)) if values[0] else None


def _of_c_after(tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
    return tape.times(g, values[0])
