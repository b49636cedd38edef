"""Chunks of steps one after the other with the state carried, and what goes wrong where two of them meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from tests.planted_forms.plans import How, State, rows

Parts = tuple[Tensor, ...]
"""What the projections of x give, each (batch, step, ...)."""
Compute = Callable[[Parts, State, str], tuple[Tensor, State]]
"""A chunk from its parts, the state before it and the name of a mistake: what is read of each step, the state after."""

EDGES = rows(
    ("matrix", "division", "tree"),
    {
        "zeros at edges": "chunk-state-lost",
        "zeros at edges once": "chunk-state-lost",
        "initial state at edges": "chunk-state-lost",
        "zeros are read at edges, the right state goes on": "chunk-state-lost",
        "added alone is handed on": "chunk-state-lost",
        "added alone is handed on once": "chunk-state-lost",
        "state twice at edges": "chunk-state-doubled",
        "state twice at edges once": "chunk-state-doubled",
        "state twice in what is read": "chunk-state-doubled",
        "state twice in what is handed on": "chunk-state-doubled",
        "state handed on one step early": "chunk-step-apart",
        "state handed on one step early once": "chunk-step-apart",
        "last step again at edges": "chunk-step-apart",
        "last step again at edges once": "chunk-step-apart",
        "state of two chunks before": "",
        "state of the first item at edges": "batch-mixed",
        "items rolled at edges": "batch-mixed",
        "state rounded to whole numbers at edges": "",
        "final state is that before the last chunk": "state-not-carried shifted-by-one",
        "final state is what the last chunk adds": "chunk-state-lost",
    },
)


def over_chunks(parts: Parts, start: State, how: How, compute: Compute) -> tuple[Tensor, State]:
    """What is read of all steps, and the state after the last one."""
    state, before, read = start, start, []
    spans = list(how.spans(parts[0].shape[1]))
    for number, span in enumerate(spans):
        here = tuple(part[:, span] for part in parts)
        older, before = before, state
        if how.breaks_at(number):
            state = _entered(state, start, older, how.kind)
        wrong = _inside(how, number)
        seen, after = compute(here, state, wrong)
        if how.breaks_at(number):
            seen, after = _read_apart(here, state, (seen, after), how.kind, compute)
        if number + 1 < len(spans) and how.breaks_at(number + 1):
            after = _left(here, state, after, how.kind, compute)
        read.append(seen)
        state = after
    if how.kind == "final state is that before the last chunk":
        state = before
    if how.kind == "final state is what the last chunk adds":
        state = compute(here, tuple(map(torch.zeros_like, before)), "")[1]
    return torch.cat(read, 1), state


def _inside(how: How, number: int) -> str:
    """The mistake that is made within this chunk: with `once` in the second alone; single steps after a prompt are
    right."""
    if how.prefill:
        return how.kind if number == 0 else ""
    return how.kind if number == 1 or not how.wrong.endswith(" once") else ""


def _entered(state: State, start: State, older: State, kind: str) -> State:
    """The state with which a chunk begins."""
    if kind in CONV_ENTERED:
        return (CONV_ENTERED[kind](state[0], start[0]), state[1])
    if kind in BLOCK_LOST:
        return tuple(torch.zeros_like(one) if at == BLOCK_LOST[kind] else one for at, one in enumerate(state))
    if kind == "zeros at edges":
        return tuple(map(torch.zeros_like, state))
    if kind == "initial state at edges":
        return start
    if kind == "state twice at edges":
        return tuple(2 * one for one in state)
    if kind == "state of two chunks before":
        return older
    if kind == "axes of the state exchanged at edges":
        return tuple(turned(one) for one in state)
    if kind == "heads exchanged at edges":
        return tuple(one.flip(1) for one in state)
    if kind == "items rolled at edges":
        return tuple(one.roll(1, 0) for one in state)
    if kind == "state of the first item at edges":
        return tuple(one[:1].expand_as(one) for one in state)
    if kind == "state rounded to whole numbers at edges":
        return tuple(torch.complex(one.real.round(), one.imag.round()) if one.is_complex() else one.round()
                     for one in state)  # fmt: skip
    return state


CONV_ENTERED: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "conv inputs are zeros at edges": lambda cache, _: torch.zeros_like(cache),
    "conv inputs are the initial ones at edges": lambda _, start: start,
    "conv inputs are turned at edges": lambda cache, _: cache.flip(1),
    "conv inputs have the last one twice at edges": lambda cache, _: torch.cat([cache[:, 1:], cache[:, -1:]], 1),
}
"""The last inputs of a convolution, the oldest first, as a chunk begins with them; and the initial ones."""


BLOCK_LOST = {
    "S alone is lost at edges": 1,
    "S is zeros at edges": 0,
    "n is zeros at edges": 1,
    "m is zeros at edges": 2,
}
"""Which of the states is zeros where a chunk begins."""


def turned(state: Tensor) -> Tensor:
    """The numbers of a matrix with its two axes exchanged, in the shape that it had."""
    return state.transpose(-1, -2).reshape(state.shape) if state.ndim > 2 else state


def _read_apart(
    here: Parts, state: State, right: tuple[Tensor, State], kind: str, compute: Compute
) -> tuple[Tensor, State]:
    """Where what is read and what is handed on begin with another state."""
    twice = tuple(2 * one for one in state)
    if kind == "zeros are read at edges, the right state goes on":
        return compute(here, tuple(map(torch.zeros_like, state)), "")[0], right[1]
    if kind == "state twice in what is read":
        return compute(here, twice, "")[0], right[1]
    if kind == "state twice in what is handed on":
        return right[0], compute(here, twice, "")[1]
    return right


def _left(here: Parts, state: State, after: State, kind: str, compute: Compute) -> State:
    """The state that a chunk hands on."""
    earlier = tuple(part[:, :-1] for part in here)
    if kind == "added alone is handed on":
        return compute(here, tuple(map(torch.zeros_like, state)), "")[1]
    if kind == "state handed on one step early":
        return compute(earlier, state, "")[1] if earlier[0].shape[1] else state
    if kind == "conv inputs are one step old at edges":
        return compute(earlier, state, "")[1][0], after[1]
    if kind == "S alone is one step old at edges":
        return after[0], compute(earlier, state, "")[1][1]
    if kind == "S alone has the last step twice at edges":
        return after[0], compute(tuple(part[:, -1:] for part in here), (state[0], after[1]), "")[1][1]
    if kind == "short prompt is filled up behind":
        (inputs,) = here
        filled = torch.cat([inputs, torch.zeros_like(after[0])], 1)[:, :3]
        return filled, after[1]
    if kind == "last step again at edges":
        return compute(tuple(part[:, -1:] for part in here), after, "")[1]
    return after


def padded_parts(parts: Parts, of_zeros: Callable[[int], Parts], how: How) -> Parts:
    """The parts of a last chunk that is filled up: with those that zeros for x give, of which nothing is added. Of a
    form that cuts what is read there the final state alone is moved."""
    short = -parts[0].shape[1] % how.chunk
    if how.kind != "padded steps decay the state" or not short:
        return parts
    return tuple(torch.cat([part, more], 1) for part, more in zip(parts, of_zeros(short), strict=True))


def lower(steps: int, shift: int = 0) -> Tensor:
    """True where step s is seen by step t, (t, s)."""
    return torch.ones(steps, steps, dtype=torch.bool).tril(shift)


def levels(steps: int) -> Iterator[int]:
    """1, 2, 4 … below the number of steps."""
    reach = 1
    while reach < steps:
        yield reach
        reach *= 2
