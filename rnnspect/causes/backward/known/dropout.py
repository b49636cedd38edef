"""Dropout between layers: its mask has to multiply the gradient on the way back as it multiplied the layer's input."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption


def causes(seen: Seen) -> Iterator[BackwardCause]:
    if seen.dropped is None:
        return
    layer = seen.assumed.layer
    fix = f"Multiply dL/dx of layer {layer} with the mask of the pass forwards, and with 1/(1 − p), once."
    for how, (name, said, change) in _HOW.items():
        yield BackwardCause(
            name,
            f"dL/dx of layer {layer}, whose input went through dropout, {said}",
            fix,
            functools.partial(BackwardAssumption.with_mistake, dropped=change),
            {"how": how},
        )


def _without_scale(factor: Tensor) -> Tensor:
    return (factor != 0).to(factor.dtype)


def _scale_alone(factor: Tensor) -> Tensor:
    return torch.full_like(factor, float(factor.max()))


def _of_the_step_after(factor: Tensor) -> Tensor:
    return factor.roll(-1, 0)


def _of_the_step_before(factor: Tensor) -> Tensor:
    return factor.roll(1, 0)


def _turned(factor: Tensor) -> Tensor:
    return factor.flip(0)


def _of_the_first_step(factor: Tensor) -> Tensor:
    return factor[:1].expand_as(factor)


def _of_the_last_step(factor: Tensor) -> Tensor:
    return factor[-1:].expand_as(factor)


_MISSING, _SCALE, _ANOTHER = "grad-dropout-mask-missing", "grad-dropout-scale", "grad-dropout-another-mask"
_HOW: dict[str, tuple[str, str, Callable[[Tensor], Tensor]]] = {
    "not applied": (_MISSING, "is not multiplied with its mask", torch.ones_like),
    "scale alone": (_MISSING, "is multiplied with 1/(1 − p), but not with its mask", _scale_alone),
    "no scale": (_SCALE, "is multiplied with its mask, but not with 1/(1 − p)", _without_scale),
    "twice": (_SCALE, "is multiplied with its mask and 1/(1 − p) twice", torch.square),
    "turned round": (_ANOTHER, "is multiplied with the masks in the opposite order of steps", _turned),
    "the step after": (_ANOTHER, "is multiplied with the mask of the step after", _of_the_step_after),
    "the step before": (_ANOTHER, "is multiplied with the mask of the step before", _of_the_step_before),
    "the first step": (_ANOTHER, "is multiplied with the mask of the first step, at each step", _of_the_first_step),
    "the last step": (_ANOTHER, "is multiplied with the mask of the last step, at each step", _of_the_last_step),
}
