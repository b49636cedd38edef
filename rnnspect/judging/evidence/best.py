"""What explains most of the residual of some steps: one parameter, or one factor of many parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspect.judging.evidence.chance import independent, log10_chance, log10_chance_of_signs, that_count
from rnnspect.judging.evidence.hypotheses import Hypothesis, groups, of_a_column, of_a_feature, of_a_group
from rnnspect.judging.evidence.layer_look import LayerLook
from rnnspect.judging.evidence.look import Look
from rnnspect.judging.evidence.target import FittedVector, Path

_UNITS, _FEATURES = 4, 2  # that are looked at exactly
_WORTH, _FAINT_WORTH = 0.6, 0.45  # a first look's correlation from which on that is worth it
_SHARE = 0.6  # of the largest of a unit
_UNLIKELY = -12.0
_SHRINKS, _FAINT = 2.0, 1.12
_LEAST = 0.9 * (1 - _FAINT**-2)  # of the squares, in a first look
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, eq=False)
class Best:
    """What explains most of the residual: `explained` is its share of the sum of squares."""

    explained: float
    shrinks: float
    log10_chance: float
    hypothesis: Callable[[], Hypothesis]


def best(look: Look, faint: bool = False) -> Best | None:
    """The one number that explains most: a parameter, a factor, or the factor of a feature. None where it may be
    chance, or where no number explains three quarters of the residual of its unit; with `faint` a fifth is enough."""
    worth = _FAINT_WORTH if faint else _WORTH
    if isinstance(look, LayerLook):
        every = tuple(_whole(look))
    else:
        every = (*_parameters(look, worth), *_factors(look, worth), *_features(look))
    found = [one for one in every if one.log10_chance < _UNLIKELY]
    most = [one for one in found if one.shrinks >= _SHRINKS]
    return max(most or (found if faint else []), key=lambda one: one.explained, default=None)


def _parameters(look: Look, least: float) -> Iterator[Best]:
    """The best parameters of the units that seem to tell most."""
    for at, target in enumerate(look.targets):
        if not target.paths:  # no unit is at work
            continue
        tops = torch.stack([score.abs().amax(1) for _, score in look.first[at].scores]).amax(0)
        worth = (tops >= least) * tops * target.residual.norm(dim=(0, 1))
        for unit in worth.topk(min(_UNITS, len(worth))).indices.tolist():
            if not float(worth[unit]):
                break
            scores = torch.cat([score[unit].abs() for _, score in look.first[at].scores])
            places = (scores >= _SHARE * float(tops[unit])).nonzero().flatten()
            columns, r = look.columns(at, unit, places), look.residual(at, unit)
            along = (columns.t() @ r / torch.linalg.vector_norm(columns, dim=0)).nan_to_num_(0, 0, 0)
            most = int(along.abs().argmax())
            how = partial(of_a_column, look, at, unit, int(places[most]))
            yield _seen(look, unit, columns[:, most], r, how)


def _factors(look: Look, least: float) -> Iterator[Best]:
    p = look.layer.p
    for group in groups(p, look.layer.cell.gates):
        having = [at for at, target in enumerate(look.targets) if any(group.parts(target))]
        goes = [look.first[at].together(group.named(look.targets[at])) for at in having]
        for at, (along, squares) in zip(having, goes, strict=True):
            share = along / (squares * look.first[at].left).sqrt_().clamp_(min=_TINY)
            unit = int(share.abs().argmax())
            if float(share[unit].abs()) >= least:
                target = look.targets[at]
                moved = target.moved(group.moves(target, p), slice(unit, unit + 1))
                r = look.residual(at, unit)
                yield _seen(look, unit, look.rows(moved)[:, 0], r, partial(of_a_group, look, group, at, unit))
        if not having or (len(look.targets) == 1 and _explains_little(look.first[0].left, *goes[0])):
            continue
        of_h = [one.onto_h(one.moved(group.moves(one, p))) for one in (look.targets[at] for at in having)]
        column = look.rows(torch.stack(of_h).sum(0)).flatten()
        yield _seen(look, None, column, look.residual(None, None), partial(of_a_group, look, group, None, None))


def _explains_little(left: Tensor, along: Tensor, squares: Tensor) -> bool:
    """Whether a change of all units explains so little that it need not be computed exactly."""
    return float(along.sum() ** 2) < _LEAST * float(squares.sum()) * float(left.sum())


def _whole(look: LayerLook) -> Iterator[Best]:
    for hypothesis in look.suspected():
        column = hypothesis.columns(look)[:, 0]
        yield _seen(look, None, column, look.residual(None, None), partial(_as_it_is, hypothesis))


def _as_it_is(hypothesis: Hypothesis) -> Hypothesis:
    return hypothesis


def _features(look: Look) -> Iterator[Best]:
    w = look.layer.p.weight_ih
    pulled = torch.zeros(w.shape[1])
    for target, first in zip(look.targets, look.first, strict=True):
        for path, score in first.scores:
            if path.weight == "weight_ih":
                pulled += (score[:, : w.shape[1]] * w[target.rows(path)].float()).sum(0)
    for feature in pulled.abs().topk(min(_FEATURES, len(pulled))).indices.tolist():

        def by(target: FittedVector, feature: int = feature) -> Iterator[tuple[Path, Tensor]]:
            for path in target.paths:
                if path.weight == "weight_ih":
                    yield path, path.features[..., feature, None] * w[target.rows(path), feature].double()

        yield _seen(look, None, look.moved_by(by), look.residual(None, None), partial(of_a_feature, look, feature))


def _seen(look: Look, unit: int | None, column: Tensor, r: Tensor, how: Callable[[], Hypothesis]) -> Best:
    length, size = float(column.norm()), float(r.norm())
    if not (0 < length < math.inf and 0 < size < math.inf):
        return Best(0, 1, 0, how)
    along = float(column @ r)
    explained = min((along / length / size) ** 2, 1.0)
    if explained < 1 - _FAINT**-2 - 1e-9:  # as most are: what is left need not be made to know that it is too much
        return Best(0, (1 - explained) ** -0.5, 0, how)
    left = r - along / length**2 * column
    shrinks = size / max(float(left.norm()), 1e-9 * size)
    if shrinks < _FAINT:
        return Best(0, shrinks, 0, how)
    share, count = 1 - shrinks**-2, that_count(column, r)

    def chance(alone: float) -> float:
        signs = log10_chance_of_signs(column, r, alone, look.candidates)
        return min(log10_chance(share, count * alone, look.candidates), signs)

    most_unlikely = chance(1.0)
    if unit is None or most_unlikely >= _UNLIKELY:  # how rows hang together makes it only more likely
        return Best(share * size**2, shrinks, most_unlikely, how)
    alone = independent(left, column, look.items) / len(r)
    return Best(share * size**2, shrinks, chance(alone), how)
