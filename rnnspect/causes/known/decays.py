"""Mistakes in the decays of a form that computes many steps of h' = a ⊙ h + b at once: a step that is included where it
does not belong, or left out, and decays that are cumulated along another axis."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from rnnspect.arithmetic.forms import linear_state
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._chunk_edges import edges_of, in_pieces, where_of
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.interpretation import Interpretation
from rnnspect.judging.layer import LayerEquations
from rnnspect.judging.regrouping import coefficients

_ROWS = 2**14
"""Steps times items of a run that is looked at whole."""
_ONCE = (
    "Multiply what the chunk before handed on by the decays from the chunk's first step up to each step, each of them "
    "once: neither the cumulated product nor the cumulated sum may be shifted by a step."
)
_AT_EDGES: dict[str, tuple[str, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "left out": (
        "the decay of the first step of a chunk is left out {}: the state before it comes in whole",
        lambda h, own, _before: h / own,
    ),
    "twice": ("the decay of the first step of a chunk is included twice {}", lambda h, own, _before: h * own),
    "of the step before": (
        "the decay of the step before a chunk is included once more {}",
        lambda h, _own, before: h * before,
    ),
}
"""What an engine did, and from the h before a chunk, the decay of its first step and that of the step before it the h
with which the equations give the same."""


def causes(reading: Interpretation) -> Iterator[Cause]:
    run = reading.run
    if not reading.seen or run.reverse or run.lengths is not None or linear_state(reading.cell) != "h":
        return
    if run.x.shape[0] * run.x.shape[1] > _ROWS:
        return
    yield Cause(
        "decay-own-step",
        "what a step adds is decayed by the step itself: h' = a ⊙ (h + b), not a ⊙ h + b",
        "Multiply what step s adds by the decays of the steps after it alone, from s + 1 on.",
        _decaying_itself,
    )
    for axis, name in ((1, "batch"), (2, "unit")):
        if run.h.shape[axis] > 1:
            yield Cause(
                "decay-wrong-axis",
                f"decays are cumulated over {name}s, not over steps",
                "Take the cumulated product, or the cumulated sum of logarithms, along the axis of the steps.",
                functools.partial(_cumulated, axis=axis),
                {"axis": name},
            )
    for edges in edges_of(reading):
        where, parameters = where_of(edges)
        for which, (explanation, _) in _AT_EDGES.items():
            change = functools.partial(_at_edges, edges=edges, which=which)
            yield Cause("chunk-decay-apart", explanation.format(where), _ONCE, change, {"which": which, **parameters})


def _at_edges(reading: Interpretation, edges: tuple[int, ...], which: str) -> Interpretation:
    run, (a, _), steps = reading.run, _coefficients(reading), torch.tensor(edges)
    handed = _AT_EDGES[which][1](run.h[steps - 1].double(), a[steps], a[steps - 1])
    return _begun_with(reading, edges, torch.cat([run.h0.double()[None], handed]))


def _decaying_itself(reading: Interpretation) -> Interpretation:
    """Each step by itself, from the h with which the equations give a ⊙ (h + b)."""
    run, (a, b) = reading.run, _coefficients(reading)
    h = torch.cat([run.h0.double()[None], run.h[:-1].double()])
    return _begun_with(reading, range(1, len(h)), h + b - b / a)


def _cumulated(reading: Interpretation, axis: int) -> Interpretation:
    """Each step by itself, from the h with which the equations give what follows from the decay exp(L_t − L_{t−1}),
    where L_t are the logarithms of that step's decays, cumulated along the wrong axis."""
    run, (a, _) = reading.run, _coefficients(reading)
    logs = a.log()
    apart = logs.cumsum(axis).diff(dim=0, prepend=torch.zeros_like(logs[:1]))
    h = torch.cat([run.h0.double()[None], run.h[:-1].double()])
    return _begun_with(reading, range(1, len(h)), h * (apart - logs).exp())


def _begun_with(reading: Interpretation, edges: Sequence[int], h: Tensor) -> Interpretation:
    """Each piece begins with its h (pieces, B, H), which is known but for its rounding."""
    states = h.flatten(0, 1)
    return in_pieces(reading, edges, [(states, torch.zeros_like(states))])


def _coefficients(reading: Interpretation) -> tuple[Tensor, Tensor]:
    """a and b of h' = a ⊙ h + b at each step, (T, B, H), in float64."""
    wide = LayerEquations(reading.cell, reading.p, ROUNDOFF[torch.float64], reading.nonlinearity)
    return coefficients(wide, chunk_at(reading.run, 0, reading.run.x.shape[0]))
