"""Weight decay: a multiple of each weight is in its gradient."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import replace

import torch

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.causes.backward.multiples import allowed_of, multiple_of
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.sums import ParameterGradients

WITHOUT_PENALTY = "Compare the gradients of the loss without the penalty."
_DECAYED = "weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"
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
                WITHOUT_PENALTY,
                functools.partial(_added, factor=factor, names=names, unit=seen.unit),
                {"factor": factor, "of": of.removeprefix("the ")},
                "sums",
            )


def _factor(seen: Seen, names: Collection[str]) -> float | None:
    """The factor by least squares, rounded to the few digits that it is known to; None where the difference is no
    multiple of the weights."""
    if not names:
        return None
    own, bound = (torch.cat([seen.known[name][part].flatten() for name in names]) for part in (0, 1))
    given = torch.cat([seen.assumed.gradients[name].double().flatten() for name in names])
    w = torch.cat([seen.assumed.p[name].double().flatten() for name in names])
    allowed = allowed_of(bound, own, given, seen.recorded + seen.unit)
    found = multiple_of(w, given - own, allowed)
    if found is None or found.left > _LEFT * float(((given - own) / allowed).norm()) + len(w) ** 0.5:
        return None
    return found.written()


def _added(assumed: BackwardAssumption, factor: float, names: Collection[str], unit: float) -> BackwardAssumption:
    def sums(known: ParameterGradients) -> ParameterGradients:
        made = dict(known)
        for name in names:
            value, bound = known[name]
            term = factor * assumed.p[name].double().view(value.shape)
            made[name] = value + term, bound + (value.abs() + term.abs()) * 2 * unit
        return made

    return replace(assumed, sums=sums)
