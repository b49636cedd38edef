"""Sums over the wrong axis, in a form that computes many steps of state' = a ⊙ state + b at once: the sums of the
decays' logarithms, those of what the steps add, or both are not over the steps. Other mistakes in decays are in
`carried.py`."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import few_in_order
from rnnspect.causes.known.forms._chunk_states import Inexact
from rnnspect.causes.known.forms._linear_steps import (
    LinearBlock,
    LinearSteps,
    leading_to,
    linear_steps,
    relative_error,
    steps_off,
)
from rnnspect.judging.assumption import Assumption

_BATCH, _UNIT = "batch", "unit"
_AMONG = {_BATCH: "the items of the batch", _UNIT: "units", "heads": "heads"}
_DECAYS, _ADDITIONS, _BOTH = "decays", "additions", "decays and additions"
_SCANNED = "decays and additions, with the initial state among them"
_WORDS = {
    _DECAYS: "decays are cumulated over {}, not over steps",
    _ADDITIONS: "what steps add is summed over {}, not over steps",
    _BOTH: "decays are cumulated, and what steps add is summed, over {}, not over steps",
    _SCANNED: "the scan runs over {}, not over steps; the initial state is in what the first step adds",
}


def causes(assumed: Assumption) -> Iterator[Cause]:
    if not few_in_order(assumed) or (steps := linear_steps(assumed)) is None:
        return
    each = zip(*(block.axes for block in steps.blocks), strict=False)
    shared = itertools.takewhile(lambda names: len(set(names)) == 1, each)
    begun = any(bool(block.first.any()) for block in steps.blocks)
    axes = [_BATCH, *(_UNIT if name == "hidden_size" else name for name, *_ in shared)]
    for axis, name in enumerate(axes, 1):
        is_one = steps.blocks[0].a.shape[axis] == 1
        if is_one and name != _BATCH:
            continue
        among = _AMONG.get(name, f"the axis {name}") + (", of which there is one" if is_one else "")
        for which, words in _WORDS.items():
            if which == _SCANNED and not begun:
                continue  # as `_BOTH`
            if (found := _summed(assumed, steps, axis, which)) is not None:
                made, prompt = found
                where = f", in the first {prompt} steps alone, as in a prompt" if prompt else ""
                yield Cause(
                    "decay-wrong-axis",
                    words.format(among) + where,
                    "Take the cumulated product, or the cumulated sum, along the axis of the steps.",
                    functools.partial(_made, made=made),
                    {
                        "axis": name,
                        **({} if which == _DECAYS else {"of": which}),
                        **({"prompt": prompt} if prompt else {}),
                    },
                )


def _made(_assumed: Assumption, made: Assumption) -> Assumption:
    return made


def _summed(assumed: Assumption, steps: LinearSteps, axis: int, which: str) -> tuple[Assumption, int] | None:
    """The run with such sums: over the whole run, or anew in each chunk, whose length follows from the first wrong
    step; or over a first chunk alone, whose length is then the second value. None where such sums do not give the
    run."""
    count, is_none = len(steps.other), which == _DECAYS and all(map(_is_never_decayed, steps.blocks))
    made, off = _led(assumed, steps, axis, which, [count])
    if not off:
        return None if is_none else (made, 0)
    first = off[0]
    if not first:
        return None
    made, off = _led(assumed, steps, axis, which, [*[first] * (count // first), count % first])
    if not off:
        return made, 0
    made, off = _led(assumed, steps, axis, which, [first])
    return None if off or is_none else (made, first)


def _led(
    assumed: Assumption, steps: LinearSteps, axis: int, which: str, sizes: Sequence[int]
) -> tuple[Assumption, list[int]]:
    """The run with such sums in chunks of these sizes and with right steps behind them; and the steps at which the
    engine's h contradicts that."""
    made = leading_to(assumed, steps, [_states(assumed, block, axis, which, sizes) for block in steps.blocks])
    return made, steps_off(made, len(steps.other))


def _is_never_decayed(block: LinearBlock) -> bool:
    """Whether these sums decay nothing: the decays of all steps are equal, so that sums over another axis are too, and
    the first step, which would differ, is not seen in a run that begins with zeros. That is a decay left out, which
    `carried.py` has."""
    return torch.allclose(block.a, block.a[:1].expand_as(block.a)) and not bool(block.first.any())


def _states(assumed: Assumption, block: LinearBlock, axis: int, which: str, sizes: Sequence[int]) -> Inexact:
    """The states after each step (T, B, …), with such sums in chunks of these sizes and right steps behind them, and
    their error."""
    now, values, errors = block.first, list[Tensor](), list[Tensor]()
    pieces = [*sizes, len(block.a) - sum(sizes)]
    each = zip(torch.split(block.a, pieces), torch.split(block.b, pieces), strict=True)
    for number, (a, b) in enumerate(each):
        if not len(a):
            continue
        right = number == len(sizes)
        logs = a.log().cumsum(0 if right or which == _ADDITIONS else axis)
        by_steps = right or which == _DECAYS
        if which == _SCANNED and not right:
            b, now = torch.cat([b[:1] + a[:1] * now, b[1:]]), torch.zeros_like(now)
        value, size = (from_step_to_step if by_steps else functools.partial(_along, axis=axis))(logs, b, now)
        terms = torch.arange(1, len(a) + 1, dtype=torch.float64).view(-1, *[1] * (a.dim() - 1))
        terms = terms + (0 if by_steps else a.shape[axis])
        values.append(value)
        errors.append(size * relative_error(assumed, terms, logs.abs()))
        now = value[-1]
    return torch.cat(values), torch.cat(errors)


def from_step_to_step(logs: Tensor, b: Tensor, now: Tensor) -> tuple[Tensor, Tensor]:
    """exp(L_t) ⊙ state + Σ exp(L_t − L_s) ⊙ b_s, and the sum of its terms' sizes."""
    decays = logs.diff(dim=0, prepend=torch.zeros_like(logs[:1])).exp()
    size, floor, found = now.abs(), b.abs().mean(), []
    for decay, added in zip(decays, b, strict=True):
        now, size = decay * now + added, decay.abs() * size + added.abs() + floor
        found.append((now, size))
    values, sizes = zip(*found, strict=True)
    return torch.stack(values), torch.stack(sizes)


def _along(logs: Tensor, b: Tensor, now: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """exp(L) ⊙ (state + Σ exp(−L) ⊙ b), summed along an axis, and the sum of its terms' sizes."""
    decays = logs.exp()
    sums = (b / decays).cumsum(axis)
    size = ((b.abs() + b.abs().mean()) / decays.abs()).cumsum(axis)
    return decays * (now + sums), decays.abs() * (now.abs() + size)
