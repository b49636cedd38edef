"""What an engine's parameters are to ours, once they are recovered from what it gave.

Each module has readings of one kind; a reading is told where the recovered numbers are what it says, within their
standard errors. The simplest that fits is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from rnnspect.causes.recovered import low_rank, multiples, noise, order, rounded, rows
from rnnspect.causes.recovered.part import ParameterPart
from rnnspect.judging.evidence.recovered import Recovered
from rnnspect.judging.recovery import Likeness

_KINDS: tuple[Callable[[ParameterPart], str | None], ...] = (
    multiples.multiple, rounded.half, rounded.bits, order.columns, order.rows, order.transposed, order.both,
    rows.entries, rows.others, low_rank.low_rank, noise.noise,
)  # fmt: skip


def likenesses(found: Recovered, parameters: Mapping[str, Tensor]) -> tuple[Likeness, ...]:
    """Of a layer and direction, one for each parameter that is another one; one for all, where all are scaled alike.
    `parameters` are all of the network's, by PyTorch's names."""
    parts = [part for part in ParameterPart.of(found, parameters) if part.differs]
    if found.right or not parts:
        return ()
    if len(parts) > 1 and (factor := multiples.factor_of(parts)) is not None:
        names = " and ".join(part.name for part in parts)
        return (Likeness(*found.at, names, "multiple", f"{names} are {factor:.4g} times as large in the engine"),)
    return tuple(_likeness(found, part) for part in parts)


def _likeness(found: Recovered, part: ParameterPart) -> Likeness:
    told, count = int(part.told.sum()), part.count
    if 2 * told < count:  # what is told says nothing of the others
        return Likeness(
            *found.at, part.name, "other", f"{part.name} has other values in the engine: {told} of {count} are told"
        )
    for kind in _KINDS:
        if said := kind(part):
            return Likeness(*found.at, part.name, kind.__name__, f"{part.name} {said}")
    return Likeness(*found.at, part.name, "other", f"{part.name} has other values in the engine")
