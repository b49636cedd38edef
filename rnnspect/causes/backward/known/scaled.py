"""Gradients that are multiplied or limited: accumulated twice, a mean in place of a sum, clipped."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from rnnspect.causes.backward.interface import BackwardCause, Seen, times
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.sums import ParameterGradients

NEAR = 1e-3
"""How near a measured factor has to be to one that has a name; a check with the latter then decides."""
_TELLING = 1e-4
"""Relative. Numbers known less precisely than this often look as if they had only three digits."""
_ADDED = 1e-6
"""What torch adds to a norm before it divides by it."""
SUMMED = 8
"""How many roundings a norm may be off, and the factor that was made of one."""
_SHARE, _MOST_SHARES = 1e-5, 64
"""How near to 1/n, relative, a factor has to be to count as an average over n, and the largest n: clipping rarely hits
one of these by chance."""
FEW = 4
"""Fewer numbers than these may have a common factor by chance."""
BEFORE_CLIPPING = "Compare gradients before they are clipped."
TWICE = "Set gradients to zero before each backward pass, and run it once."


def causes(seen: Seen) -> Iterator[BackwardCause]:
    for factor, name, said, fix in named_factors(seen):
        yield BackwardCause(
            name,
            f"from the loss on, every gradient is {said}",
            fix,
            functools.partial(_from_the_loss, factor=factor),
            {"factor": factor, "of": "everything"},
        )
    if (lengths := seen.assumed.run.lengths) is not None:
        yield BackwardCause(
            "grad-mean-for-sum",
            "from the loss on, every gradient of a batch item is averaged over the item's own steps, not summed",
            "Take the sum over time, as the loss does; or divide the loss, not the gradient.",
            functools.partial(_from_the_loss, factor=1 / lengths.double()),
            {"of": "everything", "over": "each item's own steps"},
        )
    for factor, name, said, fix in _OF_X:
        change = functools.partial(_x_times, factor=factor)
        yield BackwardCause(name, f"dL/dx is {said}", fix, change, {"factor": factor, "of": "x"})
    if seen.names:
        yield from _of_parameters(seen)


def _of_parameters(seen: Seen) -> Iterator[BackwardCause]:
    measured = factor_of(seen.own(), seen.engine())
    named = [one for one in named_factors(seen) if abs(one[0] / measured - 1) < NEAR] if measured else []
    for factor, name, said, fix in named:
        yield BackwardCause(
            name,
            f"the gradients of the parameters are {said}",
            fix,
            functools.partial(replace, sums=functools.partial(times, factor=factor, unit=seen.unit)),
            {"factor": factor, "of": "parameters"},
            "sums",
        )
    given = torch.cat([g.double().flatten() for g in seen.layer.parameters.values()])
    if measured and abs(measured - 1) >= NEAR and not named and len(given) >= FEW:
        name, said, parameters = of_factor(measured, float(given.norm()), max(SUMMED * seen.unit, seen.recorded))
        yield BackwardCause(
            name,
            f"the gradients of the parameters are {said}",
            "Compare gradients before they are clipped or multiplied.",
            functools.partial(replace, sums=functools.partial(times, factor=measured, unit=seen.unit)),
            parameters,
            "sums",
        )
    limit = float(given.abs().max())
    if is_limit(limit, given, seen.own(), max(seen.unit, seen.recorded)):
        yield BackwardCause(
            "grad-clipped-by-value",
            f"the gradients of the parameters are clipped by value, to ±{rounded(limit):g}",
            BEFORE_CLIPPING,
            functools.partial(replace, sums=functools.partial(clipped_to, limit=limit)),
            {"limit": rounded(limit)},
            "sums",
        )


_NEGATED = "the negative of what the equations give: of −loss, of reversed gradients, or the steps of an optimiser"
_REVERSED = "Compare the gradients of the loss itself."
_OF_X = (
    (2.0, "grad-accumulated", "twice what it should be: accumulated, or not set to zero before", TWICE),
    (-1.0, "grad-negated", "the negative of what it should be, as of a layer that reverses gradients", _REVERSED),
)
_OVER_PADDING = (
    "Take the mean over the steps that the items have. Where the mean of the padded output is meant, give dL/d output "
    "of that loss as a file: --loss FILE."
)
_HALVED = "half of what the equations give, as for a loss of ½ (y − target)²", "Leave the factor ½ out."


def named_factors(seen: Seen) -> list[tuple[float, str, str, str]]:
    """Factors that people meet, each with the id, what it is, and the fix. With each factor an id is listed once,
    with all that it may be: where the batch is as long as the output is wide, nothing tells the two apart."""
    over = _counts(seen)
    averaged = "Take the sum over {}, as the loss does; or divide the loss, not the gradient."
    summed = "Take the mean over {}, as the loss does, where the loss is one."
    more = "what the equations give: accumulated, or not set to zero before"
    found = [(2.0, "grad-accumulated", f"twice {more}", TWICE)]
    for what, count in over.items():
        found.append((1 / count, "grad-mean-for-sum", f"averaged over {what}, not summed", averaged.format(what)))
        found.append((float(count), "grad-sum-for-mean", f"summed over {what} once too often", summed.format(what)))
    padded = over["the batch and time"]
    if (steps := over.get("all steps of all items", padded)) < padded:
        said = f"averaged over the padding as well: over {padded} steps, where the items have {steps}"
        found.append((steps / padded, "grad-mean-for-sum", said, _OVER_PADDING))
    found += [(3.0, "grad-accumulated", f"three times {more}", TWICE)]
    found += [(0.5, "grad-halved", *_HALVED), (-1.0, "grad-negated", _NEGATED, _REVERSED)]
    if (often := _times_over(seen)) is not None:
        is_scale = often & (often - 1) == 0
        of = "what the equations give: of a loss that was scaled up, accumulated, or not set to zero before"
        fix = f"{TWICE} Divide by the scale of a loss that was scaled up." if is_scale else TWICE
        found.append((float(often), "grad-accumulated", f"{often} times {of if is_scale else more}", fix))
    once: dict[tuple[float, str], tuple[float, str, str, str]] = {}
    for factor, name, said, fix in found:
        if (key := (factor, name)) in once:
            once[key] = factor, name, f"{once[key][2]}, or {said}", fix
        elif factor != 1:
            once[key] = factor, name, said, fix
    return list(once.values())


def _counts(seen: Seen) -> dict[str, int]:
    """What a loss may be a mean or a sum over, and the number of these."""
    steps, batch, lengths = seen.steps, seen.batch, seen.assumed.run.lengths
    over = {"the batch": batch, "time": steps, "the batch and time": steps * batch}
    if lengths is not None:
        over["all steps of all items"] = int(lengths.sum())
    units = {"the units": seen.assumed.run.h.shape[2]}
    both = seen.layer.upstream.shape[2] > units["the units"] or any(name.endswith("_reverse") for name in seen.names)
    if both:
        units["the units of both directions"] = 2 * units["the units"]
    products = {f"{what} and {of}": count * each for what, count in over.items() for of, each in units.items()}
    products["all numbers of the output"] = products.pop(f"the batch and time and {[*units][-1]}")
    return over | units | products


def _times_over(seen: Seen) -> int | None:
    """The whole number by which the engine's gradients of the parameters are too large, where that is above 3."""
    measured = factor_of(seen.own(), seen.engine()) if seen.names else 0.0
    count = round(measured)
    return count if count > 3 and abs(measured / count - 1) < NEAR else None


def factor_of(own: Tensor, engine: Tensor) -> float:
    """The factor between the engine's gradients and those of the equations, by least squares; 0 where there are
    none."""
    square = float(own.square().sum())
    found = float((own * engine).sum()) / square if square else 0.0
    return found if abs(found) < float("inf") else 0.0


def of_factor(factor: float, norm: float, relative: float) -> tuple[str, str, dict[str, float]]:
    """The id, the words and the parameters of a cause for gradients multiplied by a factor that has no name. `norm` is
    their norm after it, known as precisely as `relative`: if it has at most two digits, it is most likely the limit
    that they were clipped to, unless the factor is 1/2, 1/3, …, as in an average over processes."""
    of = f"{rounded(factor):g} × what the equations give"
    if not 0 < factor < 1:
        return "grad-multiplied", f"{of}, as of a loss with that weight", {"factor": rounded(factor)}
    is_share = abs(factor * round(1 / factor) - 1) <= _SHARE and round(1 / factor) <= _MOST_SHARES
    limits = (in_digits(2, one, relative) for one in (norm, norm + _ADDED * factor))
    if not is_share and (limit := next(filter(None, limits), None)) is not None:
        said = f"{of}: clipped by norm, to {limit:g} together, or multiplied, as by a learning rate or by the loss"
        return "grad-clipped-by-norm", said, {"norm": limit}
    said = f"{of}, as by an average, a learning rate, a weight of the loss, or clipping together with other gradients"
    return "grad-multiplied", said, {"factor": rounded(factor)}


def is_limit(limit: float, given: Tensor, own: Tensor, unit: float) -> bool:
    """Whether numbers are clipped to ±limit: two would be beyond it, or one would be and the limit has at most three
    digits, as people write it. If no given number is below the limit, perhaps only the signs were kept, as in the first
    step of Adam."""
    if not bool(((given != 0) & (given.abs() < limit * (1 - NEAR))).any()):
        return False
    beyond = int((own.abs() * (1 - 4 * unit) > limit).sum()) if limit > 0 else 0
    return beyond > 1 or (beyond == 1 and in_digits(3, limit, 4 * unit) is not None)


def in_digits(count: int, value: float, relative: float) -> float | None:
    """The number of at most so many digits that equals a value, as precisely as the value is known (`relative`); None
    where there is none, or where the value is known too roughly to tell."""
    short = float(f"{value:.{count}g}")
    return short if relative < _TELLING and abs(short - value) <= value * relative else None


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _from_the_loss(assumed: BackwardAssumption, factor: float | Tensor) -> BackwardAssumption:
    """With dL/d output multiplied by a `factor`: one for all, or one for each item."""
    back = assumed.back

    def scaled(g: Tensor) -> Tensor:
        if isinstance(factor, float):
            return g * factor
        runs = g.shape[-2] // len(factor)  # of the batch
        return (g * factor.repeat(runs).unsqueeze(1)).to(g.dtype)

    last = {name: scaled(g) for name, g in back.last.items()}
    return assumed.with_back(upstream=scaled(back.upstream), last=last)


def _x_times(assumed: BackwardAssumption, factor: float) -> BackwardAssumption:
    seen = assumed.back.seen
    made = assumed.with_back(seen=seen / factor).with_mistake(given_x=functools.partial(torch.mul, other=factor))
    return replace(made, shown=seen)


def clipped_to(known: ParameterGradients, limit: float) -> ParameterGradients:
    return {name: (value.clamp(-limit, limit), bound) for name, (value, bound) in known.items()}
