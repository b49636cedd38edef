"""The least-squares problem of one hidden unit: its parameters as a row of numbers, and their normal equations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnspect.judging.evidence.target import FittedVector, Path
from rnnspect.network.parameters import LayerParameters

_RIDGE = 1e-11
"""As a share of a column's square. It keeps a parameter at its value where the numbers say nothing about it."""
_SHORTEST = 1e-140
"""A shorter column, whose square underflows, says nothing."""
_TOLD = 0.01
"""A parameter is determined if the numbers decide all but this share of it."""


class Columns:
    """The parameters of some units as rows of numbers, (units, columns). Of two biases that have the same effect only
    the first is included."""

    def __init__(self, target: FittedVector) -> None:
        self._parts = [(path.weight, path.bias, target.rows(path), path.width) for path in target.paths]
        self._widths = {(path.weight, path.block): path.width for path in target.paths}
        kept: list[int] = []
        start = 0
        for path in target.paths:
            width = path.width - (path.bias == "bias_hh" and any(_alike(path, other) for other in target.paths))
            kept += range(start, start + width)
            start += path.width
        self._kept, self._units = torch.tensor(kept, dtype=torch.long), target.units

    def values(self, p: LayerParameters) -> Tensor:
        """(units, columns): the values of some parameters; no columns where the residual depends on none of them."""
        found = [p.weight_hh.new_zeros(self._units, 0)]
        for weight, bias, rows, _ in self._parts:
            of = p[weight][rows]
            found += [of if of.dim() > 1 else of[:, None], *([p[bias][rows][:, None]] if bias else [])]
        return torch.cat(found, 1)[:, self._kept]

    def put(self, p: LayerParameters, values: Tensor, add: bool = False) -> None:
        """Writes values into the parameters, or adds them."""
        widths = [width for *_, width in self._parts]
        whole = torch.full((len(values), sum(widths)), 0.0 if add else math.nan, dtype=torch.float64)
        whole[:, self._kept] = values
        parts = torch.split(whole, widths, 1)
        for (weight, bias, rows, width), part in zip(self._parts, parts, strict=True):
            for name, new in ((weight, part[:, : width - (bias is not None)]), (bias, part[:, -1])):
                if name is not None:
                    of = p[name][rows]
                    new = new.reshape(of.shape)
                    of.copy_(of + new if add else torch.where(new.isnan(), of, new))

    def pulled(self, target: FittedVector) -> Tensor:
        """(units, columns): the scalar product of the residual with each column."""
        found = {(path.weight, path.block): of for path, of in target.pulled()}
        every = [target.residual.new_zeros(target.units, 0)]
        every += [found.get(key, every[0].new_zeros(target.units, width)) for key, width in self._widths.items()]
        return torch.cat(every, 1)[:, self._kept]

    def of(self, target: FittedVector, unit: int) -> Tensor:
        """(rows, columns) of one unit. Columns of a function that is infinite somewhere, such as 1 / v, are not
        finite."""
        if [(path.weight, path.block) for path in target.paths] == list(self._widths):
            return target.columns(unit, self._kept).nan_to_num_(0, 0, 0)
        columns = torch.split(target.columns(unit), [path.width for path in target.paths], 1)
        found = {(path.weight, path.block): of for path, of in zip(target.paths, columns, strict=True)}
        none = torch.zeros((), dtype=torch.float64)
        rows = target.inside.numel()
        every = [none.expand(rows, 0)]
        every += [found.get(key, none.expand(rows, width)) for key, width in self._widths.items()]
        return torch.cat(every, 1)[:, self._kept].nan_to_num_(0, 0, 0)


def _alike(one: Path, other: Path) -> bool:
    """Whether the biases of two paths have the same effect."""
    if (other.bias, other.gate) != ("bias_ih", one.gate) or not torch.equal(one.direct, other.direct):
        return False
    return one.stored is other.stored or (
        one.stored is not None and other.stored is not None and torch.equal(one.stored, other.stored)
    )


class Normal:
    """The normal equations of a unit, AᵀA δ = Aᵀr, with columns of length 1."""

    def __init__(self, columns: Tensor, rows: int) -> None:
        own = columns.numpy()
        gram = torch.from_numpy(own.T @ own)  # numpy sees that it is symmetric, and computes half of it
        self._length, self._rows = gram.diagonal().sqrt(), rows
        self._length[self._length < _SHORTEST] = math.inf
        gram.div_(self._length).div_(self._length[:, None])
        gram.diagonal().fill_(1 + _RIDGE)
        self._factor = torch.linalg.cholesky(gram)
        self._damped: tuple[float, Tensor] = 0.0, self._factor

    def step(self, pulled: Tensor, damping: float) -> Tensor:
        """The change that leaves the smallest residual."""
        if damping != self._damped[0]:
            gram = self._factor @ self._factor.t()
            gram.diagonal().add_(damping)
            self._damped = damping, torch.linalg.cholesky(gram) if damping else self._factor
        pull = pulled / self._length
        solved: Tensor = torch.cholesky_solve(pull[:, None], self._damped[1])[:, 0]
        return torch.div(solved, self._length)

    def variances(self) -> Tensor:
        """The variance of each parameter if each row has the variance 1; infinite where it is not determined."""
        inverse = torch.cholesky_inverse(self._factor).diagonal()
        untold = (inverse * _RIDGE > _TOLD) | self._length.isinf()
        return torch.masked_fill(inverse / self._length.square(), untold, math.inf)

    def errors(self, left: float) -> Tensor:
        """The standard error of each parameter with such a residual; infinite where it is not determined."""
        variances = self.variances()
        errors = (variances * (left / max(1, self._rows - len(variances)))).sqrt()
        return torch.masked_fill(errors, variances.isinf(), math.inf)
