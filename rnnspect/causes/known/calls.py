"""A run that was cut into calls, each of which begins anew in every layer, also in layers that were not observed.

Where all layers were observed, the first wrong step of each shows where a call begins (`forms/chunks.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import MOST, Edges, in_pieces, where_of
from rnnspect.judging.assumption import Assumption, Stack

_EACH, _ROUND, _LONGEST = 64, (10, 16), 1024
"""In stacks of both directions calls of each length below the first number are tried, and those below the last one
that are multiples of the others."""
_STARTS = {
    "zeros": "every layer lost its state {}, where a call begins: it starts from zeros",
    "initial": "every layer lost its state {}, where a call begins: it starts from the initial state again",
}


def causes(assumed: Assumption) -> Iterator[Cause]:
    stack, steps = assumed.stack, assumed.run.x.shape[0]
    begun = any(bool(state.any()) for states in stack.states.values() for state in states)
    for edges in _edges(stack, steps):
        if len(edges) >= MOST or len(edges) == steps - 1:  # each step by itself is `state-not-carried`
            continue
        where, parameters = where_of(edges, steps)
        for start, said in _STARTS.items():
            if start == "zeros" or begun:
                yield Cause(
                    "chunk-state-lost",
                    said.format(where),
                    "Begin each call with the states that the one before ended with, in every layer.",
                    functools.partial(_each_anew, edges=edges, zeros=start == "zeros"),
                    {"from": start, "which": "every layer", **parameters},
                    reach="stack",
                )


def _edges(stack: Stack, steps: int) -> Iterator[Edges]:
    """Where calls may begin: in one direction at the first step that differs, in reverse counted from the end, or at
    windows of the input, of which the last may be shorter. With both, the first step differs in the first call already,
    of which the reverse direction begins elsewhere; there each length is tried."""
    first = stack.differs_at
    if first is None:
        return
    if stack.spec.bidirectional:
        longer = (size for each in _ROUND for size in range(each, min(steps, _LONGEST), each))
        yield from (tuple(range(size, steps, size)) for size in sorted({*range(2, min(steps, _EACH)), *longer}))
    elif stack.spec.reverse and 0 < first < steps:
        last = steps - first
        windows = (tuple(range(size, steps, size)) for size in range(first, last + 1) if last % size == 0)
        yield from dict.fromkeys([tuple(range(steps % first or first, steps, first)), *windows, (last,)])
    elif 0 < first < steps:
        yield from dict.fromkeys([tuple(range(first, steps, first)), (first,)])


def _each_anew(assumed: Assumption, edges: Sequence[int], zeros: bool) -> Assumption:
    """The calls as items of the batch, each of which begins with zeros or with the initial state."""
    own = [state.double() for state in assumed.run.state]
    begun = [torch.cat([v, (0 * v if zeros else v).repeat(len(edges), 1)]) for v in own]
    made = in_pieces(assumed, edges, [(v, torch.zeros_like(v)) for v in begun])
    if assumed.seen:
        return made
    sizes = [stop - start for start, stop in zip([0, *edges], [*edges, assumed.run.x.shape[0]], strict=True)]

    def back(values: Tensor, _initial: Tensor) -> Tensor:
        calls = values.tensor_split(len(sizes), 1)
        return torch.cat([call[:size] for call, size in zip(calls, sizes, strict=True)])

    return replace(made, back=back)
