"""One of several blocks of the final cell state that is another one, while every step is right: S, n or m of an mLSTM
before the run, before its last step, or after its last step once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import in_order
from rnnspect.causes.known.forms._delay_lines import delay_lines
from rnnspect.causes.known.forms._handed_on import Handed, HandingOn, stands_for, zeros
from rnnspect.errors import listed
from rnnspect.judging.assumption import Assumption

_FIX = "Return all blocks of the cell state as they are after the last step."
_KINDS: dict[str, tuple[str, str, Callable[[HandingOn], Handed]]] = {
    "zeros": ("state-not-carried", "zeros", lambda at: zeros(at.right)),
    "initial": ("state-not-carried", "the initial ones", lambda at: at.first),
    "left out": ("shifted-by-one", "one step old", lambda at: at.without_last),
    "twice": ("chunk-step-apart", "one step ahead: the last step is processed twice", lambda at: at.last_twice),
}
"""By what is made of a block: the mistake's id, the words and the states that it is taken from."""


def blocks_at_the_end(assumed: Assumption, c_n: Tensor) -> tuple[Cause, float] | None:
    """The mistake with which a run whose steps are right ends with this cell state (B, ·), and the largest error that
    is left, in bounds."""
    run = assumed.run
    if not in_order(assumed) or run.c0 is None:
        return None
    at = HandingOn.at_the_end(assumed)
    for blocks in _some(assumed):
        names = listed(assumed.cell.cell_state[block][0] for block in blocks)
        for kind, (name, words, of) in _KINDS.items():
            found = at.blocks(of(at))
            state = at.with_blocks({block: found[block] for block in blocks})[1]
            top = stands_for(assumed, at.right[1][0], c_n, state)
            if top is not None:
                said = f"in the final state {names} {'is' if len(blocks) == 1 else 'are'} {words}"
                return Cause(name, said, _FIX, lambda made: made, {"which": names, "from": kind}), top
    return None


def _some(assumed: Assumption) -> Iterator[tuple[int, ...]]:
    """The blocks that keep no inputs for a convolution: one of them, all but one, or all where there are others."""
    delayed = {block for line in delay_lines(assumed.cell) for block in line.blocks}
    every = range(len(assumed.cell.cell_state))
    rest = tuple(block for block in every if block not in delayed)
    sizes = dict.fromkeys((1, len(rest) - 1, *([len(rest)] if delayed else [])))
    for size in sizes:
        if 0 < size < len(every):
            yield from combinations(rest, size)
