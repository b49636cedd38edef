"""Mistakes in the decays of a delta rule that computes a chunk of steps at once: what was handed on to the chunk, and
what its steps add, are both read by each step and taken off what it adds, by products of their own."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import (
    STEPS,
    Edges,
    edges_of,
    few_in_order,
    steps_over,
    where_of,
    with_halves,
)
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, Inexact, begun_anew, goes_on
from rnnspect.causes.known.forms._chunk_sums import decays_of, multiplied
from rnnspect.causes.known.forms._decay_words import (
    ADDED,
    ADDED_LATE,
    BOTH,
    EVERY,
    HANDED,
    IDS,
    ITS_OWN,
    ITSELF,
    LEFT,
    ONCE,
    READ,
    TWICE,
    WORDS,
)
from rnnspect.causes.known.forms._parted_cell import InParts, in_parts
from rnnspect.causes.known.forms.carried import unused_by
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption
from rnnspect.network.parameters import BlockSizes

READ_ALONE, TAKEN_OFF, GOES_ON = "read alone", "taken off", "read and handed"
_PLACES = {
    BOTH: "",
    READ: "in what the steps of a chunk compute, not in what it hands on",
    READ_ALONE: "in what its steps read, not in what they subtract",
    TAKEN_OFF: "in what its steps subtract, not in what they read",
    HANDED: "in what a chunk hands on alone",
    GOES_ON: "in what its steps read and what it hands on, not in what they subtract",
}
MADE_IN = {
    **dict.fromkeys((ITS_OWN, EVERY, ADDED, ITSELF, ADDED_LATE), tuple(_PLACES)),
    # `carried.py` has what is read and subtracted alike.
    **dict.fromkeys((LEFT, TWICE), (READ_ALONE, TAKEN_OFF, GOES_ON)),
}
_HELD = (EVERY, LEFT, TWICE)
"""Mistakes for which a third block holds the state before the chunk as the mistake has it."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    parts = in_parts(assumed.cell)
    if parts is None or parts.kind != "delta" or len(assumed.cell.cell_state) != 1:
        return
    if not few_in_order(assumed):
        return
    usual = edges_of(assumed)
    for mistake, places in MADE_IN.items():
        for place in places:
            for edges in _edges(assumed, mistake, place, usual):
                where, parameters = where_of(edges, assumed.run.x.shape[0]) if edges else ("", {})
                said = ", ".join(filter(None, (WORDS[mistake], _PLACES[place])))
                name, fix = IDS.get(mistake, ("chunk-decay-apart", ONCE))
                unused = unused_by(assumed, mistake, place, edges)
                yield Cause(
                    name,
                    said + (where and f"; chunks begin {where}"),
                    fix,
                    functools.partial(_with, mistake=mistake, place=place, edges=edges),
                    {"which": mistake, "in": place, **parameters},
                    unused=unused,
                )


def _edges(assumed: Assumption, mistake: str, place: str, usual: list[Edges]) -> Iterator[Edges]:
    """Where chunks begin if the mistake is made in `place`; nothing where no edge explains the run."""
    found = with_halves(usual, assumed.run.x.shape[0])
    wrong = in_three(assumed, mistake, place)
    if place != HANDED:
        over = steps_over(wrong)
        if not over:
            yield from [()] if place in (BOTH, READ_ALONE, GOES_ON) else []
            return
        found = edges_of(wrong, over)
    for edges in found:
        at = HandingOn.of_the_first(wrong, edges[0])
        if at.stop <= STEPS and (place == HANDED or goes_on(wrong, at.stop, handed_on(at, mistake, place))):
            yield edges


def _with(assumed: Assumption, mistake: str, place: str, edges: Edges) -> Assumption:
    wrong = in_three(assumed, mistake, place)
    return begun_anew(wrong, edges, functools.partial(handed_on, mistake=mistake, place=place))


def handed_on(at: HandingOn, mistake: str, place: str) -> Handed:
    """The sum of what was handed on and what was added since, with the mistake."""
    handed, added, wrong = at.blocks(at.right)
    if place in (BOTH, HANDED, GOES_ON):
        before = at.blocks(at.without_last)
        if mistake == ADDED_LATE:  # that of the last step is whole
            (v, e), (old, error), (late, off) = added, before[1], wrong
            added = v - late + old, e + off + error
        handed = wrong if mistake in _HELD else before[0] if mistake == ITS_OWN else handed
        added = wrong if mistake in (ADDED, ITSELF) else added
    v, e = handed[0] + added[0], handed[1] + added[1]
    none = torch.zeros_like(v)
    return at.with_blocks({0: (v, e), 1: (none, none), 2: _held(at, mistake, (v, e))})


def _held(at: HandingOn, mistake: str, handed: Inexact) -> Inexact:
    """What the mistake has in place of the state before a chunk, before the first step of the chunk."""
    if mistake in (LEFT, TWICE) and at.stop < at.assumed.run.x.shape[0]:
        first_block = InParts(at.assumed.cell, (0,))
        once = decays_of(at, first_block, at.stop)
        return multiplied({0: handed}, once, first_block, divided=mistake == LEFT)[0]
    none = torch.zeros_like(handed[0])
    return handed if mistake == EVERY else (none, none)


def in_three(assumed: Assumption, mistake: str, place: str) -> Assumption:
    """The assumption with its state in three parts: what was handed on, what was added since, and what the mistake
    makes of one of these."""
    p, run, gates = assumed.p, assumed.run, len(assumed.cell.gates)
    assert run.c0 is not None
    none = torch.zeros_like(run.c0)
    blocks = BlockSizes(p.gate_sizes(gates), p.state_sizes(gates) * 3, p.units(gates))
    made = replace(assumed, cell=_cell(assumed.cell, mistake, place)).with_parameters(blocks=blocks)
    begun = torch.cat([run.c0, none, none], -1)
    made = made.with_run(c0=begun, c=None, c_error=None)  # nobody observed the parts
    if mistake not in _HELD or not run.c0.any():
        return made
    held, _ = _held(replace(HandingOn.at_the_end(made), stop=0), mistake, (run.c0.double(), none.double()))
    return made.with_run(c0=torch.cat([run.c0, none, held.to(none)], -1))


@functools.cache
def _cell(cell: Cell, mistake: str, place: str) -> Cell:
    @functools.wraps(cell.step)
    def step(arithmetic: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
        a = _InThree(arithmetic, mistake, place, arithmetic.blocks(c))
        q = cell.step(a, wx, h, a)
        return {**q, "c": arithmetic.packed(*a.new)}

    (name, sizes), *_ = cell.cell_state
    return replace(cell, step=step, cell_state=tuple((f"{name} {part}", sizes) for part in ("handed", "added", "off")))


class _InThree:
    """An arithmetic in which a delta rule has its state in parts. The object also stands for the state, which only the
    delta rule may use."""

    def __init__(self, meant: Any, mistake: str, place: str, state: tuple[Any, ...]) -> None:
        self._meant, self._mistake, self._place, self._state = meant, mistake, place, state
        self.new: tuple[Any, ...] = ()

    def delta(self, _state: Any, f: Any, b: Any, k: Any, v: Any, heads: int = 1) -> Any:
        a, mistake, place = self._meant, self._mistake, self._place
        before, since, off = self._state
        decay = a.spread(f, before)
        handed, added = decay * before, decay * since
        held = decay * off if mistake in (LEFT, TWICE) else off
        wrong_handed = before if mistake == ITS_OWN else held if mistake in _HELD else handed
        wrong_added = {ADDED: off, ITSELF: decay * off, ADDED_LATE: since}.get(mistake, added)
        takes = (wrong_handed, wrong_added) if place in (BOTH, READ, TAKEN_OFF) else (handed, added)
        new = a.outer(k, a.spread(b, v) * (v - a.by_key(takes[0] + takes[1], k, heads)), heads)
        ended = added + new
        late = since + new
        off = {ADDED: off + new, ITSELF: decay * (off + new), ADDED_LATE: added}.get(mistake, held)
        self.new = handed, ended, off
        if place not in (BOTH, READ, READ_ALONE, GOES_ON):
            return handed + ended
        return wrong_handed + {ADDED: off, ITSELF: off, ADDED_LATE: late}.get(mistake, ended)

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._meant, operation)
