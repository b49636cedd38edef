"""Ours in another order."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspect.causes.recovered.part import ParameterPart, Relation
from rnnspect.judging.evidence.order import order_of


def columns(part: ParameterPart) -> Relation | None:
    """The columns of a matrix are in another order: features, or units of h."""
    order = order_of(part.ours.t(), torch.where(part.told, part.theirs, part.ours).t())
    if order is None or not part.fits(part.ours[:, order]):
        return None
    said = f"has its columns in another order in the engine: {_said(order)}"
    return Relation(said, tuple(term[:, order] for term in part.terms))


def rows(part: ParameterPart) -> Relation | None:
    """The rows are in another order: whole gates, or units."""
    order = order_of(part.ours, torch.where(part.told, part.theirs, part.ours))
    if order is None or not part.fits(part.ours[order]):
        return None
    sorted_anew = tuple(term[order] for term in part.terms)
    blocks = order.view(len(part.gates), -1) if part.gates and len(order) % len(part.gates) == 0 else order[None]
    size = blocks.shape[1]
    if torch.equal(blocks, blocks[:, :1] + torch.arange(size)) and bool((blocks[:, 0] % size == 0).all()):
        gates = " ".join(part.gates[at] for at in (blocks[:, 0] // size).tolist())
        said = f"has the gates {gates} in the engine, where {' '.join(part.gates)} are expected"
        return Relation(said, sorted_anew)
    return Relation(f"has its rows in another order in the engine: {_said(order)}", sorted_anew)


def both(part: ParameterPart) -> Relation | None:
    """Rows and columns of a matrix are in another order, as if the units of h had been sorted. The numbers of a row, in
    order of size, tell which row it is."""
    theirs = torch.where(part.told, part.theirs, part.ours)
    rows = order_of(part.ours.sort(1).values, theirs.sort(1).values)
    if rows is None or (columns := order_of(part.ours[rows].t(), theirs.t())) is None:
        return None
    if not part.fits(part.ours[rows][:, columns]):
        return None
    said = f"has its rows and its columns in another order in the engine: columns {_said(columns)}"
    return Relation(said, tuple(term[rows][:, columns] for term in part.terms))


def transposed(part: ParameterPart) -> Relation | None:
    """A square matrix is transposed, as a whole or each gate's block by itself."""
    height, width = part.ours.shape
    for count in {len(part.gates) or 1, 1}:
        if height == count * width and width > 1:
            turned = torch.cat([block.t() for block in part.ours.chunk(count)])
            if part.fits(turned):
                return Relation("is transposed in the engine" + (", gate by gate" if count > 1 else ""), (turned,))
    return None


def _said(order: Tensor) -> str:
    """reversed; 3 and 7 swapped; 2, 0, 1, …"""
    places = torch.arange(len(order))
    if torch.equal(order, places.flip(0)):
        return "reversed"
    moved = (order != places).nonzero().flatten().tolist()
    if len(moved) == 2:
        return f"{moved[0]} and {moved[1]} swapped"
    shown = ", ".join(map(str, order[:8].tolist()))
    return shown + (", …" if len(order) > 8 else "")
