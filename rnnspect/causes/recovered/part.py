"""One recovered parameter beside ours, and how precisely it is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.errors import listed
from rnnspect.judging.evidence.elsewhere import OtherLayer
from rnnspect.judging.evidence.recovered import PackedRows, Recovered

FITS = 3.0
"""Values fit if the recovered ones differ from them by at most so many standard errors, as a root mean square: after
recoveries 0.9 to 1.5 were measured for right values, as roundings are not normally distributed. The largest of n
normally distributed errors is about √(2 ln 2n) standard errors; a number that is `FITS` times as far off is another
number."""


class Relation(NamedTuple):
    """What a recovered parameter is to ours."""

    said: str
    terms: tuple[Tensor, ...] | None = None
    """The values of the parameter's terms by this relation; None where it gives no values."""
    open: Tensor | None = None
    """(rows, columns): the numbers for which it gives no value; None where it gives all."""
    checkpoint: str | None = None
    """The checkpoint that the numbers are from, where that is another one."""


@dataclass(frozen=True, eq=False)
class ParameterPart:
    """One parameter as a matrix (rows, columns), in float64; a vector is one column. `error` is infinite where nothing
    was recovered."""

    name: str
    terms: tuple[Tensor, ...]
    """Our values: two terms for two biases that are always added, so that only their sum can be recovered."""
    theirs: Tensor
    error: Tensor
    packed: PackedRows
    """How its rows are packed; a projection has no gates."""
    others: Mapping[OtherLayer, tuple[Tensor, ...]]
    """The terms of the same parameter in other layers, where they have its shape."""
    count: int
    """How many numbers it has, recovered or not."""
    names: tuple[str, ...]
    """PyTorch's name of each term."""

    @classmethod
    def of(cls, found: Recovered, others: Sequence[OtherLayer]) -> Iterator[ParameterPart]:
        """A part for each parameter of which anything was recovered. Where two biases are only known by their sum in
        some gates, the sums are one part, and each bias of the other gates is another."""
        ours, theirs, error = (of.named(*found.at) for of in (found.ours, found.theirs, found.error))
        for name, own in ours.items():
            packed = found.packed if name.startswith(("weight_ih", "weight_hh", "bias_")) else PackedRows()
            first, second = name.replace("bias_hh", "bias_ih"), name.replace("bias_ih", "bias_hh")
            together = torch.zeros(len(own), dtype=torch.bool)
            if first != second and first in ours and second in ours:
                together = error[second].isinf() & error[first].isfinite()
            for rows in (together, ~together) if bool(together.any()) else (~together,):
                paired = bool((rows & together).any())
                told = error[name].masked_fill(~rows.view(-1, *[1] * (own.dim() - 1)), math.inf)
                if not bool(told.isfinite().any()) or (paired and name == second):
                    continue
                names = (name, second) if paired else (name,)
                terms = tuple(_matrix(ours[one]) for one in names)
                said = " + ".join(names)
                said += _of_gates(told.isfinite().flatten(1).any(1) if own.dim() > 1 else told.isfinite(), packed.alike)
                whole = _matrix(theirs[name]) + summed(terms[1:])
                count, there = int(rows.sum()) * terms[0].shape[1], _elsewhere(names, others)
                yield cls(said, terms, whole, _matrix(told), packed, there, count, names)

    @cached_property
    def ours(self) -> Tensor:
        return self.made(lambda term: term)

    def made(self, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Our matrix with each of its terms changed before they are added (b_ih + b_hh for a bias)."""
        return summed(change(term) for term in self.terms)

    def terms_with(self, terms: Iterable[Tensor], where: Tensor) -> tuple[Tensor, ...]:
        """Our terms, with those values in some places."""
        return tuple(torch.where(where, its, ours) for its, ours in zip(terms, self.terms, strict=True))

    @property
    def gates(self) -> tuple[str, ...]:
        """The gates of its rows, block by block; none for a projection, or where gates have different numbers of
        rows."""
        return self.packed.alike

    @cached_property
    def told(self) -> Tensor:
        return self.error.isfinite()

    @property
    def change(self) -> Tensor:
        """The recovered values minus ours; 0 where nothing was recovered."""
        return torch.where(self.told, self.theirs - self.ours, 0)

    @property
    def differs(self) -> bool:
        return not self._allows(self.ours)

    def fits(self, values: Tensor) -> bool:
        """Whether the recovered values equal these within their errors, and clearly better than they equal ours."""
        if not self._allows(values):
            return False
        left, ours = (self.misfit(of, self.told) for of in (values, self.ours))
        return bool(len(self.off())) or 2 * left**2 <= ours**2

    def _allows(self, values: Tensor) -> bool:
        return self.misfit(values, self.told) <= FITS and not len(self._beyond(values))

    def hides(self, size: float, among: Tensor) -> bool:
        """Whether a change of such a size would go unnoticed in a tenth, or more, of some of the numbers."""
        among = among & self.told
        return 10 * int((self._most() * self.error[among] > size).sum()) > int(among.sum())

    def off(self) -> Tensor:
        """The places (n, 2) of single numbers that differ from ours."""
        return self._beyond(self.ours)

    def _beyond(self, values: Tensor) -> Tensor:
        """The places where the recovered values differ from these by more than their errors explain."""
        return ((self.apart(values) > self._most()) & self.told).nonzero()

    def _most(self) -> float:
        """The largest of so many random errors, in standard errors."""
        return FITS * math.sqrt(2 * math.log(2 * max(1, int(self.told.sum()))))

    def misfit(self, values: Tensor, where: Tensor) -> float:
        """By how many standard errors the recovered values differ from these, as a root mean square, over some of the
        entries. Rounding to float32 does not count."""
        if not bool(where.any()):
            return 0.0
        return float(self.apart(values)[where].square().mean().sqrt())

    def apart(self, values: Tensor) -> Tensor:
        """|difference| in standard errors."""
        apart = (self.theirs - values).abs()
        return torch.where(apart == 0, 0, apart / torch.hypot(self.error, values.abs() * 2.0**-24))


def summed(terms: Iterable[Tensor]) -> Tensor:
    return sum(terms, torch.zeros((), dtype=torch.float64))


def _elsewhere(names: Sequence[str], others: Sequence[OtherLayer]) -> dict[OtherLayer, tuple[Tensor, ...]]:
    """The same parameters of the other layers that have the same shapes."""
    kinds = [name.rpartition("_l")[0] for name in names]
    having = [other for other in others if all(kind in other.weights for kind in kinds)]
    return {other: tuple(_matrix(other.weights[kind]) for kind in kinds) for other in having}


def _of_gates(told: Tensor, gates: tuple[str, ...]) -> str:
    """ "of gate n", where only these gates were recovered; else nothing."""
    if not gates or len(told) % len(gates):
        return ""
    named = [gate for gate, of in zip(gates, told.view(len(gates), -1).any(1).tolist(), strict=True) if of]
    return f" of gate{'s' * (len(named) > 1)} {listed(named)}" if len(named) < len(gates) else ""


def _matrix(w: Tensor) -> Tensor:
    w = w.detach().double()
    return w if w.dim() > 1 else w[:, None]
