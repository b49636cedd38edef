"""The two biases of a gate. Each has a gradient of its own; the two are equal unless something stands between the
biases."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.sums import ParameterGradients

_HOW = {
    "half each": "each gets half of it",
    "both together": "each gets the sum of both: twice its own, where they are the same",
}
_ONE_FOR_BOTH = {
    "that of bias_ih": "bias_hh gets that of bias_ih, where r is missing in n",
    "that of bias_hh": "bias_ih gets that of bias_hh, where r is too much in n",
    "exchanged": "in n that of bias_ih has the factor r, and that of bias_hh lacks it",
}
_EXCHANGED = "have swapped gradients"


def causes(seen: Seen) -> Iterator[BackwardCause]:
    if not {"bias_ih", "bias_hh"} <= set(seen.known) or not {"bias_ih", "bias_hh"} & set(seen.names):
        return
    after = seen.assumed.cell.name == "gru" and not seen.assumed.cell.variant
    for how, said in (_HOW | _ONE_FOR_BOTH if after else _HOW).items():
        yield BackwardCause(
            "grad-biases-shared",
            f"b_ih and b_hh {_EXCHANGED if how == 'exchanged' else 'share one gradient'}: {said}",
            "Give each bias its own: Σ dL/d(pre-activations) for b_ih"
            + (", and for b_hh the same with r ⊙ in n." if after else ", and the same for b_hh."),
            functools.partial(_shared, how=how, unit=seen.unit),
            {"how": how},
            "sums",
        )


def _shared(assumed: BackwardAssumption, how: str, unit: float) -> BackwardAssumption:
    def sums(known: ParameterGradients) -> ParameterGradients:
        (ih, e_ih), (hh, e_hh) = known["bias_ih"], known["bias_hh"]
        both = ih + hh, e_ih + e_hh + (ih + hh).abs() * unit
        pairs = {
            "half each": ((ih / 2, e_ih / 2), (hh / 2, e_hh / 2)),
            "both together": (both, both),
            "that of bias_ih": ((ih, e_ih), (ih, e_ih)),
            "that of bias_hh": ((hh, e_hh), (hh, e_hh)),
            "exchanged": ((hh, e_hh), (ih, e_ih)),
        }
        own, other = pairs[how]
        return {**known, "bias_ih": own, "bias_hh": other}

    return replace(assumed, sums=sums)
