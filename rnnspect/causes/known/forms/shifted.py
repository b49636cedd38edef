"""Decays of another step, in a form that computes a chunk of steps at once: only in what its steps read, or only in
what it hands on. Where the logarithms of decays are added to a running maximum, also in both; for other states
`carried.py` has that."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.arithmetic.forms import running_maxima
from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import (
    Edges,
    edges_of,
    few_in_order,
    not_far,
    steps_over,
    where_of,
    with_halves,
)
from rnnspect.causes.known.forms._chunk_states import Handed, first_of, may_go_on, one_after_the_other, with_each
from rnnspect.causes.known.forms._chunk_sums import added_up
from rnnspect.causes.known.forms._decay_words import (
    BOTH,
    HANDED,
    IN_CHUNKS,
    LATER,
    LATER_IN_CHUNKS,
    OTHER,
    OWN_STEP,
    PLACES,
    READ,
    ROLLED,
    SHIFTED,
    WORDS,
)
from rnnspect.causes.known.forms._delay_lines import delay_lines
from rnnspect.causes.known.forms._delta_twice import handed_on, in_two_chains
from rnnspect.causes.known.forms._other_steps import NOWHERE, next_steps
from rnnspect.causes.known.forms._parted_cell import in_parts
from rnnspect.causes.known.forms.carried import apart, have_other_decays
from rnnspect.judging.assumption import Assumption


def causes(assumed: Assumption) -> Iterator[Cause]:
    parts = in_parts(assumed.cell, OTHER)
    if not few_in_order(assumed) or parts is None:
        return
    if parts.kind == "delta" and len(assumed.cell.cell_state) > 1:
        return
    if not have_other_decays(assumed):
        return
    usual = not_far(edges_of(assumed))
    for mistake in SHIFTED:
        if mistake not in (LATER, LATER_IN_CHUNKS) and delay_lines(assumed.cell):
            continue  # the inputs that a convolution had two steps before are no longer in the state
        for place, edges in _made_at(assumed, mistake, usual):
            if edges and not _goes_on(assumed, mistake, place, edges):
                continue
            where, parameters = where_of(edges, assumed.run.x.shape[0]) if edges else ("", {})
            said = ", ".join(filter(None, (WORDS[mistake], PLACES[place]))) + (where and f"; chunks begin {where}")
            change = functools.partial(_with, mistake=mistake, place=place, edges=edges)
            yield Cause("decay-shifted", said, OWN_STEP, change, {"which": mistake, "in": place, **parameters})


def _made_at(assumed: Assumption, mistake: str, usual: list[Edges]) -> Iterator[tuple[str, Edges]]:
    """In what the mistake may be made, and where chunks then begin; nothing where no edge explains the run."""
    in_both, steps = bool(running_maxima(assumed.cell)), assumed.run.x.shape[0]
    begun = _reading(assumed, mistake, BOTH, ())
    over = steps_over(begun)
    first = next(iter(over), 0)
    if not over and in_both and mistake != IN_CHUNKS:
        yield BOTH, ()
    if mistake == LATER_IN_CHUNKS:  # the first difference is at the last step of a chunk
        found = [tuple(range(first + 1, steps, first + 1)), (first + 1,)] if 0 < first < steps - 1 else []
    else:
        found = edges_of(begun, over)
    for edges in not_far(list(dict.fromkeys(found))):
        yield READ, edges
        if in_both and mistake in (IN_CHUNKS, LATER_IN_CHUNKS):
            yield BOTH, edges
    yield from ((HANDED, edges) for edges in with_halves(usual, steps))


def _goes_on(assumed: Assumption, mistake: str, place: str, edges: Edges) -> bool:
    """Whether the second chunk begins as it would with the mistake."""
    handed = _begun(assumed, mistake, place, edges, 1)[-1]
    return may_go_on(_reading(assumed, mistake, place, edges), edges[0], handed, edges)


def _with(assumed: Assumption, mistake: str, place: str, edges: Edges) -> Assumption:
    reading = _reading(assumed, mistake, place, edges)
    if place == BOTH:
        return with_each(reading, (), [first_of(reading)])
    return with_each(reading, edges, _begun(assumed, mistake, place, edges))


def _begun(assumed: Assumption, mistake: str, place: str, edges: Edges, count: int | None = None) -> list[Handed]:
    """The states with which the chunks begin: all of them, or with `count` the first one and so many later ones."""
    parts, is_wrong = in_parts(assumed.cell), place != READ
    assert parts is not None
    if parts.kind == "delta":
        handing = _reading(assumed, mistake, place, edges)
        return one_after_the_other(handing, edges[:count], functools.partial(handed_on, hands_other=is_wrong))
    handing = _of_others(assumed, _of(assumed, mistake, edges)) if is_wrong else apart(assumed, "")
    return one_after_the_other(handing, edges[:count], functools.partial(added_up, parts=parts, mistake=""))


def _reading(assumed: Assumption, mistake: str, place: str, edges: Edges) -> Assumption:
    """The assumption of what the steps of a chunk compute with the mistake."""
    parts, of = in_parts(assumed.cell), _of(assumed, mistake, edges)
    assert parts is not None
    if parts.kind == "delta":
        return in_two_chains(assumed, of, place != HANDED)
    if place == HANDED:
        return apart(assumed, "")
    return _of_others(assumed, of)


def _of_others(assumed: Assumption, of: Tensor) -> Assumption:
    return apart(assumed, OTHER if bool((of == NOWHERE).any()) else LATER, of)


def _of(assumed: Assumption, mistake: str, edges: Edges) -> Tensor:
    """(T,): the step whose decay each step has; `NOWHERE` where a step has none."""
    steps, begin = assumed.run.x.shape[0], torch.tensor(edges, dtype=torch.long)
    if mistake in (LATER, LATER_IN_CHUNKS):
        of = next_steps(steps)
        if mistake == LATER_IN_CHUNKS:
            of[begin - 1] = of[-1] = NOWHERE
        return of
    of = torch.arange(steps) - 1
    of[0] = 0 if mistake == ROLLED else NOWHERE
    if mistake == IN_CHUNKS:
        of[begin] = NOWHERE
    return of
