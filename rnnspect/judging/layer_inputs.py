"""What a layer received from the layer below, computed for the steps that are read, so that a long run need not be
copied."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from rnnspect.judging.rounding import EXACT, RecordedPrecision


class StepReader(Protocol):
    """Values (steps, batch, units) that are read by steps, like a tensor."""

    @property
    def shape(self) -> torch.Size: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def __getitem__(self, at: Any, /) -> Tensor: ...


class Errors:
    """The error of each of some recorded values, readable by steps."""

    dtype = torch.float64

    def __init__(self, values: Tensor, kept: RecordedPrecision) -> None:
        self._values, self._kept, self.shape = values, kept, values.shape

    def __getitem__(self, at: Any) -> Tensor:
        return self._kept.error(self._values[at])


class SideBySide:
    """The values of both directions side by side, readable by steps; zero beyond an item's end, if `valid` (T, B) is
    given."""

    def __init__(self, parts: Sequence[StepReader], valid: Tensor | None) -> None:
        self._parts, self._valid = parts, valid
        self.shape = torch.Size((*parts[0].shape[:2], sum(part.shape[2] for part in parts)))
        self.dtype = functools.reduce(torch.promote_types, (part.dtype for part in parts))

    def __getitem__(self, at: Any) -> Tensor:
        values = torch.cat([part[at].to(self.dtype) for part in self._parts], -1)
        return values if self._valid is None else torch.where(self._valid[at].unsqueeze(-1), values, 0)


def handed_on(
    outputs: Sequence[tuple[Tensor, StepReader | None]], valid: Tensor | None
) -> tuple[StepReader, StepReader | None]:
    """x of the layer above and its error, from h of each direction and its error; None where it is exact."""
    x = beside([h for h, _ in outputs], valid)
    if all(error is None for _, error in outputs):
        return x, None
    return x, beside([Errors(h, EXACT) if error is None else error for h, error in outputs])


def beside(parts: Sequence[StepReader], valid: Tensor | None = None) -> StepReader:
    """The parts (T, B, ·) side by side, zero beyond an item's end; one part alone is itself."""
    return parts[0] if len(parts) == 1 and valid is None else SideBySide(parts, valid)
