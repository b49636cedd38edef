"""Findings of the pieces of a long run, with their places in the whole run, joined into one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch

from rnnspect.checking.pieces import LayerPieces, Piece
from rnnspect.judging.backward.stack import BackwardJudged, StateFinding
from rnnspect.judging.backward.sums import SumFinding
from rnnspect.judging.finding import Deviation, Finding, combine
from rnnspect.judging.verdict import Point, Verdict
from rnnspect.network.sequence import Sequence

T = TypeVar("T")
Found = TypeVar("Found", StateFinding, SumFinding)


def in_whole(judged: BackwardJudged, piece: Piece, layer: LayerPieces, whole: Sequence) -> BackwardJudged:
    """The findings of a piece, with their places in the whole run."""
    gates = {at: _moved(one, piece, whole, at[1]) for at, one in judged.gates.items()}
    x = {at: _moved(one, piece, whole, "forward") for at, one in judged.x.items()}
    states = {at: [_state_moved(one, piece, layer) for one in ones] for at, ones in judged.states.items()}
    return replace(judged, gates=gates, x=x, states=states)


def _moved(found: Finding, piece: Piece, whole: Sequence, direction: str) -> Finding:
    def at(seen: Deviation | None) -> Deviation | None:
        if seen is None:
            return None
        step, item = seen.step + piece.start, int(piece.items[seen.batch])
        length = whole.length(item)
        turned = direction == "reverse" and step < length
        order = whole.steps - length + step if turned else whole.steps - 1 - step
        return replace(seen, order=order, step=step, batch=item)

    over = found.over
    if over is not None:
        items = torch.zeros(whole.batch, dtype=torch.bool)
        items[piece.items] = over.items
        over = replace(over, first_step=over.first_step + piece.start, items=items)
    return replace(found, first=at(found.first), worst=at(found.worst), over=over)


def _state_moved(found: StateFinding, piece: Piece, layer: LayerPieces) -> StateFinding:
    """The gradient of a state that a piece starts from is that of h0; or at an edge that of h at a step."""

    def at(point: Point) -> Point:
        item = int(piece.items[point.batch])
        if layer.is_first(piece, point.direction, item):
            return replace(point, batch=item)
        step = piece.start - 1 if point.direction == "forward" else piece.stop
        return replace(point, batch=item, step=step, quantity=point.quantity.removesuffix("0"))

    return StateFinding(at(found.worst), found.first and at(found.first))


def joined(found: BackwardJudged, piece: BackwardJudged, from_the_end: bool) -> BackwardJudged:
    """The findings so far with those of one more piece of the layer. For the gradient of each state and parameter the
    value nearest to its bound in any piece is kept, and the first wrong one going back. `from_the_end`: the piece comes
    before those that were looked at."""
    is_later = {at: from_the_end == (at[1] == "forward") for at in piece.gates}
    gates = {at: _in_order(found.gates.get(at), one, is_later[at]) for at, one in piece.gates.items()}
    x = {layer: _in_order(found.x.get(layer), one, from_the_end) for layer, one in piece.x.items()}
    states = {at: _each_in_order(found.states.get(at), ones, is_later[at]) for at, ones in piece.states.items()}
    parameters = {
        at: _each_in_order(found.parameters.get(at), ones, is_later[at]) for at, ones in piece.parameters.items()
    }
    return BackwardJudged(
        found.gates | gates, found.x | x, found.states | states, found.parameters | parameters, piece.assumptions
    )


def _in_order(found: Finding | None, piece: Finding, is_later: bool) -> Finding:
    """Two findings as one, in the order of going back."""
    if found is None:
        return piece
    return combine(found, piece) if is_later else combine(piece, found)


def _each_in_order(found: list[Found] | None, piece: list[Found], is_later: bool) -> list[Found]:
    if found is None:
        return piece
    return [
        replace(max(before, now, key=lambda one: one.ratio), first=_earlier(before.first, now.first, is_later))
        for before, now in zip(found, piece, strict=True)
    ]


def _earlier(found: T | None, piece: T | None, is_later: bool) -> T | None:
    return (found or piece) if is_later else (piece or found)


def verdict_in_whole(verdict: Verdict, piece: Piece, layer: int, whole: Mapping[str, Any]) -> Verdict:
    """The verdict on the values of a piece of one layer as one on the run; `whole` has the fields that are the same for
    all of it."""

    def at(seen: Point | None) -> Point | None:
        if seen is None:
            return None
        step = seen.step + piece.start if seen.step >= 0 else seen.step
        return replace(seen, layer=layer, step=step, batch=int(piece.items[seen.batch]))

    def said(text: str) -> str:
        """What the network of one layer calls layer 0."""
        return re.sub(r"_l0\b", f"_l{layer}", re.sub(r"\blayer 0\b", f"layer {layer}", text))

    causes = tuple(
        replace(one, explanation=said(one.explanation), fix=said(one.fix), scope=tuple(map(said, one.scope)),
                left=tuple(map(said, one.left)))
        for one in verdict.causes
    )  # fmt: skip
    return replace(
        verdict,
        first=at(verdict.first),
        worst=at(verdict.worst),
        reason=verdict.reason and said(verdict.reason),
        pattern=verdict.pattern and said(verdict.pattern),
        compared=tuple((said(place), said(quantity)) for place, quantity in verdict.compared),
        resolution=tuple(replace(one, layer=layer) for one in verdict.resolution),
        notes=tuple(map(said, verdict.notes)),
        causes=causes,
        **whole,
    )
