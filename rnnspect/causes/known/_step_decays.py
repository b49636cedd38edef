"""Other forms of the operations that decay a cell state and add to it: with the decay of a step in the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption

_OWN = "what a step adds is decayed by the step itself: a ⊙ (state + b), not a ⊙ state + b"
_NONE = "the state is not decayed at all: state + b, not a ⊙ state + b"
_READ = "h is read from a state that lacks the step's own decay: state + b, not a ⊙ state + b; what goes on is right"


def forms(operation: str) -> list[tuple[str, str, Callable[..., Any], bool]]:
    """Id, words, the operation, and whether only what is read is so."""
    undecayed = _UNDECAYED.get(operation)
    if undecayed is None:
        return []
    return [
        ("decay-own-step", _OWN, _ITSELF[operation], False),
        ("decay-left-out", _NONE, undecayed, False),
        ("decay-own-step", _READ, undecayed, True),
    ]


def _turned(a: Any, meant: Any, p: Any, q: Any, c: Any, v: Any) -> Any:
    """λ ⊙ (c + v)"""
    re, im = a.blocks(v)
    return meant(p, q, c, a.packed(p * re - q * im, q * re + p * im))


def _delta(a: Any, meant: Any, s: Any, f: Any, b: Any, k: Any, v: Any, *heads: Any) -> Any:
    """f ⊙ of what the delta rule makes of a state that is not decayed before."""
    return a.spread(f, s) * meant(s, None, b, k, v, *heads)


_ITSELF: dict[str, Callable[..., Any]] = {
    "carry": lambda _a, meant, f, c, v: meant(f, c, f * v),
    "carry_complex": _turned,
    "delta": _delta,
}
_UNDECAYED: dict[str, Callable[..., Any]] = {
    "carry": lambda _a, _meant, _f, c, v: c + v,
    "carry_complex": lambda _a, _meant, _p, _q, c, v: c + v,
    "delta": lambda _a, meant, s, _f, b, k, v, *heads: meant(s, None, b, k, v, *heads),
}


def unused_gates(assumed: Assumption, cell: Cell) -> tuple[str, ...]:
    """The gates that make no difference to a step of the cell, which is one in which no decay, or no gate, is used: on
    drawn numbers."""
    p, gates, draw = assumed.p, len(cell.gates), torch.Generator().manual_seed(0)
    sizes, state = p.gate_sizes(gates), sum(p.state_sizes(gates))
    wx, h, c = (
        torch.randn(1, width, generator=draw).to(p.weight_ih) for width in (sum(sizes), p.weight_hh.shape[1], state)
    )
    numbers = Numbers(p, gates, assumed.nonlinearity)

    def made(wx: Tensor) -> Tensor:
        q = cell.step(numbers, wx, *(h, c)[: len(cell.states)])
        return torch.cat([q[state] for state in cell.states], -1)

    right, blocks = made(wx), torch.arange(sum(sizes)).split_with_sizes(list(sizes))
    shifted = (wx.index_add(1, block, torch.ones_like(wx[:, block])) for block in blocks)
    return tuple(gate for gate, other in zip(cell.gates, shifted, strict=True) if torch.equal(made(other), right))
