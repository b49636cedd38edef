"""How an engine's recovered parameters are related to ours. Each module looks for relations of one kind. A relation is
told where the recovered numbers have the values that it gives, within their standard errors; the simplest one that fits
is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from rnnspect.causes.recovered import differences, multiples, order, rounded, rows
from rnnspect.causes.recovered.part import ParameterPart, Relation
from rnnspect.judging.evidence.elsewhere import OtherLayer
from rnnspect.judging.evidence.recovered import Claim, Recovered
from rnnspect.judging.recovery import Likeness

_KINDS: tuple[Callable[[ParameterPart], Relation | None], ...] = (
    rows.of_another, multiples.multiple, rounded.half, rounded.bits, order.columns, order.rows, order.transposed,
    order.both, rows.shift, rows.entries, rows.others, multiples.zeros, differences.low_rank, differences.noise,
)  # fmt: skip


def likenesses(found: Recovered, others: Sequence[OtherLayer]) -> tuple[tuple[Likeness, ...], Claim]:
    """The relations of a layer and direction: one for each parameter that differs from ours, or one for all of them
    where the same is true of all. With them the values that they give; a parameter that does not differ has ours."""
    seen = list(ParameterPart.of(found, others))
    parts = [part for part in seen if part.differs]
    claim = Claim.ours(found)
    if found.right or not parts:
        return (), claim
    for kind, together in (("others", rows.all_of), ("multiple", multiples.all_of)):
        if len(parts) > 1 and (relations := together(parts)):
            names = " and ".join(part.name for part in parts)
            for part, relation in zip(parts, relations, strict=True):
                _put(claim, found, part, relation)
            subject = "all its weights" if len(parts) == len(seen) else names
            said, checkpoint = f"{subject} {relations[0].said}", relations[0].checkpoint
            return (Likeness(*found.at, names, kind, said, checkpoint),), claim
    every = []
    for part in parts:
        kind, relation = _relation(part)
        _put(claim, found, part, relation)
        every.append(Likeness(*found.at, part.name, kind, f"{part.name} {relation.said}", relation.checkpoint))
    return tuple(every), claim


def _relation(part: ParameterPart) -> tuple[str, Relation]:
    """The relation of a part, with the id of its kind."""
    told, count = int(part.told.sum()), part.count
    if 2 * told < count:  # the recovered numbers say nothing of the others
        return "other", Relation(f"has other values in the engine: {told} of {count} were recovered")
    for kind in _KINDS:
        if found := kind(part):
            return "others" if kind is rows.of_another else kind.__name__, found
    return "other", Relation("has other values in the engine")


def _put(claim: Claim, found: Recovered, part: ParameterPart, relation: Relation) -> None:
    """Adds the values that a relation gives for a part to the claim about the layer."""
    values, open_ = (of.named(*found.at) for of in (claim.values, claim.open))
    for name, term in zip(part.names, relation.terms or part.terms, strict=True):
        of = values[name]
        of.copy_(torch.where(part.told.view(of.shape), term.view(of.shape), of))
    if relation.terms is None:
        open_[part.names[0]].view(part.told.shape).logical_or_(part.told)
    elif relation.open is not None:
        open_[part.names[0]].view(part.told.shape).logical_or_(relation.open)
