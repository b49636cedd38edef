"""Mistakes in the state that is handed on from a chunk of steps to the next, or from a call to the next.

Such a run is wrong at the first step of a chunk alone: each step is judged on the h that the engine gave before it. So
the first wrong step tells where a chunk begins.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._chunk_edges import ROWS, edges_of, in_pieces, where_of
from rnnspect.judging.cell_state import State
from rnnspect.judging.chunks import LayerRun, chunks
from rnnspect.judging.estimate import estimate
from rnnspect.judging.interpretation import Interpretation

Handed = tuple[tuple[Tensor, Tensor], ...]
"""Each state (B, ·) with which a chunk begins, and how far it may be off."""

_CARRY = "Begin each chunk, and each later call, with the state that the one before ended with."
_WORDS = {
    "zeros": ("chunk-state-lost", "{} lost {}, where a chunk or a later call begins: it starts from zeros", _CARRY),
    "initial": ("chunk-state-lost", "{} lost {}, where a chunk begins: it starts from the initial state again", _CARRY),
    "doubled": (
        "chunk-state-doubled",
        "{} counted twice {}, where a chunk or a later call begins",
        "Add the state of the chunk before once: in the first step of the chunk, or beside all of them, not both.",
    ),
    "left out": (
        "chunk-step-apart",
        "{} one step old {}, where a chunk or a later call begins: the last step before it is left out",
        _CARRY,
    ),
    "twice": (
        "chunk-step-apart",
        "{} one step ahead {}, where a chunk or a later call begins: the last step before it is processed twice",
        "Begin a chunk, or decoding, with the first step that the calls before it have not seen.",
    ),
}


def causes(reading: Interpretation) -> Iterator[Cause]:
    run = reading.run
    if not reading.seen or run.reverse or run.lengths is not None:
        return
    begun = any(bool(state.any()) for state in run.state)
    for edges in edges_of(reading):
        where, parameters = where_of(edges)
        for kind, (name, explanation, fix) in _WORDS.items():
            for lost in _states(run, kind):
                if kind == "initial" and not begun:
                    continue
                which = " and ".join(lost)
                subject = "the state is" if len(lost) == len(run.state) else f"{which} is"
                change = functools.partial(_begun_anew, edges=edges, kind=kind, lost=lost)
                yield Cause(
                    name, explanation.format(subject, where), fix, change, {"from": kind, "which": which, **parameters}
                )


def _states(run: LayerRun, kind: str) -> list[tuple[str, ...]]:
    """Which states a mistake may be made with: of what is lost one alone, too."""
    if run.c0 is None:
        return [("h",)]
    return [("h", "c"), ("h",), ("c",)] if kind in ("zeros", "doubled") else [("h", "c")]


def _begun_anew(reading: Interpretation, edges: tuple[int, ...], kind: str, lost: tuple[str, ...]) -> Interpretation:
    handed = zip(*_handed(reading, edges, kind, lost), strict=True)
    each = [zip(*state, strict=True) for state in handed]
    return in_pieces(reading, edges, [(torch.cat(v), torch.cat(e)) for v, e in each])


def _handed(reading: Interpretation, edges: tuple[int, ...], kind: str, lost: tuple[str, ...]) -> list[Handed]:
    """The states with which each chunk begins."""
    run = reading.run
    first: Handed = tuple((state.double(), torch.zeros_like(state, dtype=torch.float64)) for state in run.state)
    found = [first]
    for start, stop in zip([0, *edges], edges, strict=False):
        ended = _ended(reading, start, stop, found[-1])
        if kind == "zeros":
            wrong: Handed = tuple((torch.zeros_like(v), torch.zeros_like(e)) for v, e in ended)
        elif kind == "initial":
            wrong = first
        elif kind == "doubled":
            wrong = tuple((2 * v, 2 * e) for v, e in ended)
        elif kind == "left out":
            wrong = _ended(reading, start, stop - 1, found[-1])
        else:
            wrong = _stepped(reading, stop - 1, ended)
        names = ("h", "c")[: len(ended)]
        found.append(tuple(w if name in lost else e for name, w, e in zip(names, wrong, ended, strict=True)))
    return found


def _ended(reading: Interpretation, start: int, stop: int, begun: Handed) -> Handed:
    """The states behind the last of these steps: h as the engine gave it, and c by the equations."""
    if stop == start:
        return begun
    run, layer = reading.run, reading.equations
    h = run.h[stop - 1].double()
    found = [(h, torch.zeros_like(h))]
    if run.c0 is not None:
        (h0, _), (c0, error) = begun
        part = replace(run.take(slice(start, stop)), h0=h0.to(run.h0), c0=c0.to(run.c0))
        state: State | None = State(c0.to(layer.dtype), error.to(layer.dtype), layer.u)
        for chunk in chunks(part, 1 if layer.stepwise else ROWS):
            state = layer.after(layer.compare(chunk, state, layer.plain))
        assert state is not None
        c = state.number(torch.float64)
        found.append((c.v, c.e))
    return tuple(found)


def _stepped(reading: Interpretation, step: int, begun: Handed) -> Handed:
    """The states after one step more, from these."""
    one = reading.with_run(**{name: getattr(reading.run, name)[step : step + 1] for name in ("x", "h")})
    if reading.run.error is not None:
        one = one.with_run(error=reading.run.error[step : step + 1])
    one = replace(one, u=replace(reading.u, relative=0.0, absolute=0.0)).begun_with(begun)
    return estimate(one).final
