"""Mistakes in the decays of a form that computes a chunk of steps at once, with a sum of its own for what was handed on
to the chunk and for what its steps add: in what the steps read, in what is handed on to the next chunk, or in both."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.forms import running_maxima
from rnnspect.arithmetic.matrices import cut
from rnnspect.arithmetic.numbers import Numbers
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._carried import InParts, in_parts
from rnnspect.causes.known._chunk_edges import edges_of, steps_over, where_of
from rnnspect.causes.known._decay_words import (
    ADDED,
    ADDED_LATE,
    AT_EDGES,
    BEFORE,
    DROPPED,
    EARLIER,
    EVERY,
    IDS,
    IN_CHUNKS,
    ITS_OWN,
    ITSELF,
    LATER,
    LATER_IN_CHUNKS,
    LEFT,
    NONE,
    OF_LINES,
    ONCE,
    OTHER,
    PLACES,
    ROLLED,
    SHIFTED,
    UNREAD,
    WORDS,
)
from rnnspect.causes.known._handed_on import Handed, HandingOn, Off, first_of, goes_on, with_each
from rnnspect.causes.known._other_steps import next_steps, with_other
from rnnspect.causes.known._two_parts import NOTHING
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.layer import cast
from rnnspect.network.parameters import BlockSizes

Edges = tuple[int, ...]
Ends = dict[tuple[str, int], HandingOn]
"""Where a first chunk ends, by the mistake that each of its steps makes and by its number of steps: so that its states
are computed once for all that is tried."""
_DRAWN = 4
"""Steps whose decays are looked at for whether they are all the same."""
ROWS, _STEPS = 2**14, 2**10
"""Steps times items of a run that is looked at, and the most steps before its first chunk ends."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    if not assumed.seen or run.reverse or run.lengths is not None or in_parts(assumed.cell) is None:
        return
    if run.x.shape[0] * run.x.shape[1] > ROWS:
        return
    usual, ends = not_far(edges_of(assumed)), Ends()
    for mistake, explanation in _tried(assumed).items():
        name, fix = IDS.get(mistake, ("chunk-decay-apart", ONCE))
        for place, edges in _made_at(assumed, mistake, usual):
            if edges and not _goes_on(assumed, mistake, place, edges, ends):
                continue
            verb = "end" if mistake == LATER_IN_CHUNKS else "begin"
            later = edges[1:] if edges[:1] == (0,) else edges
            later = later[:-1] if mistake == LATER_IN_CHUNKS else later  # where the run ends, the last chunk does, too
            where, parameters = where_of(later or edges) if edges else ("", {})
            said = ", ".join(filter(None, (explanation, PLACES[place]))) + (where and f"; chunks {verb} {where}")
            change = functools.partial(_with, mistake=mistake, place=place, edges=edges)
            yield Cause(name, said, fix, change, {"which": mistake, "in": place, **parameters})


def _tried(assumed: Assumption) -> dict[str, str]:
    """The mistakes that differ from others."""
    run, parts = assumed.run, in_parts(assumed.cell)
    begun = bool((run.h0 if run.c0 is None else run.c0).any())
    left = set() if begun else {NONE}
    if parts is not None and parts.kind == "delta":
        left |= {ITS_OWN, EVERY, ADDED, ADDED_LATE, ITSELF}  # `deltas.py` has these
    return {mistake: said for mistake, said in WORDS.items() if mistake not in left}


def _made_at(assumed: Assumption, mistake: str, usual: list[Edges]) -> Iterator[tuple[str, Edges]]:
    """In what a mistake may be made, and at which steps chunks then begin: of one that each step makes, where the run
    goes on otherwise than with the mistake. None begins where it never does."""
    if mistake in AT_EDGES:
        found = usual if usual or mistake == BEFORE else list(_from_the_first(assumed, mistake))
        yield from ((place, edges) for edges in found for place in ("both", "read"))
        return
    if mistake in SHIFTED:
        yield from (("both", edges) for edges in _shifted_at(assumed, mistake))
        return
    if mistake in OF_LINES:
        wrong = apart(assumed, mistake)
        over = steps_over(wrong)
        for edges in not_far(edges_of(wrong, over)):
            yield from (("both", edges), ("read", edges))
        if not over and mistake != ADDED_LATE:  # without chunks it is the whole state: `lines.py` has that
            yield "both", ()
    steps = assumed.run.x.shape[0]  # a run that begins with zeros has nothing to hand on where its first chunk ends
    halves = [tuple(range(edges[0] // 2, steps, edges[0] // 2)) for edges in usual if edges[0] % 2 == 0]
    yield from (("handed", edges) for edges in dict.fromkeys([*usual, *halves]))


def _shifted_at(assumed: Assumption, mistake: str) -> Iterator[Edges]:
    """Where chunks begin if each step has the decay of the one before it: nowhere, or where the first has none."""
    if running_maxima(assumed.cell) or not have_other_decays(assumed):  # `shifted.py` has the former
        return
    if in_parts(assumed.cell, _of_lines(mistake)) is None:
        return  # that of another step cannot be had
    wrong = apart(assumed, mistake)
    over = steps_over(wrong)
    if mistake == IN_CHUNKS:
        yield from not_far(edges_of(wrong, over))
    elif mistake == LATER_IN_CHUNKS:  # there a chunk ends
        last, end = next(iter(over), 0), assumed.run.x.shape[0] - 1
        found = {(last,), tuple(sorted({*range(last, end, last + 1), end}))} if last else set()
        yield from not_far(sorted(found, key=len))
    elif not over:
        yield ()


def have_other_decays(assumed: Assumption) -> bool:
    """Whether the decays of two steps differ."""
    parts, at = in_parts(assumed.cell), HandingOn.at_the_end(apart(assumed, ""))
    assert parts is not None
    steps = range(min(assumed.run.x.shape[0], _DRAWN))
    first, *others = (torch.cat([_decays(at, parts, step)[block] for block in parts.blocks], -1) for step in steps)
    return not all(torch.allclose(first, other) for other in others)


def not_far(found: list[Edges]) -> list[Edges]:
    return [edges for edges in found if edges[0] <= _STEPS]


def _from_the_first(assumed: Assumption, mistake: str) -> Iterator[Edges]:
    """Where chunks begin if the mistake is made in the first one, too: in the states that the run began with."""
    if _goes_on(assumed, mistake, "both", (0,), {}):
        begun = _begun(assumed, mistake, "both", (0,))[-1]
        yield from ((0, *edges) for edges in edges_of(apart(assumed, "").begun_with(begun)) or [()])


def _goes_on(assumed: Assumption, mistake: str, place: str, edges: Edges, ends: Ends) -> bool:
    """Whether the first steps of a chunk are as the mistake makes them: of the first that shows it."""
    after = edges[: 1 if place != "handed" else 2]
    return goes_on(_read(assumed, mistake, place), after[-1], _begun(assumed, mistake, place, after, ends)[-1])


def _with(assumed: Assumption, mistake: str, place: str, edges: Edges) -> Assumption:
    begun = _begun(assumed, mistake, place, edges)
    first = 1 if edges[:1] == (0,) else 0
    return with_each(_read(assumed, mistake, place), edges[first:], begun[first:])


def _read(assumed: Assumption, mistake: str, place: str) -> Assumption:
    return apart(assumed, "" if place == "handed" else mistake)


def _of_lines(mistake: str) -> str:
    """What each step does, where it does something."""
    of_steps = {ROLLED: EARLIER, IN_CHUNKS: EARLIER, LATER: LATER, LATER_IN_CHUNKS: LATER, OTHER: OTHER}
    return of_steps.get(mistake, mistake if mistake in OF_LINES else "")


def apart(assumed: Assumption, mistake: str, of: Tensor | None = None) -> Assumption:
    """The assumption with its state in parts. `of` (T,) says of which step each has the decays, if of another one."""
    parts, p, run = in_parts(assumed.cell, _of_lines(mistake)), assumed.p, assumed.run
    assert parts is not None
    sizes = p.state_sizes(len(assumed.cell.gates))
    added = tuple(sizes[block] for block in parts.blocks)
    state = (*sizes, *added, *(added if parts.has_decays else ()))
    begun = run.h0 if run.c0 is None else run.c0
    none = begun.new_zeros(len(begun), sum(added))
    if mistake == ROLLED:
        at = HandingOn.at_the_end(apart(assumed, ""))
        own = _decays(at, parts, 0)
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


def _begun(assumed: Assumption, mistake: str, place: str, edges: Edges, ends: Ends | None = None) -> list[Handed]:
    """The states with which the steps of each chunk begin."""
    made = mistake if _of_lines(mistake) and place != "read" else ""
    handing, ends = apart(assumed, made), {} if ends is None else ends
    parts = in_parts(assumed.cell, _of_lines(made))
    assert parts is not None
    first = first_of(handing)
    handed, found = first, [first]
    for start, stop in zip([0, *edges], edges, strict=False):
        at = HandingOn(handing, first, handed, start, stop)
        at = at if start else ends.setdefault((made, stop), at)
        begun = handed = added_up(at, parts, "" if place == "read" else mistake)
        if mistake in (*AT_EDGES, LATER_IN_CHUNKS):
            begun = _decayed(at, parts, handed, mistake)
            handed = handed if place == "read" else begun
        found.append(begun)
    return found


def added_up(at: HandingOn, parts: InParts, mistake: str) -> Handed:
    """What a chunk hands on: both parts in one."""
    ended, count = at.blocks(at.right), len(parts.blocks)
    before = at.blocks(at.without_last) if mistake in (ITS_OWN, ADDED_LATE, UNREAD) else ended
    decays = _decays(at, parts, at.stop - 1) if mistake in (ADDED_LATE, UNREAD) else ()
    changed: dict[int, Off] = {}
    first = len(ended) - count * (2 if parts.has_decays else 1)
    since = dict(zip(parts.blocks, range(first, first + count), strict=True))
    added = {block: ended[since[block]] for block in parts.blocks}
    if mistake in (ADDED_LATE, UNREAD):
        earlier = {block: before[since[block]] for block in parts.blocks}
        less = _multiplied(earlier, decays, parts)
        added = (
            less
            if mistake == UNREAD
            else {
                block: (v + earlier[block][0] - less[block][0], e + earlier[block][1] + less[block][1])
                for block, (v, e) in added.items()
            }
        )
    for block, (more, off) in added.items():
        v, e = (before if mistake == ITS_OWN else ended)[block]
        changed[block] = (more, off) if mistake == DROPPED else (v + more, e + off)
        changed[since[block]] = torch.zeros_like(v), torch.zeros_like(e)
        if mistake == IN_CHUNKS:
            changed[since[block] + count] = torch.ones_like(v), torch.zeros_like(e)
    return at.with_blocks(changed)


def _multiplied(
    state: dict[int, Off], decays: tuple[Tensor, ...], parts: InParts, divided: bool = False
) -> dict[int, Off]:
    """Blocks of a state multiplied by the decays of a step, or divided by them."""
    if parts.kind != "carry_complex":
        factors = {block: 1 / decays[block] if divided else decays[block] for block in state}
        return {block: (v * factors[block], e * factors[block].abs()) for block, (v, e) in state.items()}
    re, im = parts.blocks
    p, q = decays[re], decays[im]
    if divided:
        p, q = p / (p * p + q * q), -q / (p * p + q * q)
    (v, e), (w, d) = state[re], state[im]
    return {
        re: (p * v - q * w, p.abs() * e + q.abs() * d),
        im: (q * v + p * w, q.abs() * e + p.abs() * d),
    }


def _decayed(at: HandingOn, parts: InParts, begun: Handed, mistake: str) -> Handed:
    """What a chunk begins with where the decay of a step is left out of it, or included once more."""
    decays = _decays(at, parts, at.stop - 1 if mistake == BEFORE else at.stop)
    found = at.blocks(begun)
    state = {block: found[block] for block in parts.blocks}
    return at.with_blocks(
        dict(enumerate(found)) | _multiplied(state, decays, parts, mistake in (LEFT, LATER_IN_CHUNKS))
    )


def _decays(at: HandingOn, parts: InParts, step: int) -> tuple[Tensor, ...]:
    """What a step makes of 1 in each block of the cell state that it carries; of a complex number that is 1 in both of
    its blocks."""
    assumed, p = at.assumed, cast(at.assumed.p, torch.float64)
    state = at.right if step == at.stop else at.without_last if step == at.stop - 1 else at.first
    ended = at.blocks(state)  # of which the inputs that a convolution keeps are those before the step
    ones = parts.blocks[: 1 if parts.kind == "carry_complex" else None]
    own = {block: torch.full_like(ended[block][0], float(block in ones)) for block in parts.blocks}
    c = torch.cat([own.get(block, v) for block, (v, _) in enumerate(ended)], -1)
    numbers = Numbers(p, len(assumed.cell.gates), assumed.nonlinearity)
    x = chunk_at(assumed.run, step, step + 1).x[0].double()
    new = assumed.cell.step(numbers, linear(x, p.weight_ih, p.bias_ih), state[0][0], c)["c"]
    return cut(new, p.state_sizes(len(assumed.cell.gates)))
