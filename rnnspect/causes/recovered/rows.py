"""Some rows differ from ours, or the parameter is that of another layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnspect.causes.recovered.multiples import multiple_of
from rnnspect.causes.recovered.part import FITS, ParameterPart, Relation, summed
from rnnspect.causes.recovered.places import counted, rows_said
from rnnspect.network.shown import apart

_MOST, _FEW, _FEWEST = 0.5, 8, 2


def all_of(parts: Sequence[ParameterPart]) -> list[Relation]:
    """Several parameters are those of one other layer; empty where they are not."""
    for other in parts[0].others:
        every = [of for part in parts if (of := part.others.get(other))]
        if len(every) == len(parts) and all(part.fits(summed(of)) for part, of in zip(parts, every, strict=True)):
            said = f"are those of {other.place} in the engine"
            return [Relation(said, of, checkpoint=other.checkpoint) for of in every]
    return []


def of_another(part: ParameterPart) -> Relation | None:
    """The parameter, or some of its rows or columns, are those of another layer, and the rest is ours."""
    for other, terms in part.others.items():
        called, values = other.called(part.names), summed(terms)
        if part.fits(values):
            said = f"is that of {called}" if called == other.checkpoint else f"is {called}"
            return Relation(f"{said} in the engine", terms, checkpoint=other.checkpoint)
        for turned in (False, True):
            off = _off(part, turned)
            if not len(off) or (turned and part.ours.shape[1] == 1):
                continue
            where = _whole(part, off, turned)
            if part.fits(torch.where(where, values, part.ours)):
                listed = _listed(part, off, turned)
                said = f"has {listed} of {called} in the engine{_rest(part, where)}"
                return Relation(said, part.terms_with(terms, where), checkpoint=other.checkpoint)
    return None


def shift(part: ParameterPart) -> Relation | None:
    """Every number is larger, or smaller, than ours by the same amount."""
    if int(part.told.sum()) <= _FEWEST:
        return None
    more, terms = _shifted(part, part.told)
    return Relation(f"has {more} everywhere in the engine", terms) if part.fits(summed(terms)) else None


def others(part: ParameterPart) -> Relation | None:
    """Whole rows or columns differ from ours: they are zero, or ours in another order, or something else."""
    for turned in (False, True):
        off = _off(part, turned)
        if turned and part.ours.shape[1] == 1:
            break
        if len(off) and len(off) <= _MOST * int(part.told.any(int(not turned)).sum()):
            return _what(part, off, turned)
    return None


def entries(part: ParameterPart) -> Relation | None:
    """Single numbers of a matrix differ from ours: few of them, and no whole row or column."""
    off = part.off()
    if not 0 < len(off) <= _FEW or part.ours.shape[1] == 1:
        return None
    where = torch.zeros_like(part.told)
    where[off[:, 0], off[:, 1]] = True
    for axis in (0, 1):
        most = where.sum(axis)
        if bool(((most > 1) & (2 * most > part.told.sum(axis))).any()):
            return None
    if not part.fits(torch.where(where, part.theirs, part.ours)):
        return None
    listed = ", ".join(f"[{row},{column}]" for row, column in off.tolist())
    noun = "another value" if len(off) == 1 else "other values"
    return Relation(f"has {noun} in {listed} in the engine{_rest(part, where)}", part.terms, where)


def _off(part: ParameterPart, turned: bool) -> Tensor:
    """The rows that differ from ours as a whole, or with `turned` the columns."""
    told, z = part.told, torch.where(part.told, part.apart(part.ours), 0).square()
    by_row = z.sum(int(not turned)) / told.sum(int(not turned)).clamp(min=1)
    return (by_row.sqrt() > 2 * FITS).nonzero().flatten()


def _whole(part: ParameterPart, off: Tensor, turned: bool) -> Tensor:
    """Where the numbers of these rows or columns are, of those that were recovered."""
    where = torch.zeros_like(part.told)
    where[(slice(None), off) if turned else off] = True
    return where & part.told


def _listed(part: ParameterPart, off: Tensor, turned: bool) -> str:
    if turned:
        return counted("column", off.tolist())
    untold = (~part.told.any(1)).nonzero().flatten().tolist()
    return rows_said(part, {*off.tolist()}, {*untold})


def _what(part: ParameterPart, off: Tensor, turned: bool) -> Relation:
    where, listed = _whole(part, off, turned), _listed(part, off, turned)
    known = {f"zeros in {listed}": tuple(torch.zeros_like(term) for term in part.terms)}
    if int(where.sum()) > _FEWEST:
        factor = multiple_of(part, where)
        times = f"{factor:.4g}" if f"{factor:.4g}" != "1" else apart(factor, 1.0)[0]
        known[f"{times} times your values in {listed}"] = tuple(term * factor for term in part.terms)
        more, terms = _shifted(part, where)
        known[f"{more} in {listed}"] = terms
    if len(part.terms) == 1:
        known[f"the numbers of {listed} in another order"] = (_sorted(part, off, turned),)
    for said, terms in known.items():
        if part.misfit(summed(terms), where) <= FITS:
            return Relation(f"has {said} in the engine{_rest(part, where)}", part.terms_with(terms, where))
    return Relation(f"has other values in {listed} in the engine{_rest(part, where)}", part.terms, where)


def _shifted(part: ParameterPart, where: Tensor) -> tuple[str, tuple[Tensor, ...]]:
    """By how much the recovered numbers there are larger than ours, on average, where the precise ones count more: in
    words, and as terms."""
    weights = part.error[where].pow(-2)
    by = float((weights * part.change[where]).sum() / weights.sum())
    return f"{abs(by):.4g} {'more' if by > 0 else 'less'} than yours", (part.terms[0] + by, *part.terms[1:])


def _rest(part: ParameterPart, off: Tensor) -> str:
    """Words for the numbers that do not seem to differ."""
    changed = part.change[off & part.told]
    if part.hides(float(changed.square().mean().sqrt()), ~off):
        return "; elsewhere a change of that size may not show in this run"
    return "; the rest equals yours"


def _sorted(part: ParameterPart, off: Tensor, turned: bool) -> Tensor:
    """Ours, with the numbers of each of these rows sorted as the recovered ones are."""
    ours, theirs = (of.t().clone() if turned else of.clone() for of in (part.ours, part.theirs))
    for at in off.tolist():
        ours[at, theirs[at].argsort()] = ours[at].sort().values
    return ours.t() if turned else ours
