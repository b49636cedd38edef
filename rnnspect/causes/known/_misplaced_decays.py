"""Other forms of the operations that decay a cell state and add to it: with the decay of the step in the wrong
place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.resolution import without_effect

DECAYS_ITSELF = "what a step adds is decayed by the step itself: a ⊙ (state + b), not a ⊙ state + b"
NOT_DECAYED = "the state is not decayed at all: state + b, not a ⊙ state + b"
_READ = "h is read from a state that lacks the step's own decay: state + b, not a ⊙ state + b; what goes on is right"


def forms(operation: str) -> list[tuple[str, str, Callable[..., Any], bool]]:
    """Id, words, the operation, and whether only what is read has the mistake."""
    undecayed = _UNDECAYED.get(operation)
    if undecayed is None:
        return []
    return [
        ("decay-own-step", DECAYS_ITSELF, _ITSELF[operation], False),
        ("decay-left-out", NOT_DECAYED, undecayed, False),
        ("decay-own-step", _READ, undecayed, True),
    ]


def _turned(a: Any, meant: Any, p: Any, q: Any, c: Any, v: Any) -> Any:
    """λ ⊙ (c + v)"""
    re, im = a.blocks(v)
    return meant(p, q, c, a.packed(p * re - q * im, q * re + p * im))


def _delta(a: Any, meant: Any, s: Any, f: Any, b: Any, k: Any, v: Any, *heads: Any) -> Any:
    """f ⊙ the result of the delta rule for a state that was not decayed before."""
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
    """The gates that have no effect in a step of this cell, in which some decay or gate is not used; found with drawn
    numbers."""
    idle = without_effect(replace(assumed, cell=cell).equations)
    return tuple(gate for gate, is_idle in zip(cell.gates, idle.tolist(), strict=True) if is_idle)
