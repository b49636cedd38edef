"""Padding before the first step, as in a batch that is aligned at its end: steps of padding change the state with which
the run begins."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import in_order
from rnnspect.causes.known.forms._chunk_states import first_of, goes_on, may_go_on
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.padded_steps import Behind, after, most_steps, ways


def causes(assumed: Assumption) -> Iterator[Cause]:
    if not in_order(assumed) or goes_on(assumed, 0, first_of(assumed)):
        return
    for padding in ways(assumed):
        if padding.step == "the last" or not (steps := _nearest(padding)):
            continue
        begun = after(padding, first_of(assumed), steps).final
        if may_go_on(assumed, 0, begun):
            of = "with the x of the first one" if padding.step else "of zeros"
            yield Cause(
                "padding-not-masked",
                f"{steps} step{'' if steps == 1 else 's'} {of} in front of the first one move the state with which the "
                "run begins",
                "Pad behind the last step, or let padded steps keep the state (a decay of 1, nothing added).",
                functools.partial(Assumption.begun_with, states=begun),
                {"where": "in front", "steps": steps, "of": of},
            )


def _nearest(padding: Behind) -> int:
    """After how many steps of padding the equations come nearest to the engine's first step; 0 where padding brings
    them no nearer."""
    assumed, run = padding.assumed, padding.assumed.run
    numbers = assumed.in_float64()
    pad, first = (numbers.input(x.double()) for x in (padding.x, run.x[0]))
    state, far = tuple(one.double() for one in run.state), list[float]()
    for _ in range(1 + most_steps(assumed)):
        far.append(float((assumed.cell.step(numbers, first, *state)["h"] - run.h[0].double()).abs().max()))
        q = assumed.cell.step(numbers, pad, *state)
        state = tuple(q[name] for name in assumed.cell.states)
    return far.index(min(far))
