"""What a chunk of steps hands on to the next, made of its two parts: what was handed on to it, decayed by all of its
steps, and what these added; and the decays of a step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.matrices import cut
from rnnspect.arithmetic.numbers import Numbers
from rnnspect.causes.known.forms._carried import InParts
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
from rnnspect.causes.known.forms._handed_on import Handed, HandingOn, Off
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.layer import cast

_DRAWN = 4
"""Steps whose decays are looked at for whether they are all the same."""
_WHOLE = 256
"""The longest chunk of which a run that is shorter may be the only one."""


def added_up(at: HandingOn, parts: InParts, mistake: str) -> Handed:
    """What a chunk hands on: both parts in one."""
    ended, count = at.blocks(at.right), len(parts.blocks)
    before = at.blocks(at.without_last) if mistake in (ITS_OWN, ADDED_LATE, UNREAD) else ended
    decays = decays_of(at, parts, at.stop - 1) if mistake in (ADDED_LATE, UNREAD) else ()
    changed: dict[int, Off] = {}
    first = len(ended) - count * (2 if parts.has_decays else 1)
    since = dict(zip(parts.blocks, range(first, first + count), strict=True))
    added = {block: ended[since[block]] for block in parts.blocks}
    if mistake in (ADDED_LATE, UNREAD):
        earlier = {block: before[since[block]] for block in parts.blocks}
        less = multiplied(earlier, decays, parts)
        added = (
            less
            if mistake == UNREAD
            else {
                block: (v + earlier[block][0] - less[block][0], e + earlier[block][1] + less[block][1])
                for block, (v, e) in added.items()
            }
        )
    handed = {block: (before if mistake == ITS_OWN else ended)[block] for block in parts.blocks}
    if mistake in (LEFT, TWICE, LAST_TWICE):
        once = decays_of(at, parts, at.stop - 1 if mistake == LAST_TWICE else at.start)
        handed = multiplied(handed, once, parts, divided=mistake == LEFT)
    for block, (more, off) in added.items():
        v, e = handed[block]
        changed[block] = {DROPPED: (more, off), KEPT: (v, e)}.get(mistake, (v + more, e + off))
        changed[since[block]] = torch.zeros_like(v), torch.zeros_like(e)
        if mistake == IN_CHUNKS:
            changed[since[block] + count] = torch.ones_like(v), torch.zeros_like(e)
    return at.with_blocks(changed)


def multiplied(
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


def decayed(at: HandingOn, parts: InParts, begun: Handed, mistake: str) -> Handed:
    """What a chunk begins with where the decay of a step is left out of it, or included once more."""
    decays = decays_of(at, parts, at.stop - 1 if mistake == BEFORE else at.stop)
    found = at.blocks(begun)
    state = {block: found[block] for block in parts.blocks}
    return at.with_blocks(dict(enumerate(found)) | multiplied(state, decays, parts, mistake in (LEFT, LATER_IN_CHUNKS)))


def with_more_decays(at: HandingOn, parts: InParts, decays: tuple[Tensor, ...]) -> Iterator[tuple[str, Handed]]:
    """What a run ends with whose last chunk decays as if it had as many steps as the chunks before it, by what of it
    does: of decays that are the same at each step. How many steps these chunks have is not known: any that come out."""
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


def _rounded(at: HandingOn, state: dict[int, Off]) -> dict[int, Off]:
    """With the roundings of a decay that was stored, and of a product with it."""
    u = at.assumed.u
    return {block: (v, e + v.abs() * (2 * u.stored + u.sums)) for block, (v, e) in state.items()}


def constant_decays(at: HandingOn, parts: InParts) -> tuple[Tensor, ...] | None:
    """The decays of every step, where they are all the same."""
    first, *others = (decays_of(at, parts, step) for step in range(min(at.stop, _DRAWN)))
    same = all(torch.allclose(one[block], first[block]) for one in others for block in parts.blocks)
    return first if same else None


def decays_of(at: HandingOn, parts: InParts, step: int) -> tuple[Tensor, ...]:
    """What a step makes of 1 in each block of the cell state that it carries; of a complex number that is 1 in both of
    its blocks."""
    assumed, p = at.assumed, cast(at.assumed.p, torch.float64)
    if step == at.stop:
        state = at.right
    else:
        state = at.begun if step == at.start else at.without_last if step == at.stop - 1 else at.first
    ended = at.blocks(state)  # of which the inputs that a convolution keeps are those before the step
    ones = parts.blocks[: 1 if parts.kind == "carry_complex" else None]
    own = {block: torch.full_like(ended[block][0], float(block in ones)) for block in parts.blocks}
    c = torch.cat([own.get(block, v) for block, (v, _) in enumerate(ended)], -1)
    numbers = Numbers(p, len(assumed.cell.gates), assumed.nonlinearity)
    x = chunk_at(assumed.run, step, step + 1).x[0].double()
    new = assumed.cell.step(numbers, linear(x, p.weight_ih, p.bias_ih), state[0][0], c)["c"]
    return cut(new, p.state_sizes(len(assumed.cell.gates)))
