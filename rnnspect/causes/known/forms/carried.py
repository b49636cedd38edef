"""Mistakes in the decays of a form that computes a chunk of steps at once, with a sum of its own for what was handed on
to the chunk and for what its steps add: in what the steps read, in what is handed on to the next chunk, or in both."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.forms import running_maxima
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._misplaced_decays import unused_gates
from rnnspect.causes.known.forms._chunk_edges import (
    Edges,
    edges_of,
    few_in_order,
    not_far,
    steps_over,
    where_of,
    with_halves,
)
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, first_of, goes_on, with_each
from rnnspect.causes.known.forms._chunk_sums import added_up, constant_decays, decayed, decays_of
from rnnspect.causes.known.forms._decay_words import (
    ADDED,
    ADDED_LATE,
    AT_EDGES,
    BEFORE,
    BOTH,
    DROPPED,
    EARLIER,
    EVERY,
    HANDED,
    HANDED_ON,
    IDS,
    IN_CHUNKS,
    ITS_OWN,
    ITSELF,
    KEPT,
    LAST_TWICE,
    LATER,
    LATER_IN_CHUNKS,
    LEFT,
    NONE,
    OF_LINES,
    ONCE,
    OTHER,
    PLACES,
    READ,
    ROLLED,
    SHIFTED,
    WORDS,
)
from rnnspect.causes.known.forms._other_steps import next_steps, with_other
from rnnspect.causes.known.forms._parted_cell import in_parts
from rnnspect.causes.known.forms._parted_values import NOTHING
from rnnspect.judging.assumption import Assumption
from rnnspect.network.parameters import BlockSizes

_Ends = dict[tuple[str, int], HandingOn]
"""Where a first chunk ends, by the mistake that each of its steps makes and by its number of steps: a cache, so that
its states are computed once for all mistakes that are tried."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    if not few_in_order(assumed) or in_parts(assumed.cell) is None:
        return
    usual, ends = not_far(edges_of(assumed)), _Ends()
    for mistake, explanation in _tried(assumed).items():
        name, fix = IDS.get(mistake, ("chunk-decay-apart", ONCE))
        made = _as_made(assumed, mistake)
        for place, edges in _made_at(assumed, mistake, usual):
            if edges and not _goes_on(assumed, made, place, edges, ends):
                continue
            verb = "end" if mistake == LATER_IN_CHUNKS else "begin"
            later = edges[1:] if edges[:1] == (0,) else edges
            later = later[:-1] if mistake == LATER_IN_CHUNKS else later  # the last chunk ends where the run does
            end = assumed.run.x.shape[0] - (mistake == LATER_IN_CHUNKS)
            where, parameters = where_of(later or edges, end) if edges else ("", {})
            said = explanation if mistake in HANDED_ON else ", ".join(filter(None, (explanation, PLACES[place])))
            said += where and f"; chunks {verb} {where}"
            change = functools.partial(_with, mistake=made, place=place, edges=edges)
            unused = unused_by(assumed, mistake, place, edges)
            yield Cause(name, said, fix, change, {"which": mistake, "in": place, **parameters}, unused=unused)


def unused_by(assumed: Assumption, mistake: str, place: str, edges: Edges) -> tuple[str, ...]:
    """The gates that have no effect with a mistake with which nothing decays at all: neither what steps add nor, where
    it is not zero, what was handed on."""
    whole = mistake == NONE or (mistake == ADDED and not edges and not bool(assumed.run.state[-1].any()))
    if not whole or place != BOTH:
        return ()
    undecayed = apart(assumed, NONE)
    return unused_gates(undecayed, undecayed.cell)


def _tried(assumed: Assumption) -> dict[str, str]:
    """The mistakes to try, with their words, without those that give the same numbers as another one."""
    run, parts = assumed.run, in_parts(assumed.cell)
    begun = bool(run.state[-1].any())
    left = {DROPPED} if begun else {DROPPED, NONE, KEPT}  # `handed_apart.py` has the former; from zeros zeros are kept
    if parts is not None and parts.kind == "delta":
        left |= {ITS_OWN, EVERY, ADDED, ADDED_LATE, ITSELF, KEPT, LAST_TWICE}  # for `deltas.py`
    return {mistake: said for mistake, said in WORDS.items() if mistake not in left}


def _made_at(assumed: Assumption, mistake: str, usual: list[Edges]) -> Iterator[tuple[str, Edges]]:
    """In what the mistake may be made (BOTH, READ or HANDED), and at which steps chunks then begin. For a mistake
    that each step makes, chunks begin where the run differs from one with the mistake; if it never does, there are
    none."""
    if mistake in AT_EDGES:
        found = usual if usual or mistake == BEFORE else list(_from_the_first(assumed, mistake))
        yield from ((place, edges) for edges in found for place in (BOTH, READ))
        if mistake == BEFORE:
            return
    if mistake in SHIFTED:
        yield from ((BOTH, edges) for edges in _shifted_at(assumed, mistake))
        return
    if mistake in OF_LINES:
        wrong = apart(assumed, mistake)
        over = steps_over(wrong)
        for edges in not_far(edges_of(wrong, over)):
            yield from ((BOTH, edges), (READ, edges))
        if not over and mistake != ADDED_LATE:  # without chunks the mistake is in the whole state, which `lines.py` has
            yield BOTH, ()
    yield from ((HANDED, edges) for edges in with_halves(usual, assumed.run.x.shape[0]))


def _shifted_at(assumed: Assumption, mistake: str) -> Iterator[Edges]:
    """Where chunks begin if each step has the decay of the step before or after it: nowhere, or where the step at the
    edge has none."""
    made = _as_made(assumed, mistake)
    if running_maxima(assumed.cell) or (made == mistake and not have_other_decays(assumed)):
        return  # `shifted.py` has the former
    if in_parts(assumed.cell, _of_lines(made)) is None:
        return  # the cell cannot be given the decay of another step
    wrong = apart(assumed, made if made == mistake else "")
    over = steps_over(wrong)
    if mistake == IN_CHUNKS:
        yield from not_far(edges_of(wrong, over))
    elif mistake == LATER_IN_CHUNKS:  # there a chunk ends
        last, end = next(iter(over), 0), assumed.run.x.shape[0] - 1
        found = {(last,), tuple(sorted({*range(last, end, last + 1), end}))} if last else set()
        yield from not_far(sorted(found, key=len))
    elif not over:
        yield ()


def _as_made(assumed: Assumption, mistake: str) -> str:
    """A mistake that gives the same numbers. Where all decays are equal, the decay of the next step differs only at the
    last step of a chunk, which has none."""
    alone = mistake == LATER_IN_CHUNKS and not running_maxima(assumed.cell) and not have_other_decays(assumed)
    return LEFT if alone else mistake


def have_other_decays(assumed: Assumption) -> bool:
    """Whether the steps of the run have different decays."""
    parts, at = in_parts(assumed.cell), HandingOn.at_the_end(apart(assumed, ""))
    assert parts is not None
    return constant_decays(at, parts) is None


def _from_the_first(assumed: Assumption, mistake: str) -> Iterator[Edges]:
    """Where chunks begin if the mistake is made in the first chunk, too, in the states that the run began with."""
    if _goes_on(assumed, mistake, BOTH, (0,), {}):
        begun = _begun(assumed, mistake, BOTH, (0,))[-1]
        yield from ((0, *edges) for edges in edges_of(apart(assumed, "").begun_with(begun)) or [()])


def _goes_on(assumed: Assumption, mistake: str, place: str, edges: Edges, ends: _Ends) -> bool:
    """Whether the first steps of a chunk agree with the mistake. It is the first chunk that can show it."""
    after = edges[: 1 if place != HANDED else 2]
    return goes_on(_read(assumed, mistake, place), after[-1], _begun(assumed, mistake, place, after, ends)[-1])


def _with(assumed: Assumption, mistake: str, place: str, edges: Edges) -> Assumption:
    begun = _begun(assumed, mistake, place, edges)
    first = 1 if edges[:1] == (0,) else 0
    return with_each(_read(assumed, mistake, place), edges[first:], begun[first:])


def _read(assumed: Assumption, mistake: str, place: str) -> Assumption:
    return apart(assumed, "" if place == HANDED else mistake)


def _of_lines(mistake: str) -> str:
    """The part of a mistake that each step makes; empty where steps are right."""
    of_steps = {ROLLED: EARLIER, IN_CHUNKS: EARLIER, LATER: LATER, LATER_IN_CHUNKS: LATER, OTHER: OTHER}
    return of_steps.get(mistake, mistake if mistake in OF_LINES else "")


def apart(assumed: Assumption, mistake: str, of: Tensor | None = None) -> Assumption:
    """The assumption with its state in two parts. `of` (T,) says whose decay each step has, where that is another
    step's."""
    parts, p, run = in_parts(assumed.cell, _of_lines(mistake)), assumed.p, assumed.run
    assert parts is not None
    sizes = p.state_sizes(len(assumed.cell.gates))
    added = tuple(sizes[block] for block in parts.blocks)
    state = (*sizes, *added, *(added if parts.has_decays else ()))
    begun = run.state[-1]
    none = begun.new_zeros(len(begun), sum(added))
    if mistake == ROLLED:
        at = HandingOn.at_the_end(apart(assumed, ""))
        own = decays_of(at, parts, 0)
        none = torch.cat([none, *(own[block].to(none) for block in parts.blocks)], -1)
    elif parts.has_decays:
        none = torch.cat([none, torch.ones_like(none)], -1)
    if _of_lines(mistake) in (LATER, OTHER):
        assumed = with_other(assumed, next_steps(run.x.shape[0]) if of is None else of)
    p, run = assumed.p, assumed.run
    made = replace(assumed, cell=parts.cell).with_functions(constants=(*assumed.functions.constants, NOTHING))
    blocks = BlockSizes(p.gate_sizes(len(parts.cell.gates)), state, assumed.stack.spec.hidden_size)
    in_two = torch.cat([begun, none], -1)
    return made.with_parameters(blocks=blocks).with_run(c0=in_two, c=None, c_error=None)  # nobody observed the parts


def _begun(assumed: Assumption, mistake: str, place: str, edges: Edges, ends: _Ends | None = None) -> list[Handed]:
    """The states with which the steps of each chunk begin."""
    made = mistake if _of_lines(mistake) and place != READ else ""
    handing, ends = apart(assumed, made), {} if ends is None else ends
    parts = in_parts(assumed.cell, _of_lines(made))
    assert parts is not None
    handed = first_of(handing)
    found = [handed]
    for start, stop in zip([0, *edges], edges, strict=False):
        at = HandingOn(handing, handed, start, stop)
        at = at if start else ends.setdefault((made, stop), at)
        at_edges = mistake in (*AT_EDGES, LATER_IN_CHUNKS) and place != HANDED
        begun = handed = added_up(at, parts, "" if place == READ or at_edges else mistake)
        if at_edges:
            begun = decayed(at, parts, handed, mistake)
            handed = handed if place == READ else begun
        found.append(begun)
    return found
