"""Whether a run may have used other weights than the given ones: those that these were rounded from, to a half type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.checking.narrower_dtype import beginnings
from rnnspect.judging.assumption import At
from rnnspect.judging.case import Case
from rnnspect.judging.declared import HALF_TYPES
from rnnspect.judging.observation import is_of
from rnnspect.judging.stack import Judged
from rnnspect.network.parameters import suffix

_LAST_DIGIT = 0.25
"""At least this share of the weights has the last bit of the type set: half of them, if they were rounded to it."""
_DRAWS = 2
_AS_LARGE, _OF_A_UNIT = 3.0, 6.0
"""The factors by which the errors of a run, in all values together and in those of one unit, may be larger or smaller
than what a random rounding of each weight changes."""
_SHARE = 0.875
"""The share of units whose errors have to be of that size."""


def of_half_weights(case: Case, judged: Judged) -> tuple[str, ...]:
    """A note that says so, where every weight of the layers that differ is a number of a half type, and rounding to it
    changes h by about as much as these runs differ: nobody can know what the weights were before. Where all that was
    seen are numbers of that type, too, the run may have been one in it."""
    wrong = {place.at for place in judged.places if place.quantity == "h" and place.finding.first}
    if case.spec.dtype in HALF_TYPES or not wrong or not all("h" in seen for seen in case.observation.layers.values()):
        return ()
    layers = sorted({at[0] for at in (*wrong, *judged.estimated)})
    names = _names(case, [at for at in case.spec.places if at[0] in layers])
    if not names:  # of a cell without parameters
        return ()
    half = next((half for half in HALF_TYPES if _rounded_to(half, [case.parameters[name] for name in names])), None)
    if half is None or not _as_large(case, names, half, wrong):
        return ()
    which = f"layer{'s' * (len(layers) > 1)} {' and '.join(map(str, layers))}"
    if case.observation.of_numbers(getattr(torch, half)) is not None:
        return (
            f"every weight of {which} and every recorded value is a {half} number, and the errors are about as large "
            f"as those of {half}: the engine may have run in {half}; check a copy in {half} (--dtype {half})",
        )
    return (
        f"every weight of {which} is a {half} number, and rounding weights to {half} changes h by about as much as it "
        "differs: the engine may have used the weights before rounding; check with those",
    )


def _names(case: Case, places: Iterable[At]) -> list[str]:
    """The parameters of some places."""
    ends = tuple(suffix(*at) for at in places)
    return [name for name in case.parameters if name.endswith(ends)]


def _rounded_to(half: str, weights: Iterable[Tensor]) -> bool:
    """Whether all of these are numbers of the half type, and not of one with fewer digits."""
    every = torch.cat([w.detach().flatten() for w in weights])
    dtype, every = getattr(torch, half), every[every != 0]
    last = every.to(dtype).view(torch.int16) & 1
    return is_of(dtype, every) and len(every) > 0 and float(last.double().mean()) >= _LAST_DIGIT


def _as_large(case: Case, names: Iterable[str], half: str, wrong: Iterable[At]) -> bool:
    own = dict(zip(case.observation.layers, beginnings(case), strict=True))
    made = {at: list[Tensor]() for at in own}
    for seed in range(_DRAWS):
        before = {name: _before_rounding(case.parameters[name], half, seed) for name in names}
        again = beginnings(replace(case, parameters={**case.parameters, **before}))
        for at, (h, _) in zip(own, again, strict=True):
            made[at].append(h - own[at][0])
    for at in wrong:
        h, engine = own[at]
        off, changed = (engine - h).square().mean(0), torch.cat(made[at]).square().mean(0)
        ratio = (off / changed)[changed > 0].sqrt()
        fits = (ratio > 1 / _OF_A_UNIT) & (ratio < _OF_A_UNIT)
        whole = float((off.sum() / changed.sum()).sqrt())
        if not (1 / _AS_LARGE < whole < _AS_LARGE and float(fits.double().mean()) >= _SHARE):
            return False
    return True


def _before_rounding(w: Tensor, half: str, seed: int) -> Tensor:
    """What a weight may have been: anything within half a unit of its last digit."""
    kind = torch.finfo(getattr(torch, half))
    unit = torch.exp2(torch.frexp(w.abs().clamp(min=kind.smallest_normal))[1] - 1.0) * kind.eps
    draw = torch.rand(w.shape, generator=torch.Generator().manual_seed(seed), dtype=w.dtype)
    return torch.where(w == 0, w, w + (draw - 0.5) * unit)
