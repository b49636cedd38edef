"""How much of the residual of a layer each of its parameters explains by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspect.judging.assumption import Assumption
from rnnspect.judging.evidence.layer_look import LayerLook
from rnnspect.judging.evidence.suspects import look_of
from rnnspect.network.parameters import suffix

_DRAWS = 8


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one layer and direction."""

    rows: int
    """Steps × items that were looked at, without those that begin as an earlier one."""
    shares: dict[str, Tensor]
    """For each parameter, by its full name, the share (0 to 1) of the squares of what is left in its unit (of all of h
    where no unit stands by itself) that a change of this one number explains, to first order: what suspects are ranked
    by. NaN where the steps do not depend on it."""
    chance: float
    """The most that any of them explains where what is left has a random sign at each step: so much is chance."""


@torch.inference_mode()
def scores(assumed: Assumption) -> Scores:
    """The scores of a layer for which `suspects.why_not` gives None."""
    look, _ = look_of(assumed)
    if isinstance(look, LayerLook):
        return _of_whole(assumed, look)
    end, rows = suffix(*assumed.at), len(look.kept)
    own = assumed.p.named(*assumed.at)
    found = {name: torch.full(w.shape, torch.nan, dtype=torch.float64) for name, w in own.items()}
    signs, chance = _signs(rows), 0.0
    for at, target in enumerate(look.targets):
        if not target.paths:  # no unit is at work
            continue
        for unit in range(target.units):
            shares = _shares(look.columns(at, unit), look.residual(at, unit), signs)
            chance = max(chance, float(shares[:, 1:].nan_to_num(0).max()))
            parts = torch.split(shares[:, 0], [path.width for path in target.paths])
            for path, part in zip(target.paths, parts, strict=True):
                row, of_weight = target.rows(path).start + unit, part[: path.features.shape[-1]]
                found[path.weight + end][row] = of_weight[0] if path.is_vector else of_weight
                if path.bias is not None:
                    found[path.bias + end][row] = part[-1]
    return Scores(rows, found, chance)


def _of_whole(assumed: Assumption, look: LayerLook) -> Scores:
    """The scores for the residual of all of h, where no unit depends on parameters of its own."""
    left = look.residual(None, None)
    shares = _shares(look.matrix, left, _signs(len(left)))
    found = dict(look.named(shares[:, 0]))
    if {"bias_ih", "bias_hh"} <= found.keys():
        found["bias_hh"] = torch.where(found["bias_hh"].isnan(), found["bias_ih"], found["bias_hh"])
    end = suffix(*assumed.at)
    of = {name + end: values for name, values in found.items()}
    return Scores(len(look.kept), of, float(shares[:, 1:].nan_to_num(0).max()))


def _signs(rows: int) -> Tensor:
    """(rows, draws)"""
    return (torch.randint(2, (rows, _DRAWS), generator=torch.Generator().manual_seed(0)) * 2.0 - 1).double()


def _shares(columns: Tensor, r: Tensor, signs: Tensor) -> Tensor:
    """(columns, 1 + draws): the share of the residual that each column explains, then the same with random signs."""
    each = torch.cat([r[:, None], r[:, None] * signs], 1)
    explained = (columns.t() @ each).square() / columns.square().sum(0)[:, None]  # NaN of a column of zeros
    return explained / r.square().sum() if bool(r.any()) else explained
