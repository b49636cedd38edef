"""States that are exchanged where a chunk of steps, or a later call, begins: h and c, blocks of the cell state, heads
of a matrix, or its axes."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from rnnspect.arithmetic.matrices import by_head
from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import edges_of, forwards, in_order, where_of
from rnnspect.causes.known.forms._chunk_states import (
    Handed,
    HandingOn,
    WrongState,
    begun_anew,
    first_that_stands,
    goes_on,
)
from rnnspect.causes.known.forms._delay_lines import delayed
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.stack import unchanged

_MOST = 8
"""For at most so many heads of a matrix, every exchange of two is tried."""
_FIX = "Hand on each state as it is, in the order of axes and heads in which the next chunk, or call, reads it."


@dataclass(frozen=True)
class _Exchange:
    """An exchange, with words that tell it from others, and the states that an engine with it begins with."""

    said: str
    wrong: WrongState
    of_h: bool = False


def causes(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    if not forwards(assumed) or run.c0 is None:
        return
    for edges in edges_of(assumed):
        where, parameters = where_of(edges, assumed.run.x.shape[0])
        at = HandingOn.of_the_first(assumed, edges[0])
        for exchange in _exchanges(assumed):
            if goes_on(assumed, edges[0], exchange.wrong(at), edges):
                yield Cause(
                    "chunk-state-exchanged",
                    f"{exchange.said} {where}, where a chunk or a later call begins",
                    _FIX,
                    functools.partial(begun_anew, edges=edges, wrong=exchange.wrong),
                    {"what": exchange.said, **parameters},
                )

    if bool(run.c0.any()):
        begun = HandingOn.of_the_first(assumed, 0)
        for exchange in _exchanges(assumed):
            if not exchange.of_h and goes_on(assumed, 0, exchange.wrong(begun)):
                said = f"{exchange.said} in the initial state"
                change = functools.partial(Assumption.begun_with, states=exchange.wrong(begun))
                yield Cause("chunk-state-exchanged", said, _FIX, change, {"what": exchange.said, "step": 0})


def exchanged_at_the_end(assumed: Assumption, c_n: Tensor) -> tuple[Cause, float] | None:
    """The exchange that gives this final cell state (B, ·) after right steps, and the largest ratio of difference to
    limit that is left."""
    run = assumed.run
    if not in_order(assumed) or run.c0 is None:
        return None
    at = HandingOn.at_the_end(assumed)
    tried = ((_in_the_final_state(one), one.wrong(at)[1]) for one in _exchanges(assumed) if not one.of_h)
    return first_that_stands(assumed, at.right[1][0], c_n, tried)


def _in_the_final_state(one: _Exchange) -> Cause:
    return Cause("chunk-state-exchanged", f"{one.said} in the final state", _FIX, unchanged, {"what": one.said})


def _exchanges(assumed: Assumption) -> Iterator[_Exchange]:
    cell = assumed.cell
    h, c = assumed.run.state
    if h.shape == c.shape:
        yield _Exchange("h is used as c", lambda at: (at.right[0], at.right[0]), of_h=True)
        yield _Exchange("h and c are swapped", lambda at: (at.right[1], at.right[0]), of_h=True)
    names, shapes = [name for name, _ in cell.cell_state], _shapes(assumed)
    rest = [block for block in range(len(names)) if block not in delayed(cell)]
    for one, two in itertools.combinations(rest, 2):
        if shapes[one] == shapes[two]:
            yield _Exchange(f"{names[one]} and {names[two]} are swapped", _of_blocks({one: two, two: one}))
    yield from _of_axes(assumed, rest, shapes)
    if len(rest) == len(names) > 1 and len(set(shapes)) == 1:
        each = math.prod(shapes[0])
        ways = {(each, len(names)): "taken apart as if they were interleaved", (len(names), each): "interleaved"}
        for shape, said in ways.items():
            yield _Exchange(f"{listed(names)} are {said}", functools.partial(_of_all, shape=shape))
    yield from _of_heads(assumed, rest, shapes)


def _of_axes(assumed: Assumption, rest: list[int], shapes: list[tuple[int, ...]]) -> Iterator[_Exchange]:
    """The last two axes are exchanged, of one block or of all blocks that have two: when the state is written, or when
    it is read."""
    wide = [block for block in rest if min((1, *shapes[block])[-2:]) > 1]
    for among in dict.fromkeys([*((block,) for block in wide), tuple(wide)]):
        names = listed(assumed.cell.cell_state[block][0] for block in among)
        if among:
            change = {block: functools.partial(_transposed, shape=shapes[block]) for block in among}
            yield _Exchange(f"the last two axes of {names} are swapped", _each(change))
    for block in wide:
        *heads, rows, columns = shapes[block]
        if rows != columns:
            name = assumed.cell.cell_state[block][0]
            said = f"{name} is taken as {columns} × {rows}, and its last two axes are swapped"
            turned = functools.partial(_transposed, shape=(*heads, columns, rows))
            yield _Exchange(said, _each({block: turned}))


def _of_heads(assumed: Assumption, rest: list[int], shapes: list[tuple[int, ...]]) -> Iterator[_Exchange]:
    """Two heads are exchanged, in all blocks that have heads, or in one."""
    by_size: dict[str, list[int]] = {}
    for block in rest:
        _, sizes = assumed.cell.cell_state[block]
        if isinstance(sizes[0], str) and sizes[0] not in ("hidden_size", "input_size"):
            by_size.setdefault(sizes[0], []).append(block)
    for size, blocks in by_size.items():
        count = shapes[blocks[0]][0]
        if not any(len(shapes[block]) > 1 for block in blocks) or count > _MOST:
            continue
        for among in dict.fromkeys([tuple(blocks), *((block,) for block in blocks)]):
            name = listed(assumed.cell.cell_state[block][0] for block in among)
            for one, two in itertools.combinations(range(count), 2):
                order = list(range(count))
                order[one], order[two] = two, one
                change = functools.partial(_in_order, order=order)
                yield _Exchange(f"{size} {one} and {two} of {name} are swapped", _each(dict.fromkeys(among, change)))


def _shapes(assumed: Assumption) -> list[tuple[int, ...]]:
    cell, p = assumed.cell, assumed.p
    inputs = p.weight_ih.shape[1]
    return [cell.shape(sizes, assumed.units, inputs) for _, sizes in cell.cell_state]


def _of_blocks(order: dict[int, int]) -> WrongState:
    def wrong(at: HandingOn) -> Handed:
        blocks = at.blocks(at.right)
        return at.with_blocks({block: blocks[other] for block, other in order.items()})

    return wrong


def _of_all(at: HandingOn, shape: tuple[int, ...]) -> Handed:
    """The right h, and the cell state with its numbers, in this shape, transposed."""
    h, (v, e) = at.right
    return h, (_transposed(v, shape), _transposed(e, shape))


def _each(changes: Mapping[int, Callable[[Tensor], Tensor]]) -> WrongState:
    """The right states with some blocks of the cell state changed, each with its error."""

    def wrong(at: HandingOn) -> Handed:
        blocks = at.blocks(at.right)
        return at.with_blocks(
            {block: (change(blocks[block][0]), change(blocks[block][1])) for block, change in changes.items()}
        )

    return wrong


def _transposed(v: Tensor, shape: tuple[int, ...]) -> Tensor:
    return v.reshape(*v.shape[:-1], *shape).transpose(-1, -2).reshape(v.shape)


def _in_order(v: Tensor, order: list[int]) -> Tensor:
    heads: Tensor = by_head(v, len(order))
    return heads[..., order, :].reshape(v.shape)
