"""Mistakes with the weights by which the gates of an LSTM see its cell state."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from rnnspect.causes.interface import Cause
from rnnspect.judging.assumption import Assumption


def causes(assumed: Assumption) -> Iterator[Cause]:
    gates, weights = assumed.cell.peepholes, assumed.p.weight_ch
    if not gates or weights is None:
        return
    blocks = dict(zip(gates, weights.chunk(len(gates)), strict=True))
    for order in itertools.permutations(gates):
        if order == gates:
            continue
        there = dict(zip(order, blocks.values(), strict=True))
        made = torch.cat([there[gate] for gate in gates])
        yield Cause(
            "gate-order",
            f"the peephole weights are read in the order {' '.join(order)}",
            f"Reorder their blocks: they are {' '.join(gates)} here; ONNX has i o f.",
            functools.partial(Assumption.with_parameters, weight_ch=made),
            {"order": " ".join(order), "in": "weight_ch"},
        )
    for left_out in gates:
        rest = {gate: torch.zeros_like(w) if gate == left_out else w for gate, w in blocks.items()}
        if bool(blocks[left_out].any()):
            yield Cause(
                "peephole-left-out",
                f"the gate {left_out} does not see the cell state, and the others do",
                f"Add p_{left_out} ⊙ c to the gate {left_out}, or hand over its block of the peephole weights.",
                functools.partial(Assumption.with_parameters, weight_ch=torch.cat(list(rest.values()))),
                {"gate": left_out},
            )
    yield Cause(
        "peephole-of-the-state-before",
        "the output gate sees the cell state before the step, as i and f do, not the new one",
        "Multiply p_o with the new cell state.",
        lambda r: replace(r, cell=replace(r.cell, step=_of_each if "f" in r.cell.peepholes else _coupled)),
    )


def _of_each(a: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
    s_i, s_f, s_g, s_o = a.gates(wx, h)
    p_i, p_f, p_o = a.peepholes()
    i, f, o = a.sigmoid(s_i + p_i * c), a.sigmoid(s_f + p_f * c), a.sigmoid(s_o + p_o * c)
    g = a.tanh(s_g)
    c = a.carry(f, c, i * g)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": o * a.squash(c)}


def _coupled(a: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
    s_i, s_g, s_o = a.gates(wx, h)
    p_i, p_o = a.peepholes()
    i, o = a.sigmoid(s_i + p_i * c), a.sigmoid(s_o + p_o * c)
    f, g = a.rest(i), a.tanh(s_g)
    c = a.carry(f, c, i * g)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": o * a.squash(c)}
