"""Lengths that are not those of the items: each one step too short, those of other items of the batch, or wrong for
some items. The engine's output is zero where it believes that an item has ended, which tells what it took for the
lengths; where only its final states show it, these do."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.arithmetic.unroll import run_layer
from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_states import Inexact, allowed, first_that_stands
from rnnspect.causes.known.forms._last_chunk import GIVE
from rnnspect.causes.known.order import MASK, first_few
from rnnspect.causes.known.states import end_of_the_run
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.estimate import estimate
from rnnspect.judging.layer_inputs import beside, handed_on
from rnnspect.judging.stack import unchanged
from rnnspect.network.progress import untold

NAME = "lengths-wrong"
OF_LENGTHS = {NAME, "padding-not-masked", "shifted-by-one"}
"""Mistakes that return the state after another step as the final one."""
BEFORE_THE_LAST = "the final state is that of the step before the last"
IN_PADDING = "the final state is taken at the last step of the batch, which is padding for shorter sequences"
_WORK = 2**30
"""How many multiplications the look for the steps after which final states were taken may need."""
_BITS = 9.0
"""The final state of an item names the step after which it was taken only with so many bits of information, and those
that tell the steps apart."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    lengths = assumed.run.lengths
    if lengths is not None and (cause := _cause(assumed, _taken(assumed), "the engine used {}, not {}")) is not None:
        yield cause


def _cause(assumed: Assumption, taken: Tensor, said: str) -> Cause | None:
    """The mistake that took these numbers of steps (B,) for the lengths; `said` is a sentence of those of some items.
    None where they are right, where all items have the padding, too, or where some have no step."""
    lengths = assumed.run.lengths
    assert lengths is not None
    if torch.equal(taken, lengths) or int(taken.min()) < 1 or bool((taken == assumed.run.x.shape[0]).all()):
        return None
    items = (taken != lengths).nonzero().flatten()
    used, meant = (first_few(of[items].tolist()) for of in (taken, lengths))
    s = "s" * (len(items) > 1)
    which = "of some items"
    explanation = f"the length{s} of batch item{s} {first_few(items.tolist())} {'are' if s else 'is'} wrong: "
    explanation += said.format(used, meant)
    fix = "Pass each sequence's own length, and take its final state after its own last step."
    if bool((taken == lengths - 1).all()):
        which = "one too short"
        explanation = "the lengths are one too short: the last step of each sequence is left out"
        fix = "Pass how many steps each sequence has, not the index of its last one."
    elif torch.equal(taken.sort().values, lengths.sort().values):
        which = "of other items"
        explanation = f"the lengths are those of other batch items: the engine used {first_few(taken.tolist())}"
        fix = "Sort the lengths together with the items, or pass enforce_sorted=False."
    change = functools.partial(_with_lengths, lengths=taken)
    return Cause(NAME, explanation, fix, change, {"lengths": which}, reach="stack")


def ended_elsewhere(assumed: Assumption, returned: Tensor, which: int) -> tuple[Cause, float] | None:
    """The lengths with which this final state (B, ·), h or with `which` = 1 the cell state, was returned after right
    steps, and the largest ratio of difference to limit that is left."""
    run = assumed.run
    if run.lengths is None or run.reverse or run.x.shape[0] * len(run.lengths) * assumed.p.products > _WORK:
        return None
    right = (end_of_the_run(assumed) if assumed.seen else estimate(assumed).final)[which]
    return first_that_stands(assumed, right[0], returned, _ended(assumed, right, returned, which))


def _ended(assumed: Assumption, right: Inexact, returned: Tensor, which: int) -> Iterator[tuple[Cause, Inexact]]:
    lengths, padded, numbers = assumed.run.lengths, _through_padding(assumed), assumed.in_float64()
    assert lengths is not None
    x, state = padded.run.x[:].double(), tuple(one.double() for one in padded.run.state)
    made, _ = run_layer(assumed.cell, numbers, numbers.input(x), state, None, untold)
    nearest = 1 + (made[assumed.cell.states[which]] - returned).abs().amax(-1).argmin(0)
    ratio = ((returned - right[0]).abs() / allowed(assumed, right)).nan_to_num(0)
    is_wrong = (ratio > 1).any(-1)
    taken = torch.where(is_wrong, nearest, lengths)
    if bool((ratio.clamp(min=1).log2().sum(-1)[is_wrong] < _BITS + math.log2(len(x))).any()):
        return
    cause = _cause(assumed, taken, "the final state is that after {} steps, not after {}")
    if bool((taken == lengths - 1).all()):
        cause = Cause("shifted-by-one", BEFORE_THE_LAST, GIVE, unchanged, {"which": "hc"[which]})
    elif bool((taken == len(x)).all()):
        cause = Cause("padding-not-masked", IN_PADDING, MASK, unchanged, {"which": "hc"[which]})
    if cause is not None:
        yield cause, estimate(padded.with_run(lengths=taken)).final[which]


def _taken(assumed: Assumption) -> Tensor:
    """How many steps of each item (B,) there are up to the last whose h is not zero, in this layer or else in the top
    one. Of a run whose h nobody recorded: one too few."""
    stack, lengths = assumed.stack, assumed.run.lengths
    assert lengths is not None
    h = assumed.run.h if assumed.seen else stack.h[stack.spec.num_layers - 1, stack.spec.directions[0]]
    has_any = (h != 0).any(-1) & ~h.isnan().any(-1)
    taken = torch.where(has_any, torch.arange(1, len(h) + 1).unsqueeze(1), 0).amax(0)
    return taken if assumed.seen or not torch.equal(taken, lengths) else lengths - 1


def _with_lengths(assumed: Assumption, lengths: Tensor) -> Assumption:
    """The layer above receives what the layer below gave where the engine believes that an item goes on."""
    stack, below, run = assumed.stack, assumed.layer - 1, assumed.run
    if below >= 0:
        x = beside([stack.h[below, direction] for direction in stack.spec.directions])
        beyond = ~run.inside.unsqueeze(-1)
        error = None if run.error is None else torch.where(beyond, run.error[:].amax(0), run.error[:])
        run = replace(run, x=x, error=error)
    return replace(assumed, run=replace(run, lengths=lengths))


def _through_padding(assumed: Assumption) -> Assumption:
    """It receives in the padding what the layers below give there, by the equations. In a stack of both directions an
    engine may have begun its reverse one anywhere."""
    stack, u = assumed.stack, replace(assumed.u, relative=0.0, absolute=0.0)
    if stack.spec.bidirectional or not assumed.layer:
        return assumed.with_run(lengths=None)
    below = Assumption.of(stack, (assumed.layer - 1, assumed.direction), stack.x, None, u)
    one = estimate(_through_padding(below))
    x, error = handed_on([(one.h, one.error)], None)
    return assumed.with_run(lengths=None, x=x, error=error)
