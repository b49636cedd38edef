"""Weight decay: a multiple of each weight is in its gradient."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import replace

import torch

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.sums import ParameterGradients

_DECAYED = "weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"
_DIGITS = 3
"""A factor that people write has at most so many digits."""
_LEFT = 0.05
"""How much of the difference may be something else where the factor is measured; a check with the factor then
decides."""


def causes(seen: Seen) -> Iterator[BackwardCause]:
    every = [name for name in _DECAYED if name in seen.names]
    weights = [name for name in every if name.startswith("weight")]
    groups = {(name,): name for name in every} | {tuple(weights): "the weights", tuple(every): "the parameters"}
    for names, of in reversed(groups.items()):  # first all together; each group once
        said = "its gradient" if len(names) == 1 else "their gradients"
        if (factor := _factor(seen, names)) is not None:
            yield BackwardCause(
                "grad-decay-added",
                f"{factor:g} × {of} is added to {said}, as by an L2 penalty or weight decay",
                "Compare the gradients of the loss without the penalty.",
                functools.partial(_added, factor=factor, names=names, unit=seen.unit),
                {"factor": factor, "of": of.removeprefix("the ")},
                "sums",
            )


def _factor(seen: Seen, names: Collection[str]) -> float | None:
    """The factor by least squares, rounded to the few digits that it is known to; None where the difference is no
    multiple of the weights."""
    if not names:
        return None
    own = torch.cat([seen.known[name][0].flatten() for name in names])
    off = torch.cat([seen.assumed.gradients[name].double().flatten() for name in names]) - own
    w = torch.cat([seen.assumed.p[name].double().flatten() for name in names])
    square, known_to = float(w @ w), float(torch.cat([seen.known[name][1].flatten() for name in names]).norm())
    known_to += (seen.recorded + seen.unit) * float(own.norm())
    if not square or not bool(off.isfinite().all()):
        return None
    measured = float(off @ w) / square
    if float((off - measured * w).norm()) > _LEFT * float(off.norm()) + known_to:
        return None
    every = (float(f"{measured:.{digits}g}") for digits in range(1, _DIGITS + 1))
    near = (one for one in every if abs(one - measured) <= 2 * known_to / square**0.5)
    found = next(near, 0.0)
    return found if abs(found) * square**0.5 > 2 * known_to else None


def _added(assumed: BackwardAssumption, factor: float, names: Collection[str], unit: float) -> BackwardAssumption:
    def sums(known: ParameterGradients) -> ParameterGradients:
        made = dict(known)
        for name in names:
            value, bound = known[name]
            term = factor * assumed.p[name].double().view(value.shape)
            made[name] = value + term, bound + (value.abs() + term.abs()) * 2 * unit
        return made

    return replace(assumed, sums=sums)
