"""Where a recovery starts, unit by unit: at our parameters, or at the weights of another layer where these leave much
less."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from rnnspect.judging.evidence.elsewhere import OtherLayer
from rnnspect.judging.evidence.linearised import Computed, Steps
from rnnspect.judging.evidence.recovered import NEARER, PackedRows, like, squares
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters

_WORTH = 0.5
"""A block of rows of another layer is used if it leaves at most this share of the residual without it."""
_Block = tuple[tuple[str, slice], ...]
"""Rows of some parameters that are replaced together."""


def starts_of_units(
    layer: LayerEquations, ours: LayerParameters, others: Iterable[OtherLayer], steps: Steps, wrong: Tensor
) -> LayerParameters:
    """Our parameters, with rows of other layers in the units that are `wrong` (units,), where these leave much less. A
    unit may have some gates or weights of ours and some of another layer: for each block the one that leaves least is
    used."""
    start, before = ours, squares(Computed(layer, ours, steps).residual())
    left = before
    for other in others:
        tried, now = _nearest(layer, ours, other, steps, wrong)
        better = wrong & (now < NEARER * before) & (now < left)
        start, left = _rows_of(start, tried, better), torch.where(better, now, left)
    return start


def start_of_layer(
    layer: LayerEquations, ours: LayerParameters, others: Iterable[OtherLayer], steps: Steps
) -> LayerParameters:
    """As `starts_of_units`, where units have no rows of their own: what leaves least of all of h."""

    def left(p: LayerParameters) -> float:
        return float(Computed(layer, p, steps).residual().square().sum())

    start = least = ours, left(ours)
    for other in others:
        theirs, (p, now) = other.in_place_of(ours), start
        blocks = list(_blocks(layer, other))
        for _ in blocks:
            every = (_with(p, theirs, block) for block in blocks)
            tried, less = min(((one, left(one)) for one in every), key=_second)
            if not less < _WORTH * now:
                break
            p, now = tried, less
        if now < NEARER * start[1]:
            least = min(least, (p, now), key=_second)
    return least[0]


def _second(of: tuple[LayerParameters, float]) -> float:
    return of[1]


def _nearest(
    layer: LayerEquations, ours: LayerParameters, other: OtherLayer, steps: Steps, wrong: Tensor
) -> tuple[LayerParameters, Tensor]:
    """For each unit the blocks of rows of another layer that leave least in place of ours, and the residual that they
    leave."""
    p, theirs = ours, other.in_place_of(ours)
    left = squares(Computed(layer, p, steps).residual())
    blocks = list(_blocks(layer, other))
    for _ in range(len(blocks)):
        best, least = p, left
        for block in blocks:
            tried = _with(p, theirs, block)
            now = squares(Computed(layer, tried, steps).residual())
            nearer = wrong & (now < least)
            best, least = _rows_of(best, tried, nearer), torch.where(nearer, now, least)
        worth = least < _WORTH * left
        if not bool(worth.any()):
            break
        p, left = _rows_of(p, best, worth), torch.where(worth, least, left)
    return p, left


def _blocks(layer: LayerEquations, other: OtherLayer) -> Iterator[_Block]:
    """The blocks that are tried: everything; each weight, and the biases together; the rows of each gate and of each
    head; and these rows of each weight."""
    kinds = [[name] for name in other.weights if not name.startswith("bias")]
    kinds += [biases] if (biases := [name for name in other.weights if name.startswith("bias")]) else []
    every = list(other.weights)
    yield tuple((name, slice(None)) for name in every)
    for names in kinds if len(kinds) > 1 else []:
        yield tuple((name, slice(None)) for name in names)
    for rows in _rows(PackedRows.of(layer)):
        for names in (every, *kinds):
            if packed := [name for name in names if len(other.weights[name]) == sum(layer.gate_sizes)]:
                yield tuple((name, some) for name in packed for some in rows)


def _rows(packed: PackedRows) -> Iterator[list[slice]]:
    """The rows of each gate, where there are several; of each head in all gates, and in each gate."""
    gates = packed.slices(1)
    if len(gates) > 1:
        yield from gates
    if packed.heads > 1:
        heads = packed.slices(packed.heads)
        yield from ([of_gate[head] for of_gate in heads if len(of_gate) > 1] for head in range(packed.heads))
        yield from ([one] for of_gate in heads for one in of_gate)


def _with(p: LayerParameters, theirs: LayerParameters, block: _Block) -> LayerParameters:
    changed = {name: p[name].clone() for name, _ in block}
    for name, rows in block:
        changed[name][rows] = theirs[name][rows]
    return p.with_changes(**changed)


def _rows_of(p: LayerParameters, theirs: LayerParameters, where: Tensor) -> LayerParameters:
    """Our parameters with the rows of theirs in these units (units,)."""
    if not bool(where.any()):
        return p
    made = like(p)
    for name, of in made.tensors.items():
        rows = where.repeat(len(of) // len(where))
        of[rows] = theirs[name][rows]
    return made
