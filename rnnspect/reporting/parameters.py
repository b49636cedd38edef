"""What a run tells about its engine's parameters, as pictures: how much of the residual each explains, and what was
recovered of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnnspect.arithmetic.evaluation import Floats
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.evidence.scores import Scores, scores
from rnnspect.judging.evidence.suspects import why_not
from rnnspect.judging.recovery import Recovery
from rnnspect.reporting.downsampling import Picture, picture_of

PARAMETERS = 400_000
"""Bytes of all pictures of this kind in a page; base64 makes them a third longer."""
_SCORE, _RECOVERED = 4, 6
"""Bytes of a parameter: of its score; and of what was recovered four, with two of its standard error."""
_WITHIN, _FAINT = 5.0, 6.0
"""Differences within so many standard errors may be roundings. The scale goes at least so many times as far, so that
they are faint."""


@dataclass(frozen=True)
class ScoredLayer:
    """One layer and direction, in which each parameter has a score; or why none has."""

    layer: int
    direction: str
    why_not: str | None
    rows: int = 0
    """Steps × items that were looked at."""
    chance: float = 0.0
    """The largest score that chance alone gives."""
    top: float = 0.0
    """The largest score, and whose it is."""
    entry: tuple[str, tuple[int, ...]] | None = None


@dataclass(frozen=True, eq=False)
class ParametersReport:
    """Pictures by the full name of each parameter, row × column; a bias has one column. NaN stands for what is not
    known."""

    layers: tuple[ScoredLayer, ...]
    scores: dict[str, Picture]
    differences: dict[str, Picture]
    """Recovered − ours; empty where nothing was recovered."""
    errors: dict[str, Floats]
    """The standard error of each difference, for pictures that have every number."""
    least: float
    """The least end of the scale of differences: those that may be roundings are drawn faintly."""


def bytes_of(parameters: Mapping[str, Tensor], recovered: Sequence[Recovery | None]) -> int:
    """How many bytes the pictures of a page take, at most; `recovered` is what was recovered in each of its runs."""
    each = sum(_SCORE if one is None else _SCORE + _RECOVERED for one in recovered)
    return min(PARAMETERS, each * sum(values.numel() for values in parameters.values()))


def parameters_of(assumptions: list[Assumption], recovered: Recovery | None, runs: int) -> ParametersReport:
    """The report for every layer and direction of a run, in a page of so many `runs`."""
    found = [scores(one) if why_not(one) is None else None for one in assumptions]
    numbers = sum(values.numel() for one in assumptions for values in one.p.named(*one.at).values())
    each = _SCORE if recovered is None else _SCORE + _RECOVERED
    share = min(1.0, PARAMETERS / max(1, each * runs * numbers))
    pictures = {name: _picture(of, share) for one in found if one for name, of in one.shares.items()}
    differences = {} if recovered is None else recovered.differences
    made = {name: _picture(values, share) for name, values in differences.items()}
    errors = {} if recovered is None else {name: _matrix(of) for name, of in recovered.errors.items()}
    return ParametersReport(
        tuple(_layer(one, scored) for one, scored in zip(assumptions, found, strict=True)),
        pictures,
        made,
        {name: of for name, of in errors.items() if made[name].exact},
        0.0 if recovered is None else _FAINT * _largest_within(recovered),
    )


def _largest_within(recovered: Recovery) -> float:
    """The largest difference that is within some standard errors; the largest of these, where there is none."""
    sizes = {name: values.abs().nan_to_num(0) for name, values in recovered.differences.items()}
    within = [torch.where(of <= _WITHIN * recovered.errors[name], of, 0) for name, of in sizes.items()]
    errors = (of.masked_fill(of.isinf(), 0) for of in recovered.errors.values())
    return max((float(of.max()) for of in within), default=0.0) or max((float(of.max()) for of in errors), default=0.0)


def _layer(assumed: Assumption, found: Scores | None) -> ScoredLayer:
    if found is None:
        return ScoredLayer(*assumed.at, why_not(assumed))
    tops = {name: float(values.nan_to_num(0).max()) for name, values in found.shares.items()}
    name = max(tops, key=tops.__getitem__)
    values = found.shares[name].nan_to_num(0)
    at = tuple(int(index) for index in np.unravel_index(int(torch.argmax(values)), values.shape))
    return ScoredLayer(*assumed.at, None, found.rows, found.chance, tops[name], (name, at))


def _picture(values: Tensor, share: float) -> Picture:
    """The picture, in as many cells as its share of the room allows."""
    matrix = _matrix(values)
    return picture_of(matrix, int(matrix.size * share))


def _matrix(values: Tensor) -> Floats:
    matrix: Floats = values.reshape(len(values), -1).double().numpy()
    return matrix
