"""Mistakes in the order of steps, in padding, and in the time and batch axes."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._first_step import FirstStep
from rnnspect.causes.known.states import SET_BATCH_FIRST, TRANSPOSE, items_for_steps
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import INPUT, OUTPUT, LayerRun
from rnnspect.judging.estimate import estimate
from rnnspect.judging.layer_inputs import beside

_MOST_ITEMS, _MOST_BEGUN, _SHOWN = 256, 64, 8
"""Batches of at most so many items are looked at for another order of items, or of initial states; and how many items
are named."""
MASK = (
    "Pass the lengths (pack_padded_sequence, sequence_lens, a mask), or take each sequence's state at its own last "
    "step."
)
_STEPS, _CHANCE = 8, 16
"""How many of their first steps tell which items they are; with fewer values one may be another by chance."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    run = assumed.run
    steps, batch = run.x.shape[:2]
    if steps > 2:
        for when, (explanation, fix) in _SHIFTED.items():
            yield Cause("shifted-by-one", explanation, fix, functools.partial(_shifted, when=when), {"when": when})
        for when, at_the_end in (("late", "first"), ("early", "last")):  # one step, which tells nothing if h was seen
            explanation, fix = _SHIFTED[when]
            yield Cause(
                "shifted-by-one",
                f"{explanation}, with zeros at the {at_the_end} step",
                fix,
                functools.partial(_shifted, when=when, zeros=True),
                {"when": when, at_the_end: "zeros"},
                echo=assumed.seen,
            )
        yield from _of_the_input(assumed)
    if batch > 1 and (items := _order_of_items(_lowest(assumed))) is not None:
        yield Cause(
            "batch-mixed",
            *_items_in_words(items),
            functools.partial(_with_items, items=items),
            {"what": "the items"},
        )
    if 1 < batch <= _MOST_BEGUN and (items := _order_of_states(assumed)) is not None:
        yield Cause(
            "batch-mixed",
            f"the items of the batch begin with each other's initial states, in the order {first_few(items)}",
            "Sort the initial states together with the items, or pass enforce_sorted=False.",
            functools.partial(_begun_as, items=items),
            {"what": "the initial states"},
            reach="stack",
        )
    if run.lengths is not None:
        if not run.reverse or assumed.stack.spec.bidirectional:
            yield Cause(
                "padding-not-masked",
                "the padding is processed like any other step",
                MASK,
                without_lengths,
                reach="layer",
                ends=True,
            )
        return
    if batch > 1:
        if steps == batch or not any(bool(state.any()) for state in assumed.stack.states[assumed.at]):
            yield Cause(
                "time-batch-exchanged",
                "the time and batch axes are swapped: batch items are processed as steps",
                SET_BATCH_FIRST,
                items_for_steps,
            )
        if steps > 1:
            yield from _views(assumed)


def without_lengths(assumed: Assumption) -> Assumption:
    """The assumption that every item has every step. The layer above then receives what the layer below gave in the
    padding."""
    stack, below = assumed.stack, assumed.layer - 1
    x = assumed.run.x
    if below >= 0:
        x = beside([stack.h[below, direction] for direction in stack.spec.directions])
    return assumed.with_run(lengths=None, x=x)


_SHIFTED = {
    "late": (
        "the output is one step late: it holds the state before each step",
        "Return the state after each step.",
    ),
    "early": (
        "the output is one step early: it holds the state after the next step",
        "Return the state after each step, starting with the first.",
    ),
    "skipped": (
        "the first step is skipped: the run starts with the second",
        "Start with the first step.",
    ),
}


def _of_the_input(assumed: Assumption) -> Iterator[Cause]:
    """Each step has the x of one beside it. With that of the step computed next, an observed layer skips its first."""
    received = f"what the layer receives from layer {assumed.layer - 1}" if assumed.layer else "the input"
    is_single = not assumed.stack.spec.bidirectional
    if not assumed.layer and assumed.run.lengths is None and is_single:
        yield Cause(
            "reverse-not-realigned",
            "the input is read from its last step to its first, and the output stands in the order of computation",
            "Read it from the first step on, or turn the output in time (Keras has both with go_backwards=True).",
            lambda r: replace(r, run=r.run.mapped(lambda values: values[:].flip(0), INPUT)),
            {"what": "the input"},
            reach="layer",
        )
    for when, other, end in (("late", "before", "first"), ("early", "after", "last")):
        for edge in ("zeros", "its own", "that of the other end"):
            yield Cause(
                "shifted-by-one",
                f"{received} is one step {when}: each step gets that of the step {other}, the {end} step gets {edge}",
                "Give each step its own x: neither roll nor pad the input by a step, nor read a buffer that the layer "
                "below has yet to fill.",
                functools.partial(_with_input, late=when == "late", edge=edge),
                {"when": when, "what": "the input", end: edge},
                reach="layer",
                echo=assumed.seen and is_single and (when == "early") is not assumed.run.reverse,
            )


def _lowest(assumed: Assumption) -> Assumption:
    """The lowest layer, whose x shows the order of the items. The x of a higher layer, where it was observed, is in the
    engine's order already."""
    stack, at = assumed.stack, (0, assumed.stack.spec.directions[0])
    if not assumed.layer or assumed.run.error is not None:
        return assumed
    return Assumption.of(stack, at, stack.x, None, assumed.u, stack.h[at])


def _order_of_items(assumed: Assumption) -> list[int] | None:
    """For each item the item that it is, by its first steps; None where all are in place. One in the places of several
    has another x than these, and enough values to be no other by chance."""
    run, batch = assumed.run, assumed.run.x.shape[1]
    if not assumed.seen or batch > _MOST_ITEMS:
        return None
    order = run.order(0, min(_STEPS, int(run.step_counts.min())))
    first = replace(run.take(order), lengths=None, reverse=False)
    right = estimate(replace(assumed, run=first)).h.double()
    # In reverse an item begins where it ends, so that all are looked at where each other would begin.
    off = [(run.take(order[:, [at] * batch]).h - right[:, [at]]).abs().amax((0, 2)) for at in range(batch)]
    items = torch.stack(off).argmin(0)
    if len(set(items.tolist())) < batch:
        x = first.x[:]
        items = torch.where((x == x[:, items]).all(-1).all(0), torch.arange(batch), items)
        if right[:, 0].numel() < _CHANCE:
            return None
    return items.tolist() if items.tolist() != [*range(batch)] else None


def _items_in_words(items: list[int]) -> tuple[str, str]:
    """What an engine did whose batch has these items in the places of 0, 1, …, and the fix."""
    if len(set(items)) == len(items):
        return (
            f"the items of the batch are given in another order: {first_few(items)}",
            "Give them back in the order in which they came: undo the sorting by length, or pass enforce_sorted=False.",
        )
    moved = [item for item, other in enumerate(items) if item != other]
    of, s = [items[item] for item in moved], "s" * (len(moved) > 1)
    return (
        f"batch item{s} {first_few(moved)} hold{'' if s else 's'} the output of batch item{s} {first_few(of)}",
        "Run each item of the batch on its own x, and keep what it gives in its own place.",
    )


def first_few(items: list[int]) -> str:
    """The first few of some items, or of other numbers, as text."""
    return ", ".join(map(str, items[:_SHOWN])) + (", …" if len(items) > _SHOWN else "")


def _order_of_states(assumed: Assumption) -> list[int] | None:
    """For each item the item with whose initial state it begins, by its first step. None where all begin with their
    own, or where two states give the same."""
    first = FirstStep.of(assumed, every=True)
    if first is None:
        return None
    every = torch.arange(len(first.x))
    given = first.given(first.x.repeat_interleave(len(every), 0), every.repeat(len(every)))
    off = (given.view(len(every), len(every), -1) - first.h.unsqueeze(1)).abs().amax(-1)
    items = off.argmin(1).tolist()
    return items if sorted(items) == every.tolist() and items != every.tolist() else None


def _begun_as(assumed: Assumption, items: list[int]) -> Assumption:
    return assumed.with_states(state[torch.tensor(items)] for state in assumed.run.state)


def _with_items(assumed: Assumption, items: list[int]) -> Assumption:
    run, at = assumed.run, torch.tensor(items)
    if not assumed.layer or run.error is not None:
        run = run.mapped(lambda values: values[:][:, at], INPUT)
    made = replace(assumed, run=replace(run, lengths=None if run.lengths is None else run.lengths[at]))
    return made.with_states(state[at] for state in run.state)


def _with_input(assumed: Assumption, late: bool, edge: str) -> Assumption:
    def moved(values: Tensor) -> Tensor:
        given = values[:]
        there = given[:1] if late == (edge == "its own") else given[-1:]
        there = torch.zeros_like(there) if edge == "zeros" else there
        return torch.cat([there, given[:-1]] if late else [given[1:], there])

    return replace(assumed, run=assumed.run.mapped(moved, INPUT))


def _shifted(assumed: Assumption, when: str, zeros: bool = False) -> Assumption:
    """Each step's h is that of another step: the one before or after it in processing order, or from the second step
    on. Where there is no such step, an engine gives zeros (`zeros`), or else the initial state, or the last step
    again."""
    if not assumed.seen and when != "skipped":
        back = functools.partial(_given_shifted, run=assumed.run, late=when == "late", zeros=zeros)
        return replace(assumed, back=back)
    if when == "early":
        assumed = _after_one_step(assumed)
    run = assumed.run
    late = (when == "late") is not run.reverse
    received, given = (slice(None, -1), slice(1, None)) if late else (slice(1, None), slice(None, -1))
    lengths = None if run.lengths is None else run.lengths - 1
    seen = run.take(given)
    shifted = replace(run.take(received), h=seen.h, c=seen.c, c_error=seen.c_error, lengths=lengths)
    return replace(assumed, run=shifted)


def _given_shifted(values: Tensor, initial: Tensor, run: LayerRun, late: bool, zeros: bool) -> Tensor:
    """h (T, B, ·) of an engine that returns at each step that of the step before or after it."""
    steps, each = len(values), torch.arange(len(run.h0))
    order, inside = run.order(0, steps), run.inside
    right = values[order, each]
    edge = torch.zeros_like(initial) if zeros else initial if late else right[run.step_counts - 1, each]
    given = torch.cat([edge[None], right[:-1]]) if late else torch.cat([right[1:], edge[None]])
    if not late:
        given[run.step_counts - 1, each] = edge
    shifted = torch.zeros_like(values)
    shifted[order[inside], each.expand_as(order)[inside]] = given[inside]
    return shifted


def _after_one_step(assumed: Assumption) -> Assumption:
    """The assumption with the state after the first step as its initial state."""
    run, u = assumed.run, replace(assumed.u, relative=0.0, absolute=0.0)
    first = replace(run.take(run.order(0, 1)), lengths=None, reverse=False)
    return assumed.begun_with(estimate(replace(assumed, run=first, u=u)).final)


def _views(assumed: Assumption) -> Iterator[Cause]:
    """The time and batch axes are reshaped in place of exchanged, at the input or the output of the stack."""
    bottom, top = assumed.layer == 0, assumed.layer == assumed.stack.spec.num_layers - 1
    for first, other, from_batch in (("batch", "time", True), ("time", "batch", False)):
        for what, at_bottom, at_top in (("input", True, False), ("output", False, True), ("both", True, True)):
            if not ((at_bottom and bottom) or (at_top and top)):
                continue
            said = {
                "input": f"the {first}-first input is viewed as {other}-first",
                "output": f"the {other}-first output is viewed as {first}-first",
                "both": f"the {first}-first input is viewed as {other}-first, and the output viewed back,",
            }
            yield Cause(
                "batch-mixed",
                f"{said[what]} instead of transposed, which mixes the steps of different sequences",
                TRANSPOSE,
                functools.partial(_viewed, x=at_bottom and bottom, h=at_top and top, from_batch=from_batch),
                {"what": what, "from": f"{first} first"},
            )


def _viewed(assumed: Assumption, x: bool, h: bool, from_batch: bool) -> Assumption:
    if x:
        run = assumed.run.mapped(lambda values: _view(values[:], from_batch), INPUT)
        assumed = replace(assumed, run=run)
    if h:
        # The output's view goes the other way round: from the engine's axes to those of the one who asked.
        run = assumed.run.mapped(lambda values: _view(values, from_batch), OUTPUT)
        assumed = replace(assumed, run=run, back=lambda values, _initial: _view(values, not from_batch))
    return assumed


def _view(values: Tensor, from_batch: bool) -> Tensor:
    """(T, B, ·) with the memory that it has in the other order of axes read as its own."""
    steps, batch = values.shape[:2]
    if from_batch:
        return values.transpose(0, 1).reshape(steps, batch, -1)
    return values.reshape(batch, steps, -1).transpose(0, 1)
