"""A layer that was not observed, stepped in float64 without replicas (`judging/estimate.py` has them): what the
equations give, and nothing of how far an engine may be from it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.both_directions import BothDirections
from rnnspect.arithmetic.numbers import one_thread
from rnnspect.files.on_disk import zeros
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.estimate import SMALL, Estimate, block_of
from rnnspect.judging.final_states import last
from rnnspect.judging.layer import cast
from rnnspect.network.progress import StepsDone, untold


def plainly(assumptions: Sequence[Assumption], progress: StepsDone = untold) -> list[Estimate]:
    """What `estimates` gives, with errors of zero."""
    found = []
    for assumed, states in zip(assumptions, stepped(assumptions, progress), strict=True):
        ends = [last(values, assumed.run.lengths, assumed.run.reverse) for values in states]
        finals = tuple((end, torch.zeros_like(end)) for end in ends)
        found.append(Estimate(states[0], torch.zeros(1, dtype=torch.float64).expand_as(states[0]), finals))
    return found


@torch.inference_mode()
@np.errstate(all="ignore")  # infinity and NaN are data here, as they are for torch
def stepped(assumptions: Sequence[Assumption], progress: StepsDone = untold) -> list[tuple[Tensor, ...]]:
    """Each state (T, B, ·) by step of the input, zero beyond an item's end, of one direction, or of two that can share
    their steps (`can_share`). `progress` is told the steps of each."""
    cell, runs = assumptions[0].cell, [assumed.run for assumed in assumptions]
    (steps, batch), block = runs[0].x.shape[:2], block_of(runs[0].x.shape[1])
    products = assumptions[0].p.weight_hh.numel() * batch * len(runs)
    with one_thread() if products <= SMALL else nullcontext():
        ps = [cast(assumed.p, torch.float64) for assumed in assumptions]
        a = BothDirections(ps, len(cell.gates), assumptions[0].nonlinearity)
        same = zip(*(run.state for run in runs), strict=True)
        now = tuple(np.stack([one.double().numpy() for one in states]) for states in same)
        found = [
            tuple(zeros((steps, *one.shape[1:]), torch.float64, "a layer that was not recorded") for one in now)
            for _ in runs
        ]
        for start in range(0, steps, block):
            stop = min(steps, start + block)
            inside = torch.arange(start, stop).unsqueeze(1) < runs[0].step_counts
            masks = None if bool(inside.all()) else inside.unsqueeze(-1).numpy()
            kept = [torch.empty(stop - start, *one.shape, dtype=torch.float64).numpy() for one in now]
            for t, s in enumerate(a.inputs([run.x[_places(run, start, stop)].double() for run in runs])):
                made = cell.step(a, s, *now)
                new = tuple(made[name] for name in cell.states)
                if masks is not None:
                    new = tuple(np.where(masks[t], one, old) for one, old in zip(new, now, strict=True))
                now = new
                for state, one in zip(kept, now, strict=True):
                    state[t] = one
            for n, run in enumerate(runs):
                at = tuple(place[inside] for place in _places(run, start, stop))
                for whole, state in zip(found[n], kept, strict=True):
                    whole[at] = torch.from_numpy(state[:, n])[inside]
            progress((stop - start) * len(runs))
    return found


def _places(run: LayerRun, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """The step and the item, (steps, B) each, at these places of processing order."""
    steps = run.order(start, stop)
    return steps, torch.arange(steps.shape[1]).expand_as(steps)
