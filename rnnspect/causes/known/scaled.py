"""An input or an output that is multiplied by one number: pixels by 1/255, or by 1 − p of dropout without a mask.

The factor is measured at the first step, which begins with a known state, and then has to explain all other steps. In a
bidirectional stack no step of the output follows from the first step alone: there the factor is measured on a short run
as a whole. In a run recorded with few digits more steps are looked at, if the first one says too little.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._first_step import FirstStep
from rnnspect.causes.known._whole_run import beginning, whole_run
from rnnspect.judging.assumption import Assumption

_STARTS = [sign * 10 ** (n / 8) for n in range(-24, 25) for sign in (1.0, -1.0)]
"""Factors from 1/1000 to 1000, and their negatives."""
_BEST, _ITERATIONS, _MOVED = 3, 12, 1e-6
_FEW = 4
"""A factor says nothing if it makes only so few numbers right, or if it was measured on so few and has more than three
digits."""
_SCALES = 127.0, 128.0, 100.0, 255.0, 256.0, 32767.0, 32768.0
"""Numbers that people multiply or divide by, to make whole numbers of 8 or 16 bits, or percent."""
_SMALL = 8
"""Whole numbers up to this size do not show a scale."""
_NEARER = 16
"""The first step has to come so many times nearer to the equations with the factor."""
_SHORT, _MEASURED, _ROUGHLY = 1e-2, 1e-4, 0.1
"""How precisely a factor has to be known, relative: one of three digits, any other, and one that people use."""
_FIX = "with dropout off (model.eval()) nothing is multiplied."


def causes(assumed: Assumption) -> Iterator[Cause]:
    step = FirstStep.of(assumed) or whole_run(assumed)
    if step is None or step.h.numel() * assumed.run.x.shape[0] < _FEW:
        return
    more = beginning(assumed)
    if assumed.seen and (scale := _of_whole_numbers(assumed, step)) is not None:
        yield Cause(
            "output-scaled",
            f"the output is multiplied by {scale:g} and made a whole number, as a quantised one is",
            f"Divide it by {scale:g}: by the scale of the quantised output.",
            functools.partial(_output, factor=scale, is_whole=True),
            {"factor": scale},
        )
    elif assumed.seen:
        for factor, off in _of_output(step) or (_of_output(more) if more else []):
            yield Cause(
                "output-scaled",
                f"the output is multiplied by {_said(factor)}, and the state that goes on is not",
                f"Return h as it is; {_FIX}",
                functools.partial(_output, factor=factor, off=off),
                {"factor": _digits(factor)},
            )
    for factor, off in _of_input(step) or (_of_input(more) if more else []):
        what = f"what layer {assumed.layer} receives from the one below" if assumed.layer else "x"
        yield Cause(
            "input-scaled",
            f"{what} is multiplied by {_said(factor)}, or weight_ih is",
            f"Scale the input once, and alike on both sides; {_FIX}",
            functools.partial(_input, factor=factor, off=off),
            {"factor": _digits(factor)},
            reach="layer",
        )


def _of_whole_numbers(assumed: Assumption, step: FirstStep) -> float | None:
    """The usual scale with which the first step is right up to rounding to whole numbers; None where there is none."""
    every = step.h, assumed.run.h[assumed.run.inside]
    if float(step.h.abs().max()) <= _SMALL or not all(bool((h == h.round()).all()) for h in every):
        return None
    own = _own(step, 1.0)
    off = {scale: (own * scale - step.h).abs() for scale in _SCALES}
    fits = [scale for scale, each in off.items() if float(each.max()) <= 1 + step.room * scale]
    return min(fits, key=lambda scale: float(off[scale].norm()), default=None)


def _of_output(step: FirstStep) -> list[_Factor]:
    """The factors by which h may be multiplied; empty where it is not."""
    own = _own(step, 1.0)
    square = float(own.square().sum())
    factor = float((own * step.h).sum()) / square if square else 0.0
    return _told(step, factor, own * factor, math.sqrt(square) * abs(factor))


def _of_input(step: FirstStep) -> list[_Factor]:
    """The factors by which x may be multiplied; empty where it is not."""
    found = [_solved(step, _STARTS[at]) for at in _off(step, _STARTS).argsort()[:_BEST]]
    factor, slope = found[int(_off(step, [factor for factor, _ in found]).argmin())]
    return _told(step, factor, _own(step, factor), slope * abs(factor))


def _solved(step: FirstStep, factor: float) -> tuple[float, float]:
    """A factor of x with which the equations give h, by the Gauss-Newton method, and ‖∂h/∂factor‖ there."""
    size = 0.0
    for _ in range(_ITERATIONS):
        h = _own(step, factor)
        along = (_own(step, factor * (1 + _MOVED)) - h) / (factor * _MOVED)
        size = float(along.norm())
        move = float(((h - step.h) * along).sum()) / size / size if size else 0.0
        if not math.isfinite(move) or abs(move) <= 1e-12 * abs(factor):
            break
        factor *= min(2.0, max(0.5, 1 - move / factor))
    return factor, size


def _own(step: FirstStep, factor: float) -> Tensor:
    return step.given(step.x * factor)


def _off(step: FirstStep, factors: list[float]) -> Tensor:
    """For each factor the sum of squares of the differences of h; all factors are computed at once."""
    x, items = torch.tensor(factors, dtype=step.x.dtype)[:, None, None] * step.x, torch.arange(len(step.x))
    own = step.given(x.flatten(0, 1), items.repeat(len(factors))).view(len(factors), *step.h.shape)
    return (own - step.h).square().sum((1, 2)).nan_to_num_(math.inf)


_Factor = tuple[float, float]
"""A factor, and how far it may be off, relative."""


def _told(step: FirstStep, factor: float, there: Tensor, size: float) -> list[_Factor]:
    """What a measured factor may be. `size`: how much h changes, in all, with the logarithm of the factor."""
    before, after = (float((one - step.h).abs().max()) for one in (_own(step, 1.0), there))
    if not (size and math.isfinite(factor) and factor and after * _NEARER <= before):
        return []
    off = step.room * math.sqrt(step.h.numel()) / size
    short = min(_short(factor), key=lambda one: abs(one / factor - 1))
    if off < _SHORT and abs(short / factor - 1) <= off:
        return [] if short == 1 else [(short, 0.0)]
    if _SHORT <= off < _ROUGHLY:
        return [(one, 0.0) for one in _usual(factor, off)]
    if step.h.numel() < _FEW or off > _MEASURED or abs(factor - 1) <= 2 * off:
        return []
    return [(factor, off)]


def _short(factor: float, digits: int = 3) -> tuple[float, float]:
    """The nearest number of so many digits, and the nearest reciprocal of such a number."""
    return float(f"{factor:.{digits}g}"), 1 / float(f"{1 / factor:.{digits}g}")


def _usual(factor: float, off: float) -> list[float]:
    """What a factor that is known so roughly may be: scales that people use, and the number with the fewest digits."""
    scales = [math.copysign(power, factor) for scale in _SCALES for power in (scale, 1 / scale)]
    near = [one for one in scales if abs(one / factor - 1) <= off]
    few = (one for digits in (1, 2) for one in _short(factor, digits) if abs(one / factor - 1) <= off)
    return [one for one in dict.fromkeys([*near, *itertools.islice(few, 1)]) if abs(one - 1) > off]


def _digits(factor: float) -> float:
    return float(f"{factor:.6g}")


def _said(factor: float) -> str:
    one_by = 1 / factor
    is_part = abs(factor) < 1 and abs(one_by - round(one_by)) < 1e-9 * abs(one_by)
    return f"{factor:.6g}" + (f" (1/{one_by:.0f})" if is_part else "")


def _output(assumed: Assumption, factor: float, off: float = 0.0, is_whole: bool = False) -> Assumption:
    run = assumed.run.mapped(lambda values: values[:].double() / factor, ("h",))
    run = run.mapped(lambda values: values / abs(factor), ("h_error", "regrouped"))
    relative, absolute = assumed.u.relative + 4 * assumed.u.stored + off, assumed.u.absolute + is_whole / abs(factor)
    return replace(assumed, run=run, u=replace(assumed.u, relative=relative, absolute=absolute))


def _input(assumed: Assumption, factor: float, off: float) -> Assumption:
    run, relative = assumed.run, 2 * assumed.u.stored + off
    x = run.x[:].double() * factor
    error = x.abs() * relative
    if run.error is not None:
        error += run.error[:] * abs(factor)
    return assumed.with_run(x=x, error=error)
