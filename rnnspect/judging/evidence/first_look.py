"""A first look, in float32, at how well changes of parameters correlate with the residual: it chooses those that are
computed exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.judging.evidence.target import FittedVector, Path, going_back
from rnnspect.network.parameters import LayerParameters


class FirstLook:
    """The first look at one target. Its residual is scaled by its largest number. `rows` picks the rows of (T, B, ·)
    that count."""

    def __init__(self, target: FittedVector, p: LayerParameters, rows: Callable[[Tensor], Tensor]) -> None:
        self._target, self._p, self._rows = _narrow(target), p, rows
        self._paths = list(zip(target.paths, self._target.paths, strict=True))
        self._r = rows(self._target.residual)
        self.left = self._r.square().sum(0)
        """(U,): Σ squares."""

    @cached_property
    def scores(self) -> list[tuple[Path, Tensor]]:
        """For each path, (U, width): the correlation of each parameter's column with the residual of its unit. The
        lengths of the columns are computed as if what enters the cell state had a random sign at each step."""
        target = self._target
        size = torch.linalg.vector_norm(target.residual, dim=(0, 1)).clamp_(min=torch.finfo(torch.float32).tiny)
        squares = [path.direct.square() for path in target.paths]
        if target.kept is not None and target.shown is not None:
            later2 = going_back(target.kept.square(), target.within(target.shown).square())
            for square, path in zip(squares, target.paths, strict=True):
                if path.stored is not None:
                    square.addcmul_(path.stored.square(), later2)
        lengths = target.summed(squares, squared=True)
        along = (of for _, of in target.pulled())
        shares = (
            of.div_(length2.sqrt_().mul_(size[:, None])).nan_to_num_(0, 0, 0)
            for length2, of in zip(lengths, along, strict=True)
        )
        return list(zip((path for path, _ in self._paths), shares, strict=True))

    def together(self, parts: Iterator[tuple[Path, tuple[str, ...]]]) -> tuple[Tensor, Tensor]:
        """For a common factor of the parameters of these names, by path: Σ of the change of the residual times the
        residual, and Σ of the squares of that change, (U,) each."""
        every = [self._moved[id(path), name] for path, names in parts for name in names]
        column = self._rows(sum(every[1:], every[0]))
        return torch.mul(column, self._r).sum(0), column.square().sum(0)

    @cached_property
    def _moved(self) -> dict[tuple[int, str], Tensor]:
        """The change (T, B, U) of each target by each weight and each bias of a path."""
        names, given = [], []
        for wide, path in self._paths:
            names.append((id(wide), path.weight))
            given.append((path, path.product))
            if path.bias is not None:
                names.append((id(wide), path.bias))
                given.append((path, self._p[path.bias][self._target.rows(path)].float()))
        return dict(zip(names, self._target.moved_each(given), strict=True))


def _narrow(target: FittedVector) -> FittedVector:
    def of(values: Tensor | None) -> Tensor | None:
        return None if values is None else values.float()

    features = {id(path.features): path.features.float() for path in target.paths}
    paths = tuple(
        replace(
            path, direct=path.direct.float(), stored=of(path.stored), features=features[id(path.features)],
            product=path.product.float(),
        )
        for path in target.paths
    )  # fmt: skip
    largest = target.residual.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    residual = (target.residual / largest).float()
    return replace(target, residual=residual, paths=paths, kept=of(target.kept), shown=of(target.shown))
