"""Mistakes in initial states, and in the state that is carried from step to step."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.matrices import cut
from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_states import Handed, first_of
from rnnspect.causes.known.forms._delay_lines import delayed
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption, At
from rnnspect.judging.estimate import estimate
from rnnspect.judging.final_states import last
from rnnspect.judging.layer_inputs import StepReader, handed_on

SET_BATCH_FIRST = "Set batch_first (time_major, layout) to match the input, or transpose it; view does not transpose."
TRANSPOSE = "Transpose the two axes; view and reshape do not reorder the numbers."
FORGOTTEN = 64
"""After so many steps a run has forgotten its initial state, and ends as the call before it did. A run that has not is
not explained by a state that was left over."""
_ROWS = 256
_CHAINED = 64
"""In batches of at most so many items each item may go on from the end of the item before it."""
_LOOKS = 2
"""How often the items of a batch are looked at, where each forgets its initial state."""
_ALONE = 2**14
"""A layer that was not observed can be estimated with at most so many items."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    for ignored in [["h0"]] if run.c0 is None else [["h0", "c0"], ["h0"], ["c0"]]:
        if any(bool(getattr(run, name).any()) for name in ignored):
            words = " and ".join(ignored)
            yield Cause(
                "state-ignored",
                f"{words} {'are' if len(ignored) > 1 else 'is'} ignored: the engine starts from zeros",
                f"Pass {words}; an exported model may lack an input for it.",
                functools.partial(_from_zero, names=ignored),
                {"which": words},
            )
    yield from _carried_ignored(assumed)
    if run.c0 is not None and run.c0.shape == run.h0.shape and not torch.equal(run.h0, run.c0):
        yield Cause(
            "h-c-exchanged",
            "h0 and c0 are swapped",
            "Pass (h, c) to PyTorch, Keras and ONNX, and (c, h) to TensorFlow 1 and Flax.",
            lambda r: r.with_run(h0=r.run.c0, c0=r.run.h0),
        )
    yield Cause(
        "state-left-over",
        "the run starts from the final state of an earlier call on the same input, not from its own initial state",
        "Reset the state between calls (reset_states, stateful=False, a new h0).",
        lambda r: r.begun_with(ended(r)),
        reach="stack",
    )
    if 1 < len(run.h0) <= _CHAINED:
        yield Cause(
            "state-left-over",
            "each sequence of the batch begins with the final state of the one before it, not with its own initial one",
            "Begin each sequence with its own initial state: do not hand the state on from one item to the next.",
            _in_a_row,
            {"from": "the item before"},
            reach="stack",
        )
    if run.reverse and assumed.stack.spec.bidirectional and (not assumed.seen or assumed.other in assumed.stack.h):
        yield Cause(
            "state-of-other-direction",
            "the reverse direction begins with the final state of the forward direction, not with its own initial one",
            "Give each direction its own h0, and c0: do not hand the state on from one to the other.",
            lambda r: r.begun_with(_end_of_forward(r)),
        )
    yield from _of_others(assumed)
    if run.x.shape[0] > 1:
        yield from _each_step_alone(assumed)


def _each_step_alone(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    for start in ("zero", "the initial state"):
        yield Cause(
            "state-not-carried",
            f"each step starts from {start}: the state is not carried from step to step",
            "Pass each step the state that the previous step returned.",
            functools.partial(_every_step_alone, from_zero=start == "zero"),
            {"start": start},
            unused=_unused_at_zero(assumed) if start == "zero" else (),
        )
    if run.x.shape[1] == 1 and run.lengths is None and not any(bool(of.any()) for of in run.state):
        yield Cause(  # the same numbers; a step that is called by itself has no axes to exchange, and so it comes last
            "time-batch-exchanged",
            "the time and batch axes are swapped: steps are processed as batch items",
            SET_BATCH_FIRST,
            items_for_steps,
            unused=_unused_at_zero(assumed),
        )


def _carried_ignored(assumed: Assumption) -> Iterator[Cause]:
    """The carried state is ignored; also where a convolution keeps inputs in the cell state: those are used, and the
    rest is not."""
    run, blocks = assumed.run, assumed.cell.cell_state
    inputs = delayed(assumed.cell)
    if run.c0 is None or not inputs or len(inputs) == len(blocks):
        return
    kept = list(cut(run.c0, assumed.p.state_sizes(len(assumed.cell.gates))))
    for ignored in (set(range(len(blocks))) - inputs, inputs):
        words = listed(blocks[block][0] for block in sorted(ignored))
        if any(bool(kept[block].any()) for block in ignored):
            c0 = torch.cat([torch.zeros_like(v) if block in ignored else v for block, v in enumerate(kept)], -1)
            yield Cause(
                "state-ignored",
                f"{words} of c0 {'are' if len(ignored) > 1 else 'is'} ignored: the engine starts from zeros there",
                f"Pass {words} as well.",
                functools.partial(Assumption.with_run, c0=c0),
                {"which": words},
            )


def _unused_at_zero(assumed: Assumption) -> tuple[str, ...]:
    """Gates that only multiply the state, and so have no effect where it is zero."""
    if assumed.cell.has_cell_state:
        return ("f",) if "f" in assumed.cell.gates else ()
    before = "before" in assumed.cell.variant
    return ("r",) if "r" in assumed.cell.gates and (before or assumed.p.bias_hh is None) else ()


def _from_zero(assumed: Assumption, names: list[str]) -> Assumption:
    return assumed.with_run(**{name: torch.zeros_like(getattr(assumed.run, name)) for name in names})


def ended(assumed: Assumption) -> Handed:
    """The states that an earlier call on the same sequence would have left. For a short run they are computed by the
    equations, from the initial states of all layers; for a long one that was observed they are its own final states."""
    if assumed.seen and assumed.run.x.shape[0] > FORGOTTEN:
        return end_of_the_run(assumed)
    if not assumed.stack.ended:
        assumed.stack.ended.update(_from_the_equations(assumed))
    return assumed.stack.ended[assumed.at]


def items_for_steps(assumed: Assumption) -> Assumption:
    """The time and batch axes are exchanged: the items are the steps of one item for each step. Where these are not as
    many as the items, they begin from zero."""
    run = assumed.run
    steps = run.x.shape[0]
    states = [state if len(state) == steps else state.new_zeros(steps, state.shape[1]) for state in run.state]
    turned = run.mapped(lambda values: values[:].transpose(0, 1))
    return replace(assumed, run=turned, back=lambda values, _: values.transpose(0, 1)).with_states(states)


def _in_a_row(assumed: Assumption) -> Assumption:
    run = assumed.run
    if run.x.shape[0] == 1 and not any(bool(state.any()) for state in run.state):
        return items_for_steps(assumed)  # the same numbers, and so the same limits as that mistake's
    return assumed.begun_with(_ended_before(assumed))


def _ended_before(assumed: Assumption) -> Handed:
    """The states with which items begin if each goes on from the end of the item before it, and the first from its own
    initial state. Each pass over the batch makes one more item right, and all of them where each forgets its initial
    state."""
    begun = own = first_of(assumed)
    steps, batch = assumed.run.x.shape[:2]
    for _ in range(batch - 1 if steps <= FORGOTTEN else _LOOKS):
        made = assumed.begun_with(begun)
        ended = end_of_the_run(made) if assumed.seen else estimate(made).final
        after = tuple(_after_the_first(*each) for each in zip(own, ended, strict=True))
        if all(torch.equal(a, b) for pair in zip(begun, after, strict=True) for a, b in zip(*pair, strict=True)):
            break
        begun = after
    return begun


def _after_the_first(own: tuple[Tensor, Tensor], ended: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    v, e = (torch.cat([first[:1], rest[:-1]]) for first, rest in zip(own, ended, strict=True))
    return v, e


def end_of_the_run(assumed: Assumption) -> Handed:
    run = assumed.run
    h = last(run.h, run.lengths, run.reverse).double()
    found = [(h, torch.zeros_like(h))]
    if run.c0 is not None:
        layer = assumed.equations
        if run.lengths is None:
            run = run.take(slice(4 * FORGOTTEN) if run.reverse else slice(-4 * FORGOTTEN, None))
        c = layer.ended(run, layer.begin(run.c0, run.begun_error), _ROWS).number(torch.float64)
        found.append((c.v, c.e))
    return tuple(found)


def _end_of_forward(assumed: Assumption) -> Handed:
    """The final states of the forward direction of the same layer: by the h that it gave where that was observed, else
    by the equations."""
    stack, at, run = assumed.stack, assumed.other, assumed.run
    if not assumed.seen:
        return estimate(Assumption.of(stack, at, run.x, run.error, assumed.u)).final
    made = replace(assumed, p=stack.parameters[at], nonlinearity=stack.spec.nonlinearity_of(at[1]))
    made = made.with_run(h=stack.h[at], reverse=False, c=None)
    return end_of_the_run(made.with_states(stack.states[at]))


def _from_the_equations(assumed: Assumption) -> dict[At, Handed]:
    stack, u = assumed.stack, replace(assumed.u, relative=0.0, absolute=0.0)
    lengths, x = stack.lengths, stack.x
    valid = None if lengths is None else torch.arange(len(x)).unsqueeze(1) < lengths
    given: tuple[StepReader, StepReader | None] = x, None
    found: dict[At, Handed] = {}
    for layer in range(stack.spec.num_layers):
        outputs = []
        for direction in stack.spec.directions:
            at = layer, direction
            one = estimate(Assumption.of(stack, at, *given, u))
            found[at] = one.final
            outputs.append((one.h, one.error))
        given = handed_on(outputs, valid)
    return found


def _of_others(assumed: Assumption) -> Iterator[Cause]:
    """The initial states of all layers and directions, (L·D, B, ·), are in another order or shape."""
    stack, every = assumed.stack, list(assumed.stack.states)
    layers, directions = stack.spec.num_layers, stack.spec.num_directions
    if not any(bool(state.any()) for states in stack.states.values() for state in states):
        return
    orders = {
        "direction by direction": [every[(n % directions) * layers + n // directions] for n in range(len(every))],
        "the last layer first": [(layers - 1 - layer, direction) for layer, direction in every],
        "reverse first": [every[n ^ 1] for n in range(len(every))] if directions > 1 else every,
    }
    for order, places in orders.items():
        if places != every:
            yield Cause(
                "states-interleaved",
                f"the initial states are in the wrong order: {order}, not layer by layer with forward before reverse",
                "Order them as (layers × directions, batch, units), with the direction changing fastest.",
                functools.partial(_with_states_of, at=dict(zip(every, places, strict=True))[assumed.at]),
                {"order": order},
                reach="stack",
            )
    if len(assumed.run.h0) > 1:
        if len(every) > 1:
            yield Cause(
                "batch-mixed",
                "the batch-first initial states are viewed as (layers × directions, batch, units), not transposed",
                TRANSPOSE,
                _viewed,
                {"what": "states"},
                reach="stack",
            )
        yield Cause(
            "batch-mixed",
            "every sequence of the batch starts from the initial state of the first one",
            "Pass one state per sequence; expand a single one only if all are to be equal.",
            lambda r: r.with_states(state[:1].expand_as(state) for state in r.run.state),
            {"what": "the state of item 0"},
            reach="stack",
        )


def _with_states_of(assumed: Assumption, at: At) -> Assumption:
    return assumed.with_states(assumed.stack.states[at])


def _viewed(assumed: Assumption) -> Assumption:
    stack = assumed.stack
    index = list(stack.states).index(assumed.at)
    whole = [torch.stack(states, 1).flatten(0, 1) for states in zip(*stack.states.values(), strict=True)]
    batch = len(assumed.run.h0)
    return assumed.with_states(state[index * batch : (index + 1) * batch] for state in whole)


def _every_step_alone(assumed: Assumption, from_zero: bool) -> Assumption:
    """Each step as a batch item of one step, which begins from zero or from the initial state."""
    run = assumed.run
    steps, batch = run.x.shape[:2]
    states = [(torch.zeros_like(state) if from_zero else state).repeat(steps, 1) for state in run.state]
    run, lengths = run.mapped(lambda values: values[:].reshape(1, steps * batch, -1)), run.lengths
    if lengths is not None:  # 1 where the item has the step, 0 in the padding
        lengths = (torch.arange(steps).unsqueeze(1) < lengths).long().flatten()
    made = replace(assumed, run=replace(run, lengths=lengths, reverse=False)).with_states(states)
    if steps * batch > _ALONE:
        return made
    return replace(made, back=lambda values, _: values.reshape(steps, batch, -1))
