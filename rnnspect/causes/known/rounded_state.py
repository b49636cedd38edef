"""The state is kept in a half type between steps, or between chunks of steps, and everything else in float32: h or c is
rounded before a step reads it. The h that the engine returned was written before that; it may have been made of the
rounded c."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._operations import with_operations, with_results
from rnnspect.causes.known._rounded_values import is_number, rounded
from rnnspect.causes.known.forms._chunk_edges import (
    MOST,
    Edges,
    changed_in_reverse,
    edges_of,
    forwards,
    may_be_turned,
    turned_round,
    where_in_reverse,
    where_of,
)
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, begun_anew, may_go_on
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption

_Kept = tuple[tuple[str, ...], torch.dtype]
"""Which states, and in which dtype."""
_FIX = "Keep the state in float32 from step to step."


def causes(assumed: Assumption) -> Iterator[Cause]:
    run, cell = assumed.run, assumed.cell
    if assumed.u != SINGLE or not assumed.seen or cell.name not in ("rnn", "gru", "lstm") or run.x.shape[0] < 2:
        return
    states = (("h",),) if run.c0 is None else (("h",), ("c",), ("h", "c"))
    every = [(kept, dtype) for kept in states for dtype in (torch.float16, torch.bfloat16)]
    for kept in every:
        change = functools.partial(_between_steps, kept=kept)
        said = "between steps: rounded before each step"
        yield _cause(kept, said, _FIX, change)
        if "c" in kept[0]:
            change = functools.partial(_between_steps, kept=kept, before_h=True)
            said = "between steps, and h is made of the rounded c"
            yield _cause(kept, said, _FIX, change, h="of the rounded c")
    if forwards(assumed):
        yield from _between_chunks(assumed, every, where_of)
    elif may_be_turned(assumed):
        for cause in _between_chunks(turned_round(assumed), every, where_in_reverse):
            yield replace(cause, change=functools.partial(changed_in_reverse, change=cause.change))


def _between_chunks(assumed: Assumption, every: Sequence[_Kept], words: Callable[..., Any]) -> Iterator[Cause]:
    """In a forward run; `words` says where chunks begin."""
    for edges in _edges(assumed):
        (where, parameters), at = words(edges, assumed.run.x.shape[0]), HandingOn.of_the_first(assumed, edges[0])
        for kept in every:
            wrong = functools.partial(_at_an_edge, kept=kept)
            if may_go_on(assumed, edges[0], wrong(at), edges):
                change = functools.partial(begun_anew, edges=edges, wrong=wrong)
                said = f"between chunks or calls: rounded {where}, where one begins"
                yield _cause(kept, said, "Keep the state in float32 from chunk to chunk.", change, **parameters)


def _edges(assumed: Assumption) -> list[Edges]:
    """Where chunks of several steps may begin. Rounding may show little at some, so that those between are added."""
    found, steps = edges_of(assumed), assumed.run.x.shape[0]
    apart = {edges: math.gcd(*(later - edges[0] for later in edges[1:])) for edges in found}
    full = (tuple(range(edges[0], steps, every)) if every else edges for edges, every in apart.items() if every != 1)
    return list(dict.fromkeys(edges for edges in full if len(edges) < MOST))


def _cause(kept: _Kept, said: str, fix: str, change: Callable[[Assumption], Assumption], **parameters: Any) -> Cause:
    states, half = kept[0], str(kept[1]).removeprefix("torch.")
    subject = f"{' and '.join(states)} {'are' if len(states) > 1 else 'is'}"
    told = {"state": " and ".join(states), "dtype": half, **parameters}
    return Cause("state-rounded", f"{subject} kept in {half} {said}, while the rest is not", fix, change, told)


def _at_an_edge(at: HandingOn, kept: _Kept) -> Handed:
    states, dtype = kept
    return tuple(
        _rounded(v, e, dtype) if name in states else (v, e) for name, (v, e) in zip("hc", at.right, strict=False)
    )


def _rounded(v: Tensor, e: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """As rounding is monotonous, the error is that of the rounded ends. A double is a float32 first."""
    low, made, high = (one.float().to(dtype).double() for one in (v - e, v, v + e))
    return made, torch.maximum(high - made, made - low)


def _between_steps(assumed: Assumption, kept: _Kept, before_h: bool = False) -> Assumption:
    """With `before_h` c is rounded before h is made of it."""
    states, dtype = kept
    cell = _cell(assumed.cell, states, dtype, before_h)
    made = replace(assumed, cell=cell, has_final_states=False)  # the engine may return the last ones rounded, or not
    return made.with_run(c0=rounded(made.run.c0, dtype)) if "c" in states else made


@functools.cache
def _cell(cell: Cell, kept: tuple[str, ...], dtype: torch.dtype, before_h: bool) -> Cell:
    """The cell that reads h rounded and hands c on rounded. It does not count as one of torch's cells, whose steps can
    be bounded together."""
    if "c" in kept:
        cell = _made_of_it(cell, dtype) if before_h else with_results(cell, lambda a, q: {"c": _half(a, q["c"], dtype)})

    @functools.wraps(cell.step)
    def step(a: Any, wx: Any, h: Any, *c: Any) -> dict[str, Any]:
        return cell.step(a, wx, rounded(h, dtype) if "h" in kept else h, *c)

    return replace(cell, step=step, torch_name="")


def _made_of_it(cell: Cell, dtype: torch.dtype) -> Cell:
    """The cell that rounds c as soon as it is computed."""

    def called(a: Any, _number: int, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        made = meant(*values)
        return _half(a, made, dtype) if operation == "carry" else made

    return with_operations(cell, called)


def _half(a: Any, c: Any, dtype: torch.dtype) -> Any:
    """c rounded. Where the lines are tried without numbers, any function shows that it does not go on as it is."""
    return rounded(c, dtype) if is_number(c) else a.tanh(c)
