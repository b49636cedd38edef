"""Mistakes in what the last chunk of a run hands on, which is the final state: every step is right, and what the next
call begins with is wrong."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.arithmetic.matrices import cut
from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms import deltas
from rnnspect.causes.known.forms._chunk_edges import in_order
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, Inexact, first_that_stands, one_after_the_other
from rnnspect.causes.known.forms._chunk_sums import added_up, constant_decays, with_more_decays
from rnnspect.causes.known.forms._decay_words import (
    ADDED,
    DROPPED,
    EVERY,
    HANDED,
    IDS,
    ITS_OWN,
    ITSELF,
    KEPT,
    LAST_TWICE,
    MORE_OF_ALL,
    ONCE,
    TWICE,
    WORDS,
    WORDS_OF_MORE,
)
from rnnspect.causes.known.forms._parted_cell import in_parts
from rnnspect.causes.known.forms.carried import apart
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.stack import unchanged
from rnnspect.network.shown import counted

_WORK = 5 * 2**10
"""How many steps are computed in all, times blocks of the cell state."""
_BEFORE = "the state before it"
"""One more mistake: the state before the last chunk is returned in place of the state after it."""
_OF_LINES, _OF_SUMS = (EVERY, ITS_OWN, ADDED, ITSELF), (DROPPED, KEPT, LAST_TWICE, TWICE)
"""Mistakes that are made at every step, and mistakes in how the two parts of the state after right steps are summed."""
GIVE = "Return the state after the last step that was processed."


def handed_at_the_end(assumed: Assumption, returned: Tensor) -> tuple[Cause, float] | None:
    """The mistake that gives this final h, or cell state (B, ·), after right steps, and the largest ratio of difference
    to limit that is left."""
    run, parts = assumed.run, in_parts(assumed.cell)
    if parts is None or not in_order(assumed):
        return None
    right = apart(assumed, "")
    each_step = range(1, 1 + run.x.shape[0])
    states = one_after_the_other(right, each_step, functools.partial(added_up, parts=parts, mistake=""))
    ended = whole(assumed, states.pop())
    tried = ((_told(kind, start, len(states)), state) for kind, start, state in _ends(assumed, states, ended))
    return first_that_stands(assumed, ended[0], returned, tried)


def _ends(assumed: Assumption, states: list[Handed], ended: Inexact) -> Iterator[tuple[str, int, Inexact]]:
    """The final states of runs with a mistake in their last chunk, each with the mistake and the step at which that
    chunk begins."""
    parts, steps = in_parts(assumed.cell), len(states)
    assert parts is not None
    is_delta = parts.kind == "delta"
    if is_delta:
        kinds = [kind for kind, places in deltas.MADE_IN.items() if HANDED in places]
        wrong = {kind: deltas.in_three(assumed, kind, HANDED) for kind in kinds}
    else:
        wrong = {kind: apart(assumed, kind) for kind in _OF_LINES}
    right = apart(assumed, "")
    constant = None if is_delta else constant_decays(HandingOn.at_the_end(right), parts)
    left = _WORK // max(1, len(assumed.cell.cell_state))
    for start in reversed(range(steps)):
        left -= (len(wrong) + 1) * (steps - start)
        if left < 0:
            return
        begun = whole(assumed, states[start])
        if start < steps - 1:  # for the last step alone `_final_states.py` has it
            yield _BEFORE, start, with_carried(assumed, ended, begun)
        for kind, one in wrong.items():
            if is_delta:
                none = torch.zeros_like(begun[0])
                kept = begun if kind == EVERY else (none, none)
                v, e = (torch.cat(each, -1) for each in zip(begun, (none, none), kept, strict=True))
                at = HandingOn(one, (states[start][0], (v, e)), start, steps)
                yield kind, start, whole(assumed, deltas.handed_on(at, kind, HANDED))
            else:
                at = HandingOn(one, states[start], start, steps)
                yield kind, start, whole(assumed, added_up(at, parts, kind))
        at = HandingOn(right, states[start], start, steps)
        for kind in _OF_SUMS:
            yield kind, start, whole(assumed, added_up(at, parts, kind))
        for kind, handed in with_more_decays(at, parts, constant) if constant else ():
            yield kind, start, whole(assumed, handed)


def with_carried(assumed: Assumption, ended: Inexact, other: Inexact) -> Inexact:
    """The final state of the run, with the blocks that are carried by decays replaced by those of `other`."""
    parts = in_parts(assumed.cell)
    if assumed.run.c0 is None or parts is None:
        return other
    sizes = assumed.p.state_sizes(len(assumed.cell.gates))
    pairs = [zip(cut(one, sizes), cut(two, sizes), strict=True) for one, two in zip(ended, other, strict=True)]
    v, e = (
        torch.cat([two if block in parts.blocks else one for block, (one, two) in enumerate(each)], -1)
        for each in pairs
    )
    return v, e


def whole(assumed: Assumption, handed: Handed) -> Inexact:
    """The sum of both parts of a state."""
    run, (v, e) = assumed.run, handed[1]
    width = run.h0.shape[1] if run.c0 is None else run.c0.shape[1]
    return v[:, :width], e[:, :width]


def before_step(step: int) -> Cause:
    """The state before a step is returned in place of the final one."""
    words = f"the final state is that before step {step}: the steps from there on are not in it"
    return Cause("state-not-carried", words, GIVE, unchanged, {"from": _BEFORE, "step": step})


def _told(kind: str, start: int, steps: int) -> Cause:
    said = {"from": kind, "step": start}
    if kind == _BEFORE:
        return before_step(start)
    name, fix = IDS.get(kind, ("chunk-decay-apart", ONCE))
    if kind == MORE_OF_ALL:  # which is the same wherever that chunk begins
        return Cause(name, f"{WORDS_OF_MORE[kind]}; in the final state alone", fix, unchanged, {"from": kind})
    has = f" and has {counted(steps - start, 'step')}" if kind in WORDS_OF_MORE else ""
    words = (
        f"{(WORDS | WORDS_OF_MORE)[kind]}; in the final state alone, where the last chunk begins at step {start}{has}"
    )
    return Cause(name, words, fix, unchanged, said)
