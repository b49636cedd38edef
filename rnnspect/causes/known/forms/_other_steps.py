"""A run in which each step is also given the x of another step, so that a mistaken engine that uses the gates of
another step can be computed."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption
from rnnspect.network.parameters import BlockSizes

NOWHERE = -1
"""In place of the number of a step: there is no other step."""


def next_steps(steps: int) -> Tensor:
    """The step after each; that of the last is itself."""
    return (torch.arange(steps) + 1).clamp(max=steps - 1)


def of_both_steps(resolution: Tensor, gates: int) -> Tensor:
    """(gates, units): for each gate the smaller of the shifts that would have been seen of it in the step itself and in
    the other step, where `with_other` made the run that this is the resolution of; any other as it is."""
    if len(resolution) - 2 * gates in (0, 1):
        return torch.minimum(*resolution[: 2 * gates].chunk(2))
    return resolution


def with_other(assumed: Assumption, of: Tensor) -> Assumption:
    """The assumption with twice the gates: those of each step, followed by those of the step that `of` (T,) names for
    it. If that is `NOWHERE` for any step, there is one more gate, which is 1 at such steps and 0 at the others."""
    p, gates, run = assumed.p, len(assumed.cell.gates), assumed.run
    nowhere = of == NOWHERE
    more = int(bool(nowhere.any()))
    sizes = p.gate_sizes(gates)
    blocks = BlockSizes((*sizes, *sizes, *(1,) * more), p.state_sizes(gates), p.units(gates))
    each = [p.weight_ih, p.weight_ih, *(p.weight_ih.new_ones(1, 1),) * more]
    w: Tensor = torch.block_diag(*each)  # type: ignore[no-untyped-call]
    w_hh = torch.cat([p.weight_hh, p.weight_hh, p.weight_hh.new_zeros(more, p.weight_hh.shape[1])])
    bias = None if p.bias_ih is None else torch.cat([p.bias_ih, p.bias_ih, p.bias_ih.new_zeros(more)])
    made = assumed.with_parameters(weight_ih=w, bias_ih=bias, weight_hh=w_hh, blocks=blocks)

    def beside(x: Tensor, none: Tensor) -> Tensor:
        flags = none.to(x)[:, None, None].expand(*x.shape[:2], more)
        return torch.cat([x, x[of.clamp(min=0)], flags], -1)

    error = None if run.error is None else beside(run.error[:], torch.zeros_like(nowhere))
    return made.with_run(x=beside(run.x[:], nowhere), error=error)
