"""Decays that are wrong in a first call only, as when the steps of a prompt are computed at once, and the steps after
it one by one and right."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from rnnspect.arithmetic.forms import running_maxima
from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms import deltas
from rnnspect.causes.known.forms._chunk_edges import STEPS, few_in_order, steps_over
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn
from rnnspect.causes.known.forms._chunk_sums import added_up
from rnnspect.causes.known.forms._decay_words import (
    BOTH,
    EARLIER,
    HANDED,
    IDS,
    IN_CHUNKS,
    OF_LINES,
    ONCE,
    READ,
    UNREAD,
    WORDS,
)
from rnnspect.causes.known.forms._parted_cell import in_parts
from rnnspect.causes.known.forms.carried import apart, have_other_decays
from rnnspect.judging.assumption import Assumption

_WORDS = {
    BOTH: "",
    READ: "; what they hand on is right",
    deltas.READ_ALONE: "; what they subtract and hand on is right",
    deltas.TAKEN_OFF: ", in what they subtract, not in what they read",
    deltas.GOES_ON: ", in what they read and hand on, not in what they subtract",
}


@dataclass(frozen=True)
class _Form:
    """A form of the cell that makes a mistake, as if the whole run were one call."""

    mistake: str
    wrong: Assumption
    right: Assumption
    """What the steps after that call compute."""
    handed: Mapping[str, Callable[[int], Handed]]
    """By what the mistake is made in: from the number of steps of the call to the states that it hands on."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    if not few_in_order(assumed) or in_parts(assumed.cell) is None:
        return
    for form in _forms(assumed):
        stop = next(iter(steps_over(form.wrong)), 0)
        if not 1 < stop <= STEPS:
            continue
        name, fix = IDS.get(form.mistake, ("chunk-decay-apart", ONCE))
        for place, handed in form.handed.items():
            rest = replace(form.right, run=form.right.run.take(slice(stop, None)))
            if steps_over(rest.begun_with(_as_in(form.right, handed(stop)))):
                continue
            yield Cause(
                name,
                f"{WORDS[form.mistake]}, in the first {stop} steps alone, as in a prompt{_WORDS[place]}",
                fix,
                functools.partial(_with, mistake=form.mistake, place=place, stop=stop),
                {"which": form.mistake, "in": place, "prompt": stop},
            )


def _forms(assumed: Assumption) -> Iterator[_Form]:
    right, parts = apart(assumed, ""), in_parts(assumed.cell)
    if parts is not None and parts.kind == "delta" and len(assumed.cell.cell_state) == 1:
        for mistake, places in deltas.MADE_IN.items():
            for place in places:
                if place != HANDED:
                    wrong = deltas.in_three(assumed, mistake, place)
                    handed = functools.partial(_by_delta, wrong, mistake, place)
                    yield _Form(mistake, wrong, assumed, {place: handed})
    for mistake in _of_sums(assumed):
        wrong = apart(assumed, mistake)
        handed_on = {
            BOTH: functools.partial(_by_sums, assumed, wrong, mistake),
            READ: functools.partial(_by_sums, assumed, right, ""),
        }
        yield _Form(mistake, wrong, right, handed_on)


def _of_sums(assumed: Assumption) -> Iterator[str]:
    """The mistakes that each step makes in the sums of the two parts of a state."""
    parts = in_parts(assumed.cell)
    is_delta = parts is not None and parts.kind == "delta"
    yield from (mistake for mistake in OF_LINES if mistake == UNREAD or (mistake != EARLIER and not is_delta))
    if in_parts(assumed.cell, EARLIER) and not running_maxima(assumed.cell) and have_other_decays(assumed):
        yield IN_CHUNKS


def _by_sums(assumed: Assumption, made: Assumption, mistake: str, stop: int) -> Handed:
    parts = in_parts(assumed.cell, EARLIER if mistake == IN_CHUNKS else "")
    assert parts is not None
    return added_up(HandingOn.of_the_first(made, stop), parts, mistake)


def _by_delta(made: Assumption, mistake: str, place: str, stop: int) -> Handed:
    return deltas.handed_on(HandingOn.of_the_first(made, stop), mistake, place)


def _as_in(right: Assumption, handed: Handed) -> Handed:
    """The states without the additional blocks that only a form with a mistake has."""
    h, (v, e) = handed
    c0 = right.run.c0
    assert c0 is not None
    return h, (v[:, : c0.shape[1]], e[:, : c0.shape[1]])


def _with(assumed: Assumption, mistake: str, place: str, stop: int) -> Assumption:
    """The first `stop` steps, with the mistake. That the steps after them are right is checked before this is tried."""
    first, parts = replace(assumed, run=assumed.run.take(slice(stop))), in_parts(assumed.cell)
    is_delta = parts is not None and parts.kind == "delta" and mistake in deltas.MADE_IN
    made = deltas.in_three(first, mistake, place) if is_delta else apart(first, mistake)
    return replace(made, has_final_states=False)
