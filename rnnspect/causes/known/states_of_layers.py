"""A layer begins with the state of another one: with the final state of the layer or direction before it, where one
variable serves all, or with the initial state of the lowest layer; or it alone goes on from an earlier call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_states import Handed
from rnnspect.causes.known.states import end_of_the_run, ended
from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.estimate import estimate
from rnnspect.judging.layer_inputs import beside

_Before = Callable[[At], At | None]
"""From a place to the one that is computed before it."""
_FIX = "Begin each layer and direction with its own row of h0, and of c0: do not keep one variable for all of them."


def causes(assumed: Assumption) -> Iterator[Cause]:
    stack = assumed.stack
    spec, places = stack.spec, list(stack.states)
    if spec.num_layers == 1:
        yield from _of_the_lowest(assumed)
        return
    before: dict[str, tuple[str, _Before]] = {
        "the layer below": ("layer", lambda at: (at[0] - 1, at[1]) if at[0] else None)
    }
    if spec.bidirectional:
        order = dict(zip(places[1:], places, strict=False))
        before["what is computed before it"] = "layer and direction", order.get
    for whose, (each, of) in before.items():
        if (other := of(assumed.at)) is not None and (not assumed.seen or other in stack.h):
            yield Cause(
                "state-of-layer-below",
                f"each {each} begins with the final state of {whose}, not with its own initial one",
                _FIX,
                functools.partial(_goes_on, before=of),
                {"of": whose},
                reach="stack",
            )
    yield from _of_the_lowest(assumed)
    yield Cause(
        "state-left-over",
        f"layer {assumed.layer} alone starts from its final state of an earlier call on the same input",
        "Reset the state of every layer between calls (reset_states, stateful=False, a new h0).",
        lambda r: r.begun_with(ended(r)),
        {"layer": assumed.layer},
        reach="layer",
    )


def _of_the_lowest(assumed: Assumption) -> Iterator[Cause]:
    """Every place begins with the first row of the initial states, or with that of its direction."""
    spec, states = assumed.stack.spec, assumed.stack.states
    if len(states) == 1 or not any(bool(state.any()) for of in states.values() for state in of):
        return
    shared: dict[str, Callable[[At], At]] = {"the first row": lambda _at: (0, spec.directions[0])}
    if spec.bidirectional and spec.num_layers > 1:
        shared["the rows of layer 0"] = lambda at: (0, at[1])
    whose = ("every layer begins", "other layers") if spec.num_layers > 1 else ("both directions begin", "reverse one")
    for rows, of in shared.items():
        names = "h0 and c0" if len(states[assumed.at]) > 1 else "h0"
        yield Cause(
            "state-shared",
            f"{whose[0]} with {rows} of {names}: the initial states of the {whose[1]} are not used",
            "Give each layer and direction its own row; expand a single one only if all are to be equal.",
            functools.partial(_begun_as, of=of),
            {"rows": rows},
            reach="stack",
        )


def _begun_as(assumed: Assumption, of: Callable[[At], At]) -> Assumption:
    return assumed.with_states(assumed.stack.states[of(assumed.at)])


def _goes_on(assumed: Assumption, before: _Before) -> Assumption:
    other = before(assumed.at)
    return assumed if other is None else assumed.begun_with(_end_of(assumed, other, before))


def _end_of(assumed: Assumption, at: At, before: _Before) -> Handed:
    """The final states of another place, which went on from the one before it in turn: by the h that it gave where that
    was observed, else by the equations."""
    stack, run, here = assumed.stack, assumed.run, at[0] == assumed.layer
    seen = assumed.seen if here else run.error is None
    if here:
        x, error = run.x, run.error
    else:  # what a layer further below gave is taken as exact
        below = [stack.h[at[0] - 1, direction] for direction in stack.spec.directions] if at[0] else [stack.x]
        x, error = beside(below), None
    made = Assumption.of(stack, at, x, error, assumed.u, stack.h[at] if seen else None)
    if (other := before(at)) is not None:
        made = made.begun_with(_end_of(assumed, other, before))
    return end_of_the_run(made) if seen else estimate(replace(made, u=assumed.u)).final
