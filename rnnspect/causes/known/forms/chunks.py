"""Mistakes in the state that is handed on from a chunk of steps to the next, or from a call to the next.

Such a run is wrong at the first step of a chunk alone: each step is judged on the h that the engine gave before it. So
the first wrong step tells where a chunk begins.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import (
    MOST,
    Edges,
    changed_in_reverse,
    edges_of,
    forwards,
    is_at_every_step,
    may_be_turned,
    turned_round,
    where_in_reverse,
    where_of,
)
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, WrongState, begun_anew, may_go_on, zeros
from rnnspect.causes.known.forms._delay_lines import delayed
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption

_CARRY = "Begin each chunk, and each later call, with the state that the one before ended with."
_OF_ITEMS = "Give each item of the batch the state that the chunk before left for that item."
_LOST, _DOUBLED, _APART, _MIXED = "chunk-state-lost", "chunk-state-doubled", "chunk-step-apart", "batch-mixed"
_OTHERS = "other items"
_WORDS = {
    "zeros": (_LOST, "{} lost {}, where a chunk or a later call begins: it starts from zeros", _CARRY),
    "initial": (_LOST, "{} lost {}, where a chunk begins: it starts from the initial state again", _CARRY),
    "doubled": (
        _DOUBLED,
        "{} counted twice {}, where a chunk or a later call begins",
        "Add the state of the chunk before once: in the first step of the chunk, or beside all of them, not both.",
    ),
    "left out": (
        _APART,
        "{} one step old {}, where a chunk or a later call begins: the last step before it is left out",
        _CARRY,
    ),
    "twice": (
        _APART,
        "{} one step ahead {}, where a chunk or a later call begins: the last step before it is processed twice",
        "Begin a chunk, or decoding, with the first step that the calls before it have not seen.",
    ),
    "item before": (
        _MIXED,
        "{} that of the item before it in the batch {}, where a chunk or a later call begins",
        _OF_ITEMS,
    ),
    "item after": (
        _MIXED,
        "{} that of the item after it in the batch {}, where a chunk or a later call begins",
        _OF_ITEMS,
    ),
    "items reversed": (
        _MIXED,
        "{} taken from the items of the batch in reverse order {}, where a chunk or a later call begins",
        _OF_ITEMS,
    ),
    "first item": (
        _MIXED,
        "{} that of the first item for all items of the batch {}, where a chunk or a later call begins",
        _OF_ITEMS,
    ),
    _OTHERS: (
        _MIXED,
        "{} that of another item of the batch {}, where a chunk or a later call begins, as of reordered beams",
        _OF_ITEMS,
    ),
}
_OTHERS_ITEMS: dict[str, Callable[[int], list[int]]] = {
    "item before": lambda batch: [batch - 1, *range(batch - 1)],
    "item after": lambda batch: [*range(1, batch), 0],
    "items reversed": lambda batch: list(reversed(range(batch))),
    "first item": lambda batch: [0] * batch,
}
"""The item with whose state each item goes on. For two items the first three are the same, and only one is named."""


_Where = Callable[[Edges, int], tuple[str, dict[str, Any]]]
_MOST_ITEMS = 32
"""In batches of at most so many items, each item is tried with the state of each other item."""


def _of_items(at: HandingOn, order: Callable[[int], list[int]]) -> Handed:
    """The right states, but each item has the state of another item."""
    return _taken(at, order(len(at.right[0][0])))


def _taken(at: HandingOn, items: list[int]) -> Handed:
    return tuple((v[items], e[items]) for v, e in at.right)


def _of_others(at: HandingOn) -> Handed:
    """The right states, but each item has the state of the item that explains its next step."""
    return _taken(at, _items_of(at))


def _items_of(at: HandingOn) -> list[int]:
    """The item with whose state each item goes on. It is the item itself where that explains its next step, or where no
    other item does."""
    assumed, batch = at.assumed, len(at.right[0][0])
    step, own = replace(assumed, run=assumed.run.take(slice(at.stop, at.stop + 1))), list(range(batch))
    found = [-1] * batch
    for by in own:
        items = [(item + by) % batch for item in own]
        (compared,) = step.equations.compared(step.begun_with(_taken(at, items)).run, batch)
        right = (compared.ratio.amax(-1)[0] <= 1).tolist()
        found = [other if old < 0 and fits else old for old, fits, other in zip(found, right, items, strict=True)]
    return [item if other < 0 else other for item, other in enumerate(found)]


def _is_of_others(at: HandingOn, edges: tuple[int, ...]) -> bool:
    """Whether items go on with the states of other items at the first two edges, in an order that has no name."""
    own = list(range(len(at.right[0][0])))
    items = _items_of(at)
    if items == own or items in (of(len(own)) for of in _OTHERS_ITEMS.values()):
        return False
    return len(edges) == 1 or _items_of(HandingOn(at.assumed, _taken(at, items), *edges[:2])) != own


_WRONG: dict[str, WrongState] = {
    "zeros": lambda at: zeros(at.right),
    "initial": lambda at: at.first,
    "doubled": lambda at: tuple((2 * v, 2 * e) for v, e in at.right),
    "left out": lambda at: at.without_last,
    "twice": lambda at: at.last_twice,
    **{kind: functools.partial(_of_items, order=order) for kind, order in _OTHERS_ITEMS.items()},
    _OTHERS: _of_others,
}


@dataclass(frozen=True)
class _Part:
    """The states, or blocks of them, in which a mistake is made."""

    which: str
    subject: str
    h: bool = False
    blocks: tuple[int, ...] = ()
    """The places of the blocks of the cell state."""
    is_one_of_several: bool = False
    """Whether other blocks of the cell state are right, so that h may be right, too."""

    def made(self, at: HandingOn, wrong: WrongState) -> Handed:
        """The states with the mistake: the wrong ones in this part, the right ones elsewhere."""
        handed = wrong(at)
        h = (handed if self.h else at.right)[0]
        if not self.blocks:
            return (h, *at.right[1:])
        found = at.blocks(handed)
        return h, at.with_blocks({block: found[block] for block in self.blocks})[1]


def causes(assumed: Assumption) -> Iterator[Cause]:
    """Those of a forward run; of a reverse one those in the order in which it is computed."""
    if forwards(assumed):
        yield from _causes(assumed, _edges(assumed), where_of)
        return
    if may_be_turned(assumed):
        turned = turned_round(assumed)
        for cause in _causes(turned, itertools.chain(_edges(turned), _of_windows(turned)), where_in_reverse):
            yield replace(cause, change=functools.partial(changed_in_reverse, change=cause.change))


def _of_windows(assumed: Assumption) -> Iterator[tuple[Edges, bool]]:
    """Where chunks of a run that is turned round may begin if they are windows of the input, which begin at its first
    step: the first of these chunks is the rest of steps. It is known of a cell with a cell state alone, of which later
    edges are not."""
    steps = assumed.run.x.shape[0]
    if assumed.run.c0 is not None:
        for first in dict.fromkeys(edges[0] for edges in edges_of(assumed)):
            for each in range(first + 1, (steps - first) // 2 + 1):
                if (steps - first) % each == 0 and (steps - first) // each < MOST:
                    yield tuple(range(first, steps, each)), False


def _causes(assumed: Assumption, every: Iterable[tuple[Edges, bool]], where: _Where) -> Iterator[Cause]:
    """The mistakes that may be made where chunks begin, in a forward run, and where that is in words."""
    run = assumed.run
    begun = any(bool(state.any()) for state in run.state)
    kinds = _kinds(assumed, begun)
    if begun:
        yield Cause(
            _DOUBLED,
            "the initial state counts twice",
            "Add the initial state once: in the first step, or beside all steps of the first chunk, not both.",
            lambda r: r.with_states(2 * state for state in r.run.state),
            {"from": "doubled", "which": "the initial state"},
        )
    for edges, hidden in every:
        there, parameters = where(edges, assumed.run.x.shape[0])
        at = HandingOn.of_the_first(assumed, edges[0])
        told = {kind: words for kind, words in kinds.items() if kind != _OTHERS or _is_of_others(at, edges)}
        at_every_step = is_at_every_step(edges, run.x.shape[0])
        if at_every_step:
            told.pop("left out", None)  # of chunks of one step that is the initial state again, each time
        for kind, (name, explanation, fix) in told.items():
            parts = _parts(assumed, kind)
            if at_every_step and kind in ("zeros", "initial"):
                parts = parts[1:]  # of the whole state that is `state-not-carried`
            for part in parts:
                if (hidden and not part.is_one_of_several) or not may_go_on(
                    assumed, edges[0], part.made(at, _WRONG[kind]), edges
                ):
                    continue
                change = functools.partial(
                    begun_anew, edges=edges, wrong=functools.partial(part.made, wrong=_WRONG[kind])
                )
                said = {"from": kind, "which": part.which, **parameters}
                yield Cause(name, explanation.format(part.subject, there), fix, change, said)


def _kinds(assumed: Assumption, begun: bool) -> dict[str, tuple[str, str, str]]:
    """The mistakes that are possible in this run. With two items they may be exchanged; with more there are other
    orders, but not where some have ended, and their states go on to nobody."""
    left = set() if begun else {"initial"}
    batch = len(assumed.run.h0)
    if batch < 3:
        left |= {"item after", "items reversed", *(_OTHERS_ITEMS if batch < 2 else ())}
    if assumed.run.lengths is not None:
        left |= {*_OTHERS_ITEMS, _OTHERS}
    if not 1 < batch <= _MOST_ITEMS:
        left.add(_OTHERS)
    return {kind: words for kind, words in _WORDS.items() if kind not in left}


def _edges(assumed: Assumption) -> Iterator[tuple[Edges, bool]]:
    """Where chunks may begin, and whether the first steps after an edge may look right all the same. They do where n of
    an mLSTM is below its lower limit."""
    usual, steps = edges_of(assumed), assumed.run.x.shape[0]
    yield from ((edges, False) for edges in usual)
    if assumed.run.c0 is None or len(assumed.cell.cell_state) < 2:
        return
    firsts = dict.fromkeys(edges[0] for edges in usual)
    for earlier in dict.fromkeys(first - back for first in firsts for back in (1, 2)):
        if earlier > 0 and earlier not in firsts:
            several = tuple(range(earlier, steps, earlier))
            yield from ((edges, True) for edges in (several, (earlier,)) if len(edges) < MOST)


def _parts(assumed: Assumption, kind: str) -> list[_Part]:
    """In what a mistake of this kind may be made: in all states; if a state is lost, doubled or a step old, also in one
    state alone, and in blocks of the cell state that are no delay line: all of them, one, or all but one."""
    cell = assumed.cell
    if assumed.run.c0 is None:
        return [_Part("h", "the state is", h=True)]
    every = tuple(range(len(cell.cell_state)))
    found = [_Part("h and c", "the state is", h=True, blocks=every)]
    if kind in _OTHERS_ITEMS or kind == _OTHERS:
        return found
    if kind in ("zeros", "initial", "doubled", "left out"):
        found += [_Part("h", "h is", h=True), _Part("c", "c is", blocks=every)]
    rest = tuple(block for block in every if block not in delayed(cell))
    some = [rest] if len(rest) < len(every) else []
    if kind != "twice" and len(rest) > 1:
        some += [*combinations(rest, 1), *combinations(rest, len(rest) - 1)]
    for blocks in filter(None, dict.fromkeys(some)):
        name = listed(cell.cell_state[block][0] for block in blocks)
        found.append(
            _Part(name, f"{name} {'is' if len(blocks) == 1 else 'are'}", blocks=blocks, is_one_of_several=True)
        )
    return found
