"""Which input would tell, where a run leaves a gate unseen."""

from __future__ import annotations

import torch
from torch.nn.functional import linear

from rnnspect.judging.case import Case
from rnnspect.judging.finding import PlaceFinding
from rnnspect.network.parameters import LayerParameters

_LARGE = 3.0
"""A typical W_ih x above which σ and tanh are within a tenth of their ends."""
_ROWS = 256


def which_input_would_tell(case: Case, place: PlaceFinding, shift: float) -> str:
    """What to give a network so that the gates of a layer show that could now be off by `shift` unseen."""
    cell, sequence = case.spec.cell_type, case.sequence
    hidden = (place.finding.resolution > shift).double().mean(1) > 0.5
    gates = [gate for gate, is_hidden in zip(cell.gates, hidden.tolist(), strict=True) if is_hidden]
    at = case.spec.row(place.layer, place.direction)
    if gates == ["f"] and sequence.c0 is not None and not sequence.c0[at].any():
        return "gate f multiplies the cell state, and c0 is zero: --c0 randn, or more steps, would tell"
    if gates == ["r"] and not sequence.h0[at].any():
        return "gate r multiplies what h gives, and h0 is zero: --h0 randn, or more steps, would tell"
    named = f"gate{'s' if len(gates) > 1 else ''} {', '.join(gates)}" if gates else "its gates"
    if place.layer == 0 and (size := _typical(case, place.direction)) > _LARGE:
        return f"W_ih x is typically {size:.2g}, which saturates {named}: an x some {size:.2g} times smaller would tell"
    return f"an input that leaves {named} half open, of more steps, would tell"


def _typical(case: Case, direction: str) -> float:
    """The typical size of W_ih x in the lowest layer, over some of the steps."""
    x = case.sequence.x.flatten(0, 1)
    rows = x[torch.linspace(0, len(x) - 1, min(len(x), _ROWS)).long()].double()
    w = LayerParameters.of(case.parameters, 0, direction).weight_ih.double()
    return float(linear(rows, w).abs().median())
