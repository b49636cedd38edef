"""Items of a batch that begin anew from zeros, each at steps of its own, as the streams of a server do; or all of them
at the same steps, which follow no rule.

The first step of such an item is computed from zeros. So it follows from the x of that step alone, and each step can be
tried by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import (
    MOST,
    ROWS,
    edges_of,
    forwards,
    is_short,
    side_by_side,
    steps_listed,
    tops_of,
    where_of,
)
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption

_FIX = (
    "Begin each later call with the state that the one before ended with. If a sequence is meant to begin at such a "
    "step, cut the batch there and check each sequence by itself."
)
_ROWS = 2**16
"""The most steps times pieces into which a run is cut."""
_LISTED = 3
"""The most items that are listed."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    if not forwards(assumed) or not is_short(assumed) or assumed.run.x.shape[0] < 2:
        return
    begun = _begun_anew_at(assumed)
    if not bool(begun.any()):
        return
    steps, counts = len(begun), assumed.run.step_counts
    edges = tuple(begun.any(1).nonzero().flatten().tolist())
    if all(torch.equal(begun[edge], edge < counts) for edge in edges):
        if len(edges) >= MOST or edges in edges_of(assumed):
            return  # `chunks.py` has these
        where, parameters = where_of(edges, steps)
    else:
        of_items = {item: steps_listed(at) for item, at in enumerate(map(_at, begun.unbind(1))) if at}
        where = listed([f"in batch item {item} at {at}" for item, at in of_items.items()][:_LISTED])
        if len(of_items) > _LISTED:
            where += f" and in {len(of_items) - _LISTED} more"
        parameters = {"items": listed(map(str, of_items)), "step": edges[0]}
    yield Cause(
        "chunk-state-lost",
        f"the state is lost {where}, where a sequence or a later call begins: it starts from zeros",
        _FIX,
        functools.partial(_cut, begun=begun),
        {"from": "zeros", "which": "each item", **parameters},
    )


def _at(begun: Tensor) -> list[int]:
    found: list[int] = begun.nonzero().flatten().tolist()
    return found


def _begun_anew_at(assumed: Assumption) -> Tensor:
    """(T, B): the steps that agree with zeros before them, and not with the state that they should go on from. None of
    them where there are too many to look at, or so many that the state is never handed on."""
    steps, batch = assumed.run.x.shape[:2]
    none = torch.zeros(steps, batch, dtype=torch.bool)
    found = none.clone()
    items, starts, lengths = _pieces(assumed, ~none)
    (tops,) = _tops(_cut(assumed, ~none))
    found[starts, items] = (tops <= 1) & (starts > 0) & (lengths > 0)
    if not bool(found.any()) or 2 * int(found.sum()) > steps * batch:
        return none
    items, starts, lengths = _pieces(assumed, found)
    if len(items) * int(lengths.max()) > _ROWS:
        return none
    is_followed = starts + lengths < assumed.run.step_counts[items]
    tops = _tops(_cut(assumed, found, more=1))[lengths - 1 + is_followed, torch.arange(len(items))]
    at = (starts + lengths)[is_followed], items[is_followed]
    found[at] = tops[is_followed] > 1
    return found


def _tops(assumed: Assumption) -> Tensor:
    return torch.cat([tops_of(compared) for compared in assumed.equations.compared(assumed.run, ROWS)])


def _pieces(assumed: Assumption, begun: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of which item each piece is that begins at step 0 or at one of these steps (T, B), where it begins, and how many
    steps it has."""
    counts, first = assumed.run.step_counts, torch.zeros_like(begun)
    first[0] = True
    items, starts = (begun | first).t().nonzero().unbind(1)
    ends = counts[items]
    ends[:-1] = torch.where(items[1:] == items[:-1], starts[1:], ends[:-1]).minimum(ends[:-1])
    return items, starts, (ends - starts).clamp(min=0)


def _cut(assumed: Assumption, begun: Tensor, more: int = 0) -> Assumption:
    """The run in which items begin from zeros at these steps (T, B). Each piece may have some steps of the next one."""
    items, starts, lengths = _pieces(assumed, begun)
    lengths = (lengths + more).minimum((assumed.run.step_counts[items] - starts).clamp(min=0))
    states = [one.double()[items].masked_fill(starts.unsqueeze(1) > 0, 0) for one in assumed.run.state]
    return side_by_side(assumed, items, starts, lengths, [(one, torch.zeros_like(one)) for one in states])
