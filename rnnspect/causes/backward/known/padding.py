"""A padded batch: gradients go through the steps beyond an item's end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.unroll import run_layer
from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.layer import cast
from rnnspect.network.progress import untold

_ROOM = 2**10
"""How far, in roundings, an engine's h in padding, which was not recorded, may be from the one computed here."""


def causes(seen: Seen) -> Iterator[BackwardCause]:
    assumed = seen.assumed
    if assumed.run.lengths is None:
        return
    fix = "Set dL/d(pre-activations) to zero beyond an item's end, and pass dL/dh and dL/dc on as they are."
    if not assumed.cell.has_cell_state:
        yield BackwardCause(
            "grad-through-padding",
            "gradients go through the padding, where the state was only kept",
            fix,
            _through_kept,
            {"how": "kept"},
        )
    if assumed.direction == "forward":
        yield BackwardCause(
            "grad-through-padding",
            "gradients go through the padding: the state runs on beyond an item's end, and dL/dh_n is taken there",
            fix + " Take h_n at each item's own end.",
            _through,
            {"how": "goes on"},
        )


def _through_kept(assumed: BackwardAssumption) -> BackwardAssumption:
    run = assumed.run
    assert run.lengths is not None
    return _unpadded(assumed, run.h0 if run.reverse else run.h[run.lengths - 1, torch.arange(run.x.shape[1])], None)


def _through(assumed: BackwardAssumption) -> BackwardAssumption:
    run, p = assumed.run, cast(assumed.p, torch.float64)
    state = tuple(initial.double() for initial in run.state)
    a = Numbers(p, len(assumed.cell.gates), assumed.nonlinearity)
    h = run_layer(assumed.cell, a, a.input(run.x[:].double()), state, None, untold)[0]["h"].to(run.h.dtype)
    return _unpadded(assumed, h, h.abs().clamp(min=1) * _ROOM * assumed.u.sums)


def _unpadded(assumed: BackwardAssumption, h: Tensor, room: Tensor | None) -> BackwardAssumption:
    """With this h beyond an item's end. `room` is how far an engine's may be from it there."""
    run = assumed.run
    beyond = ~run.inside.unsqueeze(-1)
    error = None if room is None else torch.where(beyond, room, 0)
    return assumed.with_back(run=replace(run, h=torch.where(beyond, h, run.h), lengths=None, h_error=error))
