"""Weight rows that are read in another gate order."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause, both_ways
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption
from rnnspect.weights import layouts
from rnnspect.weights.layouts.table import gate_order

MOST = 5
"""Up to so many gates every order is tried: n gates have n! orders."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    gates = assumed.cell.gates
    for order in orders(gates):
        words, known = " ".join(order), packed_so(assumed, order)
        yield Cause(
            "gate-order",
            f"the gates are read in the order {words}, not {' '.join(gates)}"
            + (f" (as in {listed(known)})" if known else ""),
            both_ways(
                f"reorder the blocks of {assumed.units} rows from {' '.join(gates)} to {words}, or let its code "
                f"read them as {' '.join(gates)}.",
                f"reorder the blocks from {words} to {' '.join(gates)}.",
            ),
            functools.partial(read_as, gates=order),
            {"order": words},
            frameworks=tuple(known),
        )
    if len(gates) > 1 and len(set(assumed.p.gate_sizes(len(gates)))) == 1:
        yield from _unit_by_unit(gates)


def _unit_by_unit(gates: tuple[str, ...]) -> Iterator[Cause]:
    """One side packs all gates of unit 0, then all of unit 1; the other packs all units of the first gate, then all of
    the second."""
    by_unit, by_gate = f"unit by unit ({' '.join(gates)} of unit 0, then of unit 1 …)", "gate by gate"
    for by, stored, read in (("unit", by_gate, by_unit), ("gate", by_unit, by_gate)):
        yield Cause(
            "gate-order",
            f"the rows are packed {stored}, and read {read}",
            both_ways(
                "swap the two axes of the rows: reshape to (gates, units), transpose, and reshape back.",
                "reshape the rows to (units, gates), transpose, and reshape back.",
            ),
            functools.partial(_read_by, by=by, gates=len(gates)),
            {"order": " ".join(gates), "read by": by},
        )


def _read_by(assumed: Assumption, by: str, gates: int) -> Assumption:
    def read(packed: Tensor) -> Tensor:
        units = len(packed) // gates
        axes = (units, gates) if by == "unit" else (gates, units)
        return packed.reshape(*axes, *packed.shape[1:]).transpose(0, 1).reshape(packed.shape)

    return assumed.with_rows(read)


def orders(gates: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Other orders of the gates: all, if there are few gates; else those in which two are exchanged, or one is
    moved."""
    if len(gates) <= MOST:
        yield from itertools.islice(itertools.permutations(gates), 1, None)
        return
    moved: dict[tuple[str, ...], None] = {}
    for one, other in itertools.permutations(range(len(gates)), 2):
        exchanged, rest = [*gates], [*gates[:one], *gates[one + 1 :]]
        exchanged[one], exchanged[other] = gates[other], gates[one]
        moved[tuple(exchanged)] = moved[*rest[:other], gates[one], *rest[other:]] = None
    yield from moved


def packed_so(assumed: Assumption, order: tuple[str, ...]) -> list[str]:
    """The frameworks that pack a layer of this cell in that order."""
    form = "gru-before" if "before" in assumed.cell.variant else assumed.cell.name
    return [
        layout.name
        for layout in layouts.every()
        if (packing := layout.cells.get(form)) is not None and gate_order(packing) == " ".join(order)
    ]


def read_as(assumed: Assumption, gates: tuple[str, ...]) -> Assumption:
    """The assumption in which the blocks of every packed parameter are read as these gates, in this order."""
    own = assumed.cell.gates
    rows = dict(zip(own, assumed.p.gate_sizes(len(own)), strict=True))
    sizes = [rows[gate] for gate in gates]
    return assumed.with_rows(lambda packed: assumed.packed(dict(zip(gates, torch.split(packed, sizes), strict=True))))
