"""A last chunk that is filled up with steps that add nothing, but whose decays are counted: every step is right, and
the final state has decayed too far."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._carried import in_parts
from rnnspect.causes.known.forms._chunk_edges import in_order
from rnnspect.causes.known.forms._handed_on import HandingOn, Off, stands_for
from rnnspect.causes.known.forms._last_chunk import whole, with_carried
from rnnspect.causes.known.forms.carried import apart
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.padded_steps import Behind, after, nearest, ways


def decayed_at_the_end(assumed: Assumption, returned: Tensor) -> tuple[Cause, float] | None:
    """The padding with whose decays a run whose steps are right ends with this h, or cell state (B, ·), and the largest
    error that is left, in bounds."""
    if in_parts(assumed.cell) is None or not in_order(assumed):
        return None
    right = HandingOn.at_the_end(assumed).right
    for padding in ways(assumed):
        made = apart(padding.assumed, "")
        assert made.run.c0 is not None
        begun = right[0], _beside_nothing(right[-1], made.run.c0.shape[1])
        behind = replace(padding, assumed=made)
        steps = nearest(behind, begun, returned)[0]
        state = with_carried(assumed, right[-1], whole(assumed, after(behind, begun, steps).final))
        top = stands_for(assumed, right[-1][0], returned, state)
        if top is not None:
            return _told(padding, steps), top
    return None


def _beside_nothing(state: Off, width: int) -> Off:
    """A state that was handed on, to which nothing is added yet."""
    v, e = (torch.cat([one, one.new_zeros(len(one), width - one.shape[1])], -1) for one in state)
    return v, e


def _told(padding: Behind, steps: int) -> Cause:
    of = f"with the x of {padding.step} one" if padding.step else "of zeros"
    return Cause(
        "padding-not-masked",
        f"the final state is decayed by {steps} step{'' if steps == 1 else 's'} {of} more, which fill the last chunk "
        "and add nothing",
        "Let padded steps keep the state (a decay of 1, whose logarithm is 0), or leave them out.",
        lambda made: made,
        {"steps": steps, "of": of},
    )
