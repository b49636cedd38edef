"""What each step receives from the loss: dL/d of its output, left out at a step, or that of another step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import IN_OWN_ORDER, BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption


def causes(seen: Seen) -> Iterator[BackwardCause]:
    if seen.steps == 1:
        return
    for how, (name, said, change) in _HOW.items():
        if change == _without_end and seen.assumed.run.lengths is None:
            continue
        yield BackwardCause(name, f"dL/d output {said}", _FIX, functools.partial(_changed, change=change), {"of": how})
        if seen.in_both_directions and how in _IN_REVERSE:
            own = _IN_REVERSE[how] if seen.assumed.direction == "reverse" else change
            yield BackwardCause(
                name,
                f"dL/d output {said}, as each direction counts its steps: the first step of the reverse one is the "
                "last of the input",
                _FIX,
                functools.partial(_changed, change=own),
                {"of": how, IN_OWN_ORDER: True},
            )


_FIX = "Add dL/d output of each step to dL/dh of that step, and of no other."
_Change = Callable[[Tensor, Tensor], Tensor]
"""From dL/d of the output (T, B, P) and the place of the last step of each item (B, 1) to what the engine uses for
it."""


def _places(upstream: Tensor) -> Tensor:
    return torch.arange(len(upstream)).view(-1, 1, 1)


def _without_last(upstream: Tensor, last: Tensor) -> Tensor:
    return torch.where(_places(upstream) == last, 0, upstream)


def _without_first(upstream: Tensor, _last: Tensor) -> Tensor:
    return torch.where(_places(upstream) == 0, 0, upstream)


def _without_end(upstream: Tensor, _last: Tensor) -> Tensor:
    return torch.where(_places(upstream) == len(upstream) - 1, 0, upstream)


def _last_alone(upstream: Tensor, last: Tensor) -> Tensor:
    return torch.where(_places(upstream) == last, upstream, 0)


def _first_alone(upstream: Tensor, _last: Tensor) -> Tensor:
    return torch.where(_places(upstream) == 0, upstream, 0)


def _of_the_step_after(upstream: Tensor, last: Tensor) -> Tensor:
    return torch.where(_places(upstream) < last, upstream.roll(-1, 0), 0)


def _of_the_step_before(upstream: Tensor, last: Tensor) -> Tensor:
    places = _places(upstream)
    return torch.where((places > 0) & (places <= last), upstream.roll(1, 0), 0)


_IGNORED, _SHIFTED = "grad-output-ignored", "grad-output-shifted"
_HOW: dict[str, tuple[str, str, _Change]] = {
    "the last step": (_IGNORED, "of the last step is ignored", _without_last),
    "the last step of the longest items": (_IGNORED, "of the longest items' last step is ignored", _without_end),
    "the first step": (_IGNORED, "of the first step is ignored", _without_first),
    "all but the last step": (_IGNORED, "is used at the last step only", _last_alone),
    "the step after": (_SHIFTED, "of the step after is used at each step", _of_the_step_after),
    "the step before": (_SHIFTED, "of the step before is used at each step", _of_the_step_before),
}

_IN_REVERSE: dict[str, _Change] = {
    "the last step": _without_first,
    "the first step": _without_last,
    "all but the last step": _first_alone,
    "the step after": _of_the_step_before,
    "the step before": _of_the_step_after,
}
"""What is the same in a loop that begins with the last step of the input."""


def _changed(assumed: BackwardAssumption, change: _Change) -> BackwardAssumption:
    upstream, lengths = assumed.back.upstream, assumed.run.lengths
    last = torch.tensor([len(upstream)]) if lengths is None else lengths.repeat(upstream.shape[1] // len(lengths))
    return assumed.with_back(upstream=change(upstream, last.unsqueeze(1) - 1))
