"""Final states that are wrong although every step is right: some steps are missing from the state, some of its blocks
are those of another step, or it has decayed by the padding of the last chunk. Mistakes in what the last chunk hands on
are in `_last_chunk.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import in_order
from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn, Inexact, first_of, first_that_stands, zeros
from rnnspect.causes.known.forms._delay_lines import delayed
from rnnspect.causes.known.forms._last_chunk import before_step, whole, with_carried
from rnnspect.causes.known.forms._parted_cell import in_parts
from rnnspect.causes.known.forms.carried import apart
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.estimate import estimate
from rnnspect.judging.padded_steps import Behind, after, nearest, ways
from rnnspect.judging.stack import unchanged

_WORK = 2**30
"""How many multiplications the search for the first step of the last chunk may take."""
_FIX = "Return all blocks of the cell state as they are after the last step."
_KINDS: dict[str, tuple[str, str, Callable[[HandingOn], Handed]]] = {
    "zeros": ("state-not-carried", "zeros", lambda at: zeros(at.right)),
    "initial": ("state-not-carried", "the initial ones", lambda at: at.first),
    "left out": ("shifted-by-one", "one step old", lambda at: at.without_last),
    "twice": ("chunk-step-apart", "one step ahead: the last step is processed twice", lambda at: at.last_twice),
}
"""By what is made of a block: the id of the mistake, its words, and the states that the block is taken from."""


def steps_left_out(assumed: Assumption, returned: Tensor, which: int) -> tuple[Cause, float] | None:
    """The mistake that left some steps out of a returned final state (B, ·), h or with `which` = 1 the cell state, of a
    run whose steps are right; and the largest ratio of difference to limit that is left."""
    run = assumed.run
    steps, batch = run.x.shape[:2]
    if not in_order(assumed) or steps < 3 or steps * steps * batch * assumed.p.products > _WORK:
        return None
    right = HandingOn.at_the_end(assumed).right[which][0]
    return first_that_stands(assumed, right, returned, _without_steps(assumed, returned, which))


def _without_steps(assumed: Assumption, returned: Tensor, which: int) -> Iterator[tuple[Cause, Inexact]]:
    steps = assumed.run.x.shape[0]
    from_start, from_zeros = _states(assumed, which)
    last = 1 + _nearest(from_start[: steps - 2], returned)
    yield before_step(last), HandingOn.of_the_first(assumed, last).right[which]
    start = 1 + _nearest(from_zeros, returned)
    rest = replace(assumed, run=assumed.run.take(slice(start, None)), u=replace(assumed.u, relative=0.0, absolute=0.0))
    yield (
        Cause(
            "chunk-state-lost",
            f"the final state is what the steps from step {start} on make of zeros: those before it are not in it",
            "Begin each chunk, and each later call, with the state that the one before ended with.",
            unchanged,
            {"from": "zeros", "step": start},
        ),
        estimate(rest.begun_with(zeros(first_of(assumed)))).final[which],
    )


def _states(assumed: Assumption, which: int) -> tuple[Tensor, Tensor]:
    """(T, B, ·): the state after each step; and (T − 1, B, ·): the final state of the run without its first step,
    without its first two, …, each begun from zeros."""
    run, numbers = assumed.run, assumed.in_float64()
    steps, batch = run.x.shape[:2]
    # All runs at once, each an item more: the first from the initial state, the others from zeros.
    state = tuple(
        torch.cat([one.double(), one.new_zeros((steps - 1) * batch, one.shape[1]).double()]) for one in run.state
    )
    ended = []
    for step in range(steps):
        begun = (step + 1) * batch  # runs that begin later are still at zeros
        wx = numbers.input(run.x[step].double()).repeat(step + 1, 1)
        q = assumed.cell.step(numbers, wx, *(one[:begun] for one in state))
        for name, one in zip(assumed.cell.states, state, strict=True):
            one[:begun] = q[name]
        ended.append(state[which][:batch].clone())
    return torch.stack(ended), state[which][batch:].view(steps - 1, batch, -1)


def _nearest(states: Tensor, returned: Tensor) -> int:
    return int((states - returned).abs().flatten(1).amax(1).argmin())


def blocks_at_the_end(assumed: Assumption, c_n: Tensor) -> tuple[Cause, float] | None:
    """The mistake that gives this final cell state (B, ·) after right steps, and the largest ratio of difference to
    limit that is left."""
    run = assumed.run
    if not in_order(assumed) or run.c0 is None:
        return None
    at = HandingOn.at_the_end(assumed)
    return first_that_stands(assumed, at.right[1][0], c_n, _with_other_blocks(at))


def _with_other_blocks(at: HandingOn) -> Iterator[tuple[Cause, Inexact]]:
    for blocks in _some(at.assumed):
        names = listed(at.assumed.cell.cell_state[block][0] for block in blocks)
        for kind, (name, words, of) in _KINDS.items():
            found = at.blocks(of(at))
            state = at.with_blocks({block: found[block] for block in blocks})[1]
            said = f"in the final state {names} {'is' if len(blocks) == 1 else 'are'} {words}"
            yield Cause(name, said, _FIX, unchanged, {"which": names, "from": kind}), state


def _some(assumed: Assumption) -> Iterator[tuple[int, ...]]:
    """Sets of blocks that are tried, without those that keep inputs of a convolution: one block, all but one, or all of
    them where there are others."""
    every = range(len(assumed.cell.cell_state))
    rest = tuple(block for block in every if block not in delayed(assumed.cell))
    sizes = dict.fromkeys((1, len(rest) - 1, *([len(rest)] if len(rest) < len(every) else [])))
    for size in sizes:
        if 0 < size < len(every):
            yield from combinations(rest, size)


def decayed_at_the_end(assumed: Assumption, returned: Tensor) -> tuple[Cause, float] | None:
    """The padding whose decays explain this final h, or cell state (B, ·), after right steps, and the largest ratio of
    difference to limit that is left."""
    if in_parts(assumed.cell) is None or not in_order(assumed):
        return None
    right = HandingOn.at_the_end(assumed).right
    return first_that_stands(assumed, right[-1][0], returned, _decayed(assumed, right, returned))


def _decayed(assumed: Assumption, right: Handed, returned: Tensor) -> Iterator[tuple[Cause, Inexact]]:
    for padding in ways(assumed):
        made = apart(padding.assumed, "")
        assert made.run.c0 is not None
        begun = right[0], _beside_nothing(right[-1], made.run.c0.shape[1])
        behind = replace(padding, assumed=made)
        steps = nearest(behind, begun, returned)[0]
        yield _told(padding, steps), with_carried(assumed, right[-1], whole(assumed, after(behind, begun, steps).final))


def _beside_nothing(state: Inexact, width: int) -> Inexact:
    """A state in two parts, of which the part that steps add is still zero."""
    v, e = (torch.cat([one, one.new_zeros(len(one), width - one.shape[1])], -1) for one in state)
    return v, e


def _told(padding: Behind, steps: int) -> Cause:
    of = f"with the x of {padding.step} one" if padding.step else "of zeros"
    return Cause(
        "padding-not-masked",
        f"the final state is decayed by {steps} step{'' if steps == 1 else 's'} {of} more, which fill the last chunk "
        "and add nothing",
        "Let padded steps keep the state (a decay of 1, whose logarithm is 0), or leave them out.",
        unchanged,
        {"steps": steps, "of": of},
    )
