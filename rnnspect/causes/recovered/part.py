"""One recovered parameter beside ours, with how exactly it is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.judging.evidence.recovered import Recovered

FITS = 3.0
"""A reading fits where what it leaves is so many standard errors, as a root mean square: of those that remain after a
recovery, whose roundings are no normal numbers, 0.9 to 1.5 were measured."""


@dataclass(frozen=True, eq=False)
class ParameterPart:
    """Matrices (rows, columns), in float64; a vector is one column. `error` is infinite where nothing was told."""

    name: str
    terms: tuple[Tensor, ...]
    """Ours: two where a bias always comes with another, so that only their sum is told."""
    theirs: Tensor
    error: Tensor
    gates: tuple[str, ...]
    """The gates whose rows it has, block by block; none of a projection."""
    others: Mapping[str, Tensor]
    """Those of other layers and directions that have its shape, by name."""

    @classmethod
    def of(cls, found: Recovered, parameters: Mapping[str, Tensor]) -> Iterator[ParameterPart]:
        """Of each parameter of which anything was told."""
        ours, theirs, error = (of.named(*found.at) for of in (found.ours, found.theirs, found.error))
        for name, own in ours.items():
            if not bool(error[name].isfinite().any()):
                continue
            others = {
                other: _matrix(of)
                for other, of in parameters.items()
                if other != name and of.shape == own.shape and other.split("_l")[0] == name.split("_l")[0]
            }
            second = name.replace("bias_ih", "bias_hh")
            terms: tuple[Tensor, ...] = (_matrix(own),)
            said = name
            if second != name and second in ours and bool((alone := error[second].isinf()).any()):
                terms, said = (*terms, _matrix(torch.where(alone, ours[second], 0))), f"{name} + {second}"
            whole = _matrix(theirs[name]) + sum(terms[1:], torch.zeros(()))
            gates = found.gates if name.startswith(("weight_ih", "weight_hh", "bias_")) else ()
            yield cls(said, terms, whole, _matrix(error[name]), gates, others)

    @cached_property
    def ours(self) -> Tensor:
        return self.made(lambda term: term)

    def made(self, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Our matrix, the sum of its terms (of a bias, b_ih and b_hh), with each term changed first."""
        return sum((change(term) for term in self.terms), torch.zeros(()))

    @cached_property
    def told(self) -> Tensor:
        return self.error.isfinite()

    @property
    def change(self) -> Tensor:
        """Zero where nothing was told."""
        return torch.where(self.told, self.theirs - self.ours, 0)

    @property
    def differs(self) -> bool:
        return not self.fits(self.ours)

    def fits(self, values: Tensor) -> bool:
        """Whether the engine's are these, as far as the numbers tell."""
        return self.misfit(values, self.told) <= FITS

    def misfit(self, values: Tensor, where: Tensor) -> float:
        """How many standard errors the engine's are from these, as a root mean square; of some of the entries. What is
        rounded to float32 is no misfit."""
        if not bool(where.any()):
            return 0.0
        rounding = values.abs() * 2.0**-24
        return float(((self.theirs - values) / torch.hypot(self.error, rounding))[where].square().mean().sqrt())


def _matrix(w: Tensor) -> Tensor:
    w = w.detach().double()
    return w if w.dim() > 1 else w[:, None]
