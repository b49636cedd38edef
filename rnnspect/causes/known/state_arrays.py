"""Arrays of states that a loop shares. h is written over while a step still reads it: a unit sees the new h of the
units before it, which is known where h was recorded. Or all items of a batch go on from one state."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.cells.gru import CELL as GRU
from rnnspect.cells.interface import Arithmetic, V
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import INPUT

_AT_ONCE = (1, 4, 8, 16)
"""How many units are computed before they are written, by one loop or by the lanes of a vector."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    run, cell = assumed.run, assumed.cell
    steps, batch = run.x.shape[:2]
    if batch > 1 and steps > 1 and run.lengths is None:
        yield Cause(
            "batch-mixed",
            "all items of the batch share one state: each goes on from the state that the item before it left",
            "Keep a state for each item, or run each item through all of its steps before the next.",
            _with_one_state,
            {"what": "one state"},
        )
    exact = assumed.seen and run.error is None and not (assumed.u.relative or assumed.u.absolute)
    if not exact or not cell.torch_name or cell.mixes or assumed.p.weight_hr is not None:
        return
    for units in _AT_ONCE:
        if units < assumed.units:
            at_once = "unit by unit" if units == 1 else f"{units} units at a time"
            yield Cause(
                "state-updated-in-place",
                f"h is written over {at_once}, so that the units after them see the new h in place of the old one",
                "Keep the new h in an array of its own until all units of the step are computed.",
                functools.partial(_in_place, units=units),
                {"units": units},
            )


def _with_one_state(assumed: Assumption) -> Assumption:
    """Every step of every item is a step of one long run: step 0 of each item in turn, then step 1 …"""
    run = assumed.run
    steps, batch = run.x.shape[:2]

    def in_turn(values: Tensor) -> Tensor:
        return (values.flip(1) if run.reverse else values).flatten(0, 1).unsqueeze(1)

    def back(values: Tensor, _initial: Tensor) -> Tensor:
        of_items = values.reshape(steps, batch, -1)
        return of_items.flip(1) if run.reverse else of_items

    made = replace(assumed, run=run.mapped(lambda values: in_turn(values[:])), back=back)
    return made.with_states(state[:1] for state in run.state)


def _in_place(assumed: Assumption, units: int) -> Assumption:
    """The new h that a step reads comes in as more features of x, for it was observed; W_hh keeps the other weights."""
    p, run, gates = assumed.p, assumed.run, len(assumed.cell.gates)
    block = torch.arange(assumed.units) // units
    is_new = block.unsqueeze(1) > block
    of_x, of_h = p.weight_ih.chunk(gates), p.weight_hh.chunk(gates)
    of_new, of_old = [w * is_new for w in of_h], [w * ~is_new for w in of_h]
    if assumed.cell == GRU:  # what n takes of the new h is multiplied by r
        zeros = torch.zeros_like(of_h[0])
        of_x, of_old = (*of_x, torch.zeros_like(of_x[0])), [*of_old, zeros]
        of_new = [*of_new[:2], zeros, of_new[2]]
        biases = {"bias_ih": p.bias_ih, "bias_hh": p.bias_hh}
        p = p.with_changes(**{name: None if b is None else _with_zeros(b) for name, b in biases.items()})
        assumed = replace(assumed, cell=_GRU)
    weight_ih = torch.cat([torch.cat(both, 1) for both in zip(of_x, of_new, strict=True)])
    wider = run.mapped(lambda x: torch.cat([x[:], run.h.to(p.weight_ih.dtype)], -1), INPUT)
    return replace(assumed, p=p.with_changes(weight_ih=weight_ih, weight_hh=torch.cat(of_old)), run=wider)


def _with_zeros(bias: Tensor) -> Tensor:
    """(3 H) -> (4 H): a fourth block, of zeros."""
    return torch.cat([bias, torch.zeros_like(bias.chunk(3)[0])])


def _gru(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """The GRU with a fourth gate, which is added to what n takes of h before r multiplies that."""
    wx_r, wx_z, wx_n, new = a.split(wx)
    wh_r, wh_z, wh_n, _ = a.split(a.hidden(h))
    r = a.sigmoid(wx_r + wh_r)
    z = a.sigmoid(wx_z + wh_z)
    n = a.tanh(wx_n + r * (wh_n + new))
    return {"r": r, "z": z, "n": n, "h": a.lerp(n, h, z)}


_GRU = replace(GRU, torch_name="", gates=("r", "z", "n", "new"), step=_gru)
