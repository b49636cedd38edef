"""A run in which each step is given x of the step after it, too: for what an engine takes from there."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption
from rnnspect.network.parameters import BlockSizes


def with_next(assumed: Assumption) -> Assumption:
    """With twice the gates: those of a step, and behind them those of the next one; of the last step its own."""
    p, gates, run = assumed.p, len(assumed.cell.gates), assumed.run
    sizes = p.gate_sizes(gates)
    blocks = BlockSizes((*sizes, *sizes), p.state_sizes(gates), p.units(gates))
    bias = None if p.bias_ih is None else torch.cat([p.bias_ih, p.bias_ih])
    none = torch.zeros_like(p.weight_ih)
    w = torch.cat([torch.cat([p.weight_ih, none], 1), torch.cat([none, p.weight_ih], 1)])
    w_hh = torch.cat([p.weight_hh, p.weight_hh])
    made = assumed.with_parameters(weight_ih=w, bias_ih=bias, weight_hh=w_hh, blocks=blocks)
    error = None if run.error is None else _beside(run.error[:])
    return made.with_run(x=_beside(run.x[:]), error=error)


def _beside(x: Tensor) -> Tensor:
    return torch.cat([x, torch.cat([x[1:], x[-1:]])], -1)
