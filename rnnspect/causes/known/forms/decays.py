"""Sums over the wrong axis, in a form that computes many steps of state' = a ⊙ state + b at once: the sums of the
decays' logarithms, those of what the steps add, or both are not over the steps. Other mistakes in decays are in
`carried.py`."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import few_in_order
from rnnspect.causes.known.forms._linear_steps import (
    LinearBlock,
    LinearSteps,
    StateSums,
    from_step_to_step,
    in_chunks,
    linear_steps,
    standing,
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
                    functools.partial(standing, made=made),
                    {
                        "axis": name,
                        **({} if which == _DECAYS else {"of": which}),
                        **({"prompt": prompt} if prompt else {}),
                    },
                )


def _summed(assumed: Assumption, steps: LinearSteps, axis: int, which: str) -> tuple[Assumption, int] | None:
    """The run with such sums: over the whole run, or anew in each chunk, whose length follows from the first wrong
    step; or over a first chunk alone, whose length is then the second value. None where such sums do not give the
    run."""
    count, is_none = len(steps.other), which == _DECAYS and all(map(_is_never_decayed, steps.blocks))
    wrong = functools.partial(_wrong, axis=axis, which=which)
    made, off = in_chunks(assumed, steps, [count], wrong)
    if not off:
        return None if is_none else (made, 0)
    first = off[0]
    if not first:
        return None
    made, off = in_chunks(assumed, steps, [*[first] * (count // first), count % first], wrong)
    if not off:
        return made, 0
    made, off = in_chunks(assumed, steps, [first], wrong)
    return None if off or is_none else (made, first)


def _is_never_decayed(block: LinearBlock) -> bool:
    """Whether these sums decay nothing: the decays of all steps are equal, so that sums over another axis are too, and
    the first step, which would differ, is not seen in a run that begins with zeros. That is a decay left out, which
    `carried.py` has."""
    return torch.allclose(block.a, block.a[:1].expand_as(block.a)) and not bool(block.first.any())


def _wrong(a: Tensor, b: Tensor, now: Tensor, axis: int, which: str) -> StateSums:
    """The states after each step of a chunk, with such sums."""
    logs = a.log().cumsum(0 if which == _ADDITIONS else axis)
    if which == _DECAYS:
        return from_step_to_step(logs, b, now)
    if which == _SCANNED:
        b, now = torch.cat([b[:1] + a[:1] * now, b[1:]]), torch.zeros_like(now)
    return _along(logs, b, now, axis)


def _along(logs: Tensor, b: Tensor, now: Tensor, axis: int) -> StateSums:
    """exp(L) ⊙ (state + Σ exp(−L) ⊙ b), summed along an axis."""
    decays = logs.exp()
    sums = (b / decays).cumsum(axis)
    size = ((b.abs() + b.abs().mean()) / decays.abs()).cumsum(axis)
    return StateSums(decays * (now + sums), decays.abs() * (now.abs() + size), logs, b.shape[axis])
