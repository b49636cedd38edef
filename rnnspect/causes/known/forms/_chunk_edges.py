"""Where the chunks of a run may begin, and the run with each chunk begun anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.layer import ComparedChunk

Edges = tuple[int, ...]
"""The steps at which the chunks of a run begin, without step 0."""
ROWS = 256
"""Steps that are compared together."""
MOST = 256
"""The most chunks of a run that are looked at. A run with more of them is not explained by its chunks."""
CLEARLY, _FAR = 2.0, 32.0
"""In bounds. A value below the first may be cleared by another order of summation, one below the second by sums of
logarithms; neither is looked for here."""
_LOOKED_AT, STEPS = 2**14, 2**10
"""Steps times items of a run of which parts are computed apart, and the most steps before its first chunk ends."""
_TURNED = 2**18
"""So many steps × items of a reverse direction, at most, are copied."""
_LISTED = 5
"""The most steps that are listed."""


def forwards(assumed: Assumption) -> bool:
    """Whether chunks are looked for: in a forward run whose h was seen. They begin at the same steps in all items that
    reach them."""
    return assumed.seen and not assumed.run.reverse


def may_be_turned(assumed: Assumption) -> bool:
    """Whether chunks are looked for in a reverse run: it is copied in the order in which it is computed."""
    run = assumed.run
    return assumed.seen and run.reverse and run.lengths is None and run.x.shape[:2].numel() <= _TURNED


def turned_round(assumed: Assumption) -> Assumption:
    """The reverse direction as a forward run: its steps in the order in which they are computed."""
    run = assumed.run
    return replace(assumed, run=replace(run.take(run.order(0, run.x.shape[0])), reverse=False))


def changed_in_reverse(assumed: Assumption, change: Callable[[Assumption], Assumption]) -> Assumption:
    """The reverse direction with a change that is said of a forward run."""
    return change(turned_round(assumed))


def in_order(assumed: Assumption) -> bool:
    """Whether chunks are looked for in a run whose items all have the same number of steps."""
    return forwards(assumed) and assumed.run.lengths is None


def few_in_order(assumed: Assumption) -> bool:
    """Whether chunks are looked for (`in_order`), in a run short enough to compute parts of it by themselves."""
    return in_order(assumed) and is_short(assumed)


def is_short(assumed: Assumption) -> bool:
    steps, batch = assumed.run.x.shape[:2]
    return steps * batch <= _LOOKED_AT


def edges_of(assumed: Assumption, over: dict[int, float] | None = None) -> list[Edges]:
    """At which steps chunks may begin. There are up to three answers: the steps that are clearly wrong, those that are
    wrong at all, and those that are far off. Once a cell state is wrong, it stays wrong, so that only the first edge is
    known; then the others are assumed to follow at the same distance, or not to exist."""
    steps, over = assumed.run.x.shape[0], steps_over(assumed) if over is None else over
    above = [[step for step, ratio in over.items() if ratio > least] for least in (CLEARLY, 1, _FAR)]
    if assumed.run.c0 is None:
        found = [tuple(one) for one in above if 2 * len(one) <= steps]
    else:
        firsts = (one[0] for one in above if one)
        found = [one for first in firsts if first for one in (tuple(range(first, steps, first)), (first,))]
    return [one for one in dict.fromkeys(found) if 0 < len(one) < MOST and one[0] > 0]


def not_far(found: Sequence[Edges]) -> list[Edges]:
    return [edges for edges in found if edges[0] <= STEPS]


def with_halves(found: Sequence[Edges], steps: int) -> list[Edges]:
    """The edges in `found`, and those of chunks of half that length: in a run that begins with zeros the end of the
    first chunk may not show, as nothing is handed on there."""
    halves = (tuple(range(edges[0] // 2, steps, edges[0] // 2)) for edges in found if edges[0] % 2 == 0)
    return list(dict.fromkeys([*found, *halves]))


def steps_over(assumed: Assumption) -> dict[int, float]:
    """The steps at which h is above its bound, each with the largest ratio of difference to bound. A cell with a cell
    state is looked at only up to the first step that is clearly wrong."""
    run, layer = assumed.run, assumed.equations
    found = dict[int, float]()
    for compared in layer.compared(run, ROWS):
        tops = tops_of(compared).amax(1).tolist()
        found |= {compared.chunk.start + at: top for at, top in enumerate(tops) if top > 1}
        if sum(top > CLEARLY for top in found.values()) > (MOST if compared.c is None else 0):
            break
    return found


def tops_of(compared: ComparedChunk) -> Tensor:
    """(steps, batch): the largest ratio of difference to bound at each step of each item."""
    same = compared.q["h"].v == compared.after  # zeros have no bound where nothing was rounded
    return compared.ratio.masked_fill(same, 0).nan_to_num(nan=math.inf).amax(-1)


def where_of(edges: Edges, steps: int) -> tuple[str, dict[str, Any]]:
    """Where the chunks of a run of so many steps begin, in words and as parameters of a cause: at one step, after each
    so many steps up to the end, or at steps that are listed."""
    if len(edges) == 1:
        return f"at step {edges[0]}", {"step": edges[0]}
    if is_at_every_step(edges, steps):
        return "at every step", {"every": 1, "step": 1}
    every = edges[1] - edges[0]
    is_regular = every > 1 and edges == tuple(range(edges[0], steps, every))
    if is_regular and (edges[0] == every or len(edges) > 2):
        begun = "" if edges[0] == every else f" from step {edges[0]} on"
        return f"every {every} steps{begun}", {"every": every, "step": edges[0]}
    return f"at {steps_listed(edges)}", {"steps": listed(map(str, edges)), "step": edges[0]}


def is_at_every_step(edges: Edges, steps: int) -> bool:
    """Whether each step of a run is a chunk. Of a run of two steps it is said at which step the second begins."""
    return len(edges) > 1 and edges == tuple(range(1, steps))


def where_in_reverse(edges: Edges, steps: int) -> tuple[str, dict[str, Any]]:
    """`where_of`, for edges of a run that is turned round, by the steps of the input at which windows of it begin."""
    return where_of(tuple(steps - edge for edge in reversed(edges)), steps)


def steps_listed(steps: Sequence[int]) -> str:
    """Steps in words; of many the first few."""
    told = [str(step) for step in steps]
    if len(told) == 1:
        return f"step {told[0]}"
    few = len(told) <= _LISTED
    return f"steps {listed(told[:-1])} and {told[-1]}" if few else f"steps {listed(told, _LISTED)}"


def part_of(run: LayerRun, start: int, stop: int) -> LayerRun:
    """The steps from `start` to `stop` of a forward run, as many of them as each item has."""
    part = run.take(slice(start, stop))
    if part.lengths is None:
        return part
    return replace(part, lengths=(part.lengths - start).clamp(0, part.h.shape[0]))


def in_pieces(assumed: Assumption, edges: Sequence[int], states: Sequence[tuple[Tensor, Tensor]]) -> Assumption:
    """The run cut at the edges, with its pieces side by side as items of a batch. `states` are the states with which
    they begin (pieces · B, ·), each with its error."""
    counts = assumed.run.step_counts
    starts, stops = torch.tensor([0, *edges]), torch.tensor([*edges, assumed.run.x.shape[0]])
    lengths = (counts - starts.unsqueeze(1)).clamp(min=0).minimum((stops - starts).unsqueeze(1))
    items = torch.arange(len(counts)).repeat(len(starts))
    return side_by_side(assumed, items, starts.repeat_interleave(len(counts)), lengths.flatten(), states)


def side_by_side(
    assumed: Assumption, items: Tensor, starts: Tensor, lengths: Tensor, states: Sequence[tuple[Tensor, Tensor]]
) -> Assumption:
    """Pieces of a forward run side by side as items of a batch: of which item each is, where it begins and how many
    steps it has, (pieces,) each. `states` are the states with which they begin (pieces, ·), each with its error."""
    steps = (starts + torch.arange(int(lengths.max())).unsqueeze(1)).clamp(max=assumed.run.x.shape[0] - 1)
    cut = assumed.run.mapped(lambda values: values[:][steps, items])
    return replace(assumed, run=replace(cut, lengths=lengths), has_final_states=False).begun_with(states)
