"""The matrices of a delta rule twice: once with the decays of the steps themselves, once with those of other steps.
What a step adds depends on the one that it reads, and goes into both."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch

from rnnspect.causes.known.forms._chunk_states import Handed, HandingOn
from rnnspect.causes.known.forms._other_steps import NOWHERE, with_other
from rnnspect.causes.known.forms._parted_cell import or_none, with_other_gates
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption
from rnnspect.network.parameters import BlockSizes


def in_two_chains(assumed: Assumption, of: torch.Tensor, reads_other: bool) -> Assumption:
    """The assumption with both matrices in its state. The second has the decays of the steps that `of` (T,) names. The
    steps read the second one with `reads_other`, else the first."""
    made = with_other(assumed, of)
    p, run = made.p, made.run
    assert run.c0 is not None
    cell = _cell(assumed.cell, bool((of == NOWHERE).any()), reads_other)
    gates = len(cell.gates)
    blocks = BlockSizes(p.gate_sizes(gates), p.state_sizes(gates) * 2, p.units(gates))
    made = replace(made, cell=cell).with_parameters(blocks=blocks)
    return made.with_run(c0=torch.cat([run.c0, run.c0], -1), c=None, c_error=None)  # nobody observed both


def handed_on(at: HandingOn, hands_other: bool) -> Handed:
    """The one of the two matrices that is handed on: both begin the next chunk with it."""
    one = at.blocks(at.right)[int(hands_other)]
    return at.with_blocks({0: one, 1: one})


@functools.cache
def _cell(cell: Cell, has_none: bool, reads_other: bool) -> Cell:
    count = len(cell.gates)

    @functools.wraps(cell.step)
    def step(arithmetic: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
        gates, state = arithmetic.split(wx), arithmetic.blocks(c)
        other = _Asked(arithmetic, gates[count : 2 * count], state[0])
        cell.step(other, wx, h, other)
        decay = or_none(arithmetic, other.decay, 1, gates[-1]) if has_none else other.decay
        a = _InTwo(arithmetic, gates[:count], state, decay, reads_other)
        return {**cell.step(a, wx, h, a), "c": arithmetic.packed(*a.new)}

    (name, sizes), *_ = cell.cell_state
    return replace(
        cell,
        step=step,
        cell_state=((name, sizes), (f"{name} with other decays", sizes)),
        **with_other_gates(cell, has_none),
    )


class _Asked:
    """An arithmetic in which the lines of a delta rule tell their decay, for the gates of another step. The object also
    stands for the state, which only the delta rule may use."""

    def __init__(self, meant: Any, gates: tuple[Any, ...], state: Any) -> None:
        self._meant, self._gates, self._like = meant, gates, state
        self.decay: Any = None

    def split(self, _packed: Any) -> tuple[Any, ...]:
        return self._gates

    def delta(self, _state: Any, f: Any, _b: Any, _k: Any, _v: Any, heads: int = 1) -> Any:  # noqa: ARG002
        self.decay = self._meant.spread(f, self._like)
        return self._like

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._meant, operation)


class _InTwo(_Asked):
    """An arithmetic in which a delta rule has its state twice."""

    def __init__(
        self, meant: Any, gates: tuple[Any, ...], state: tuple[Any, ...], other: Any, reads_other: bool
    ) -> None:
        super().__init__(meant, gates, state[0])
        self._state, self._other, self._reads_other = state, other, reads_other
        self.new: tuple[Any, ...] = ()

    def delta(self, _state: Any, f: Any, b: Any, k: Any, v: Any, heads: int = 1) -> Any:
        a, (own, other) = self._meant, self._state
        own, other = a.spread(f, own) * own, self._other * other
        read = other if self._reads_other else own
        new = a.outer(k, a.spread(b, v) * (v - a.by_key(read, k, heads)), heads)
        self.new = own + new, other + new
        return self.new[int(self._reads_other)]
