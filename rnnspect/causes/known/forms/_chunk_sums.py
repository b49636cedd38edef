"""What a chunk of steps hands on to the next, made of its two parts: what was handed on to it, decayed by all of its
steps, and what these added; and the decays of a step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.arithmetic.matrices import cut
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, Inexact
from rnnspect.causes.known.forms._decay_words import (
    ADDED_LATE,
    BEFORE,
    DROPPED,
    IN_CHUNKS,
    ITS_OWN,
    KEPT,
    LAST_TWICE,
    LATER_IN_CHUNKS,
    LEFT,
    MORE_ADDED,
    MORE_CARRIED,
    MORE_OF_ALL,
    TWICE,
    UNREAD,
)
from rnnspect.causes.known.forms._parted_cell import InParts
from rnnspect.judging.chunks import chunk_at

_DRAWN = 4
"""The number of steps whose decays are compared, to see whether all are equal."""
_LOW = -1e30
"""A running maximum below any logarithm."""
_WHOLE = 256
"""A run shorter than this may be the only chunk, and not a whole one."""
Blocks = dict[int, Inexact]
"""Blocks of a state by their place, each with its error."""


def added_up(at: HandingOn, parts: InParts, mistake: str, other: HandingOn | None = None) -> Handed:
    """What a chunk hands on: the sum of both parts. `other`, if given, is the same chunk begun with another state, from
    which the part that its steps added is taken."""
    handed, added = _handed(at, parts, mistake), _added(at if other is None else other, parts, mistake)
    changed: Blocks = {}
    for block, place in _added_places(at, parts).items():
        (v, e), (more, off) = handed[block], added[block]
        changed[block] = v + more, e + off
        changed[place] = torch.zeros_like(v), torch.zeros_like(e)
        if mistake == IN_CHUNKS:
            changed[place + len(parts.blocks)] = torch.ones_like(v), torch.zeros_like(e)
    return at.with_blocks(changed)


def _handed(at: HandingOn, parts: InParts, mistake: str) -> Blocks:
    """What was handed on to the chunk, decayed by all of its steps."""
    ended = at.blocks(at.without_last if mistake == ITS_OWN else at.right)
    handed = {block: ended[block] for block in parts.blocks}
    if mistake == DROPPED:
        return _none(handed)
    if mistake == ITS_OWN:
        return _undecayed(at, parts, handed)
    if mistake in (LEFT, TWICE, LAST_TWICE):
        once = _own_decays(at, parts, at.stop - 1 if mistake == LAST_TWICE else at.start)
        return multiplied(handed, once, parts, divided=mistake == LEFT)
    return handed


def _added(at: HandingOn, parts: InParts, mistake: str) -> Blocks:
    """What the steps of the chunk added, each decayed by the steps after it."""
    places, ended = _added_places(at, parts), at.blocks(at.right)
    added = {block: ended[place] for block, place in places.items()}
    if mistake == KEPT:
        return _none(added)
    if mistake not in (ADDED_LATE, UNREAD):
        return added
    before = at.blocks(at.without_last)
    earlier = {block: before[place] for block, place in places.items()}
    less = multiplied(earlier, decays_of(at, parts, at.stop - 1), parts)
    if mistake == UNREAD:
        return less
    kept = _undecayed(at, parts, earlier)
    return {
        block: (v + kept[block][0] - less[block][0], e + kept[block][1] + less[block][1])
        for block, (v, e) in added.items()
    }


def _added_places(at: HandingOn, parts: InParts) -> dict[int, int]:
    """By the block that is carried, the place of what was added to it."""
    count = len(parts.blocks)
    first = len(at.blocks(at.begun)) - count * (2 if parts.has_decays else 1)
    return dict(zip(parts.blocks, range(first, first + count), strict=True))


def _none(blocks: Blocks) -> Blocks:
    return {block: (torch.zeros_like(v), torch.zeros_like(e)) for block, (v, e) in blocks.items()}


def multiplied(state: Blocks, decays: tuple[Tensor, ...], parts: InParts, divided: bool = False) -> Blocks:
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


def decayed(at: HandingOn, parts: InParts, begun: Handed, mistake: str) -> Handed:
    """The states with which a chunk begins where the decay of one step is left out of the state handed on to it, or
    included twice."""
    decays = _own_decays(at, parts, at.stop - 1 if mistake == BEFORE else at.stop)
    found = at.blocks(begun)
    state = {block: found[block] for block in parts.blocks}
    return at.with_blocks(dict(enumerate(found)) | multiplied(state, decays, parts, mistake in (LEFT, LATER_IN_CHUNKS)))


def with_more_decays(at: HandingOn, parts: InParts, decays: tuple[Tensor, ...]) -> Iterator[tuple[str, Handed]]:
    """The final states of a run whose last, shorter chunk decays as if it were as long as the chunks before it, by the
    part that is decayed so. All steps have the same decay. The length of the other chunks is not known, so every length
    that gives another state is tried."""
    own, ended, count = at.stop - at.start, at.blocks(at.right), len(parts.blocks)
    carried = {block: ended[block] for block in parts.blocks}
    added = {block: ended[len(ended) - count + n] for n, block in enumerate(parts.blocks)}
    none = {
        len(ended) - count + n: (torch.zeros_like(v), torch.zeros_like(e)) for n, (v, e) in enumerate(added.values())
    }
    more, less = carried, added
    for whole in range(own + 1, (at.start or _WHOLE) + 1):
        more, less = (_rounded(at, multiplied(part, decays, parts)) for part in (more, less))
        if at.start % whole:
            continue
        for kind, one, two in (
            (MORE_CARRIED, more, added),
            (MORE_ADDED, carried, less),
            (MORE_OF_ALL, more, less),
        ):
            whole_state = {block: (one[block][0] + two[block][0], one[block][1] + two[block][1]) for block in one}
            yield kind, at.with_blocks(whole_state | none)


def _rounded(at: HandingOn, state: Blocks) -> Blocks:
    """The state with the rounding of a stored decay, and of a product with it, added to its error."""
    u = at.assumed.u
    return {block: (v, e + v.abs() * (2 * u.stored + u.sums)) for block, (v, e) in state.items()}


def constant_decays(at: HandingOn, parts: InParts) -> tuple[Tensor, ...] | None:
    """The decays of a step, where all steps have the same; else None."""
    first, *others = (decays_of(at, parts, step) for step in range(min(at.stop, _DRAWN)))
    same = all(torch.allclose(one[block], first[block]) for one in others for block in parts.blocks)
    return first if same else None


def _undecayed(at: HandingOn, parts: InParts, state: Blocks) -> Blocks:
    """The state before the last step, as that step would have it without its decay. That is the state unchanged; but
    where a running maximum m is subtracted from the logarithms, it is the state times exp(m − m'), which fits it to the
    new maximum m'."""
    if not parts.maxima:
        return state
    last = at.stop - 1
    both = zip(decays_of(at, parts, last), _own_decays(at, parts, last), strict=True)
    return multiplied(state, tuple(decay / own for decay, own in both), parts)


def _own_decays(at: HandingOn, parts: InParts, step: int) -> tuple[Tensor, ...]:
    """The decays of a step without the change of a running maximum. With a maximum m a step multiplies the state by its
    decay and by exp(m − m'). If m is already what it is compared with, m' = m, and only the decay is left."""
    if not parts.maxima:
        return decays_of(at, parts, step)
    compared = decays_of(at, parts, step, dict.fromkeys(parts.maxima, torch.tensor(_LOW)))
    return decays_of(at, parts, step, {block: compared[block] for block in parts.maxima})


def decays_of(at: HandingOn, parts: InParts, step: int, maxima: dict[int, Tensor] | None = None) -> tuple[Tensor, ...]:
    """The factors by which a step multiplies each block of the cell state that it carries: what it makes of the number
    1. A complex number is represented by 1 in both of its blocks. `maxima`, where given, replace the running maxima
    before the step."""
    assumed, numbers = at.assumed, at.assumed.in_float64()
    if step == at.stop:
        state = at.right
    else:
        state = at.begun if step == at.start else at.without_last if step == at.stop - 1 else at.first
    ended = at.blocks(state)  # of which the inputs that a convolution keeps are those before the step
    ones = parts.blocks[: 1 if parts.kind == "carry_complex" else None]
    own = {block: torch.full_like(ended[block][0], float(block in ones)) for block in parts.blocks}
    own |= {block: one.expand_as(ended[block][0]) for block, one in (maxima or {}).items()}
    c = torch.cat([own.get(block, v) for block, (v, _) in enumerate(ended)], -1)
    x = chunk_at(assumed.run, step, step + 1).x[0].double()
    new = assumed.cell.step(numbers, numbers.input(x), state[0][0], c)["c"]
    return cut(new, numbers.state_sizes)
