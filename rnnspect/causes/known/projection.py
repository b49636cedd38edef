"""An LSTM's projection applied in the wrong place, or reshaped instead of transposed.

h is projected to fewer units than the cell has, so an engine that leaves the projection out, or applies it twice or
before the output gate, finds shapes that do not fit. What is here runs all the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.kernels import reshaped, reshaped_not_transposed, transposing
from rnnspect.cells import CELLS
from rnnspect.cells.interface import Arithmetic, V
from rnnspect.judging.assumption import Assumption


def causes(assumed: Assumption) -> Iterator[Cause]:
    w_hr = assumed.p.weight_hr
    if w_hr is None:
        return
    units, width = w_hr.shape
    for how, step, equation in (
        ("tanh after it as well", _squashed_again, "h = tanh(W_hr (o ⊙ tanh(c)))"),
        ("tanh after it", _squashed_after, "h = tanh(W_hr (o ⊙ c))"),
    ):
        yield Cause(
            "projection-misplaced",
            f"tanh is applied after the projection: {equation}",
            "Compute h = W_hr (o ⊙ tanh(c)): the projection comes last.",
            functools.partial(replace, cell=replace(CELLS["lstm"], step=step)),
            {"how": how},
        )
    yield Cause(
        "projection-misplaced",
        f"the projection is missing: h is the first {units} of the {width} units of o ⊙ tanh(c)",
        "Multiply o ⊙ tanh(c) by W_hr before returning it and passing it to the next step.",
        lambda r: r.with_parameters(weight_hr=torch.eye(units, width, dtype=w_hr.dtype)),
        {"how": "left out"},
    )
    for how in ("as in × out", "from in × out"):
        yield Cause(
            "kernel-reshaped",
            f"weight_hr is {reshaped_not_transposed(how)}",
            transposing("weight_hr"),
            functools.partial(reshaped, names=("weight_hr",), how=how),
            {"which": "weight_hr", "how": how},
        )


def _squashed_again(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    q = CELLS["lstm"].step(a, wx, h, c)
    return q | {"h": a.tanh(q["h"])}


def _squashed_after(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    q = CELLS["lstm"].step(a, wx, h, c)
    return q | {"h": a.tanh(a.project(q["o"] * q["c"]))}
