"""A stack of which only the top layer's h was recorded, looked at quickly.

What takes longest there is to step the layers below with replicas (`judging/estimate.py`), which tell how far a correct
engine may be from them. A run that is right rarely needs them: its top layer is within half the bound that it would
have if its input was known exactly, and its own bound is larger. So the layers below are stepped plainly, and with
replicas only near the value that is nearest to its bound: for its own bound, and for the resolution. For any other run
nothing is decided here.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import one_thread
from rnnspect.judging.assumption import Assumption, At, Stack
from rnnspect.judging.case import Case
from rnnspect.judging.estimate import Paired, can_share
from rnnspect.judging.finding import Finding, PlaceFinding
from rnnspect.judging.judge import CLOSE, Judge
from rnnspect.judging.layer_inputs import StepReader, handed_on
from rnnspect.judging.plain_steps import stepped
from rnnspect.judging.stack import Judged, judge_stack
from rnnspect.network.sequence import Sequence

_FEWEST, _MOST = 512, 2**14
"""Steps. A shorter run is soon judged, and a longer one shows how far it has come."""
_LITTLE = 2**28
"""Multiplications in a layer and direction that are computed on one thread, which waits for no other."""
_ROWS = 2048
"""Steps × items of the top layer that are computed together."""
_NEAR, _BEFORE = 32, 96
"""Steps on both sides of the value nearest to its bound that are judged with the whole bound, and steps beyond them
over which the spread of the replicas grows to what it is."""
_STEADY = 1.2
"""If the spread changes by such a factor over `2 * _NEAR` steps, it has not yet grown to what it is in the whole run:
the memory of the layers is too long for that."""


@dataclass(frozen=True)
class _Near:
    """Some steps of the input, from `start` to `stop`, around those that are judged, from `first` to `last`."""

    start: int
    first: int
    last: int
    stop: int

    @staticmethod
    def around(step: int, steps: int) -> _Near:
        first, last = max(0, step - _NEAR), min(steps, step + _NEAR)
        return _Near(max(0, first - _BEFORE), first, last, min(steps, last + _BEFORE))

    def reached(self, reverse: bool) -> slice:
        """Those that are judged, and those before them in processing order, counted from `start`."""
        return slice(self.first - self.start, None) if reverse else slice(0, self.last - self.start)

    def has_settled(self, error: Tensor, reverse: bool, steps: int) -> bool:
        """Whether an error (steps, B, units) is about the same before the steps that are judged. Where the run itself,
        of so many `steps`, begins before them, it is right there."""
        here = slice(self.first - self.start, self.last - self.start)
        begins = self.stop == steps if reverse else self.start == 0
        behind = error[here.stop :][: 2 * _NEAR] if reverse else error[: here.start][-2 * _NEAR :]
        if not bool(error.isfinite().all()):
            return False
        return begins or 1 / _STEADY <= _size(error[here]) / _size(behind) <= _STEADY


def _size(e: Tensor) -> float:
    """The root mean square of the unit with the largest one: that with the longest memory grows longest."""
    return float(e.square().mean((0, 1)).amax().sqrt())


AllStates = dict[At, tuple[Tensor, ...]]
"""h, and c where the cell has one, (T, B, ·) by step of the input, of each layer and direction."""


@torch.inference_mode()
def look_quickly(case: Case) -> Judged | None:
    """What `judge_stack` finds in a run that is right; None where it may not be, or where there is no such look."""
    if not _applies(case):
        return None
    spec, sequence, stack = case.spec, case.sequence, Stack.of(case.spec, case.parameters, case.sequence)
    products = max(p.products for p in stack.parameters.values()) * sequence.steps * sequence.batch
    with one_thread() if products <= _LITTLE else nullcontext():
        given: StepReader = sequence.x
        states: AllStates = {}
        for layer in range(spec.num_layers - 1):
            ways = [_assumed(case, stack, (layer, direction), given) for direction in spec.directions]
            together = [ways] if len(ways) > 1 and can_share(*ways) else [[way] for way in ways]
            states |= zip([way.at for way in ways], [one for each in together for one in stepped(each)], strict=True)
            given, _ = handed_on([(states[way.at][0], None) for way in ways], None)
        top = [_assumed(case, stack, (layer + 1, direction), given) for direction in spec.directions]
        step = _nearest(top, states)
        return None if step is None else _judged(case, states, _Near.around(step, sequence.steps))


def _applies(case: Case) -> bool:
    spec, seen, sequence = case.spec, case.observation, case.sequence
    top = {(spec.num_layers - 1, direction) for direction in spec.directions}
    no_finals = seen.h_n is None and seen.c_n is None
    alone = no_finals and seen.layers.keys() == top and all(of.keys() == {"h"} for of in seen.layers.values())
    u = case.declared.roundoff
    plain = not (u.coarse or u.products or case.received.rounded)
    fits = _FEWEST <= sequence.steps <= _MOST and sequence.lengths is None
    return spec.num_layers > 1 and alone and plain and fits


def _assumed(case: Case, stack: Stack, at: At, x: StepReader) -> Assumption:
    """What is assumed of a layer and direction that received exactly x."""
    seen, kept = case.observation.layers.get(at, {}), case.observation.kept_of((*at, "h"))
    return Assumption.of(stack, at, x, None, case.declared.over(stack.parameters[at].terms, kept), seen.get("h"))


def _nearest(top: list[Assumption], states: AllStates) -> int | None:
    """The step at which the top layer is nearest to its bound; None where it is not within half of it everywhere. Its
    own states are added to the others."""
    most, step = -1.0, 0
    for assumed in top:
        run, cells = assumed.run, list[Tensor]()
        if assumed.equations.stepwise:  # such a layer takes longest itself
            return None
        for compared in assumed.equations.compared(run, _ROWS):
            if not compared.top <= CLOSE:
                return None
            if compared.top > most:
                most, step = compared.top, compared.values.seen(compared.values.peak).step
            if run.c0 is not None:
                cells.append(compared.q["c"].v.clone())  # its memory is the next chunk's
        c = (torch.cat(cells),) if cells else ()
        states[assumed.at] = run.h, *(one.flip(0) if run.reverse else one for one in c)
    return step


def _judged(case: Case, states: AllStates, near: _Near) -> Judged | None:
    """The findings on the steps near one, with the whole bound, as those of the run; None where they do not agree, or
    where so few steps do not tell how large that bound is."""
    spec, steps, top = case.spec, case.sequence.steps, case.spec.num_layers - 1
    part = _cut(case, states, near)
    judged = judge_stack(part, until=(top, spec.directions[-1]), estimator=Paired(part.observation.layers))
    for layer in range(1, spec.num_layers):
        error = judged.assumptions[layer, spec.directions[0]].run.error
        assert error is not None, "the layer below was not observed"
        for direction, own in zip(spec.directions, error[:].chunk(spec.num_directions, -1), strict=True):
            if not near.has_settled(own, direction == "reverse", steps):
                return None
    for direction in spec.directions:
        assumed = judged.assumptions[top, direction]
        run = assumed.run.take(near.reached(direction == "reverse"))
        found, _ = Judge(assumed.cell, assumed.p, assumed.u, assumed.nonlinearity)(run)
        vague = found.past_use or 2 * found.coarse(case.declared.telling) > found.units
        if found.first is not None or found.unjudged or vague or found.worst is None:
            return None
        if run.c0 is not None:
            bounds = torch.cat([one.bound.clone() for one in assumed.equations.compared(assumed.run, _ROWS)])
            bounds = bounds.flip(0) if run.reverse else bounds
            if not near.has_settled(bounds, run.reverse, steps):
                return None
        judged.places.append(PlaceFinding(top, direction, "h", _of_all(found, case.sequence, near, run.reverse)))
    return judged


def _cut(case: Case, states: AllStates, near: _Near) -> Case:
    """The run of the steps from `start` to `stop`, which begins with the states before them."""
    spec, sequence, cut = case.spec, case.sequence, slice(near.start, near.stop)
    begun = [initial.clone() for initial in sequence.state]
    for row, (layer, direction) in enumerate(spec.places):
        before = near.stop if direction == "reverse" else near.start - 1
        if 0 <= before < sequence.steps:
            for initial, values in zip(begun, states[layer, direction], strict=True):
                initial[row] = values[before]
    seen = {at: {name: values[cut] for name, values in of.items()} for at, of in case.observation.layers.items()}
    h0, c0 = begun if len(begun) > 1 else (begun[0], None)
    started = replace(sequence, x=sequence.x[cut], h0=h0, c0=c0)
    return replace(case, sequence=started, observation=replace(case.observation, layers=seen))


def _of_all(found: Finding, sequence: Sequence, near: _Near, reverse: bool) -> Finding:
    """A finding on the steps that were judged, as that of all steps."""
    assert found.worst is not None
    step = near.reached(reverse).start + near.start + found.worst.step
    worst = replace(found.worst, step=step, order=sequence.steps - 1 - step if reverse else step)
    return replace(found, steps=sequence.steps, values=found.values // found.steps * sequence.steps, worst=worst)
