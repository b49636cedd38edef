"""tanh(c), from which h is made, is handed on in place of c: after each step, or where a chunk of steps or a later call
begins. If it is only returned at the end, `causes/search/final_states.py` says so."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch

from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._operations import with_results
from rnnspect.causes.known.forms._chunk_edges import edges_of, forwards, where_of
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, begun_anew, goes_on
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption

NAME = "cell-state-squashed"
FIX = "Keep c as it is, and use tanh(c) for h alone."


def causes(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    if run.c0 is None:
        return
    if run.x.shape[0] > 1:
        said = "tanh(c) is handed on from step to step in place of c"
        yield Cause(NAME, said, FIX, _at_each_step, {"where": "each step"})
    if not forwards(assumed):
        return
    for edges in edges_of(assumed):
        at = HandingOn.of_the_first(assumed, edges[0])
        if edges[:2] != (1, 2) and goes_on(assumed, edges[0], _squashed(at), edges):
            where, parameters = where_of(edges, assumed.run.x.shape[0])
            said = f"tanh(c) is used as c {where}, where a chunk or a later call begins"
            change = functools.partial(begun_anew, edges=edges, wrong=_squashed)
            yield Cause(NAME, said, FIX, change, {"where": "chunks", **parameters})


def _squashed(at: HandingOn) -> Handed:
    (h, (c, e)), u = at.right, at.assumed.u
    made = torch.tanh(c)  # tanh does not enlarge the error of c
    return h, (made, e + made.abs() * (KERNEL * u.sums + u.stored) + u.tiny)


def _at_each_step(assumed: Assumption) -> Assumption:
    functions = tuple(dict.fromkeys((*assumed.cell.functions, "tanh")))
    cell = replace(_handing_on(assumed.cell), functions=functions)
    assumed = replace(assumed, cell=cell, has_final_states=False)  # it may return c, or tanh(c)
    return assumed.with_run(c=None, c_error=None)  # and record either: neither is what steps go on from


@functools.cache
def _handing_on(cell: Cell) -> Cell:
    """The cell whose next step gets another c than the one that h is made from."""
    return with_results(cell, lambda a, q: {"c": a.tanh(q["c"])})
