"""What is believed of an engine's layer, and what a known mistake makes of that."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.cells.functions import Nonlinearity
    from rnnspect.cells.interface import Cell
    from rnnspect.judging.chunks import Run
    from rnnspect.parameters import LayerParameters


@dataclass(frozen=True)
class Reading:
    """One layer and direction: its equations, its parameters, and what it received and returned."""

    cell: Cell
    nonlinearity: Nonlinearity
    p: LayerParameters
    run: Run

    @property
    def units(self) -> int:
        return self.p.weight_hh.shape[0] // len(self.cell.gates)

    def with_rows(self, change: Callable[[Tensor], Tensor]) -> Reading:
        """With every packed parameter changed: weight_ih, weight_hh and the biases, (G·H, ·)."""
        p = self.p
        b_ih, b_hh = (None if b is None else change(b) for b in (p.bias_ih, p.bias_hh))
        return self.with_parameters(
            weight_ih=change(p.weight_ih), weight_hh=change(p.weight_hh), bias_ih=b_ih, bias_hh=b_hh
        )

    def with_parameters(self, **changed: Any) -> Reading:
        return replace(self, p=replace(self.p, **changed))

    def with_run(self, **changed: Any) -> Reading:
        return replace(self, run=replace(self.run, **changed))

    def blocks(self, packed: Tensor) -> dict[str, Tensor]:
        """A packed parameter by gate."""
        return dict(zip(self.cell.gates, packed.chunk(len(self.cell.gates)), strict=True))

    def packed(self, blocks: dict[str, Tensor]) -> Tensor:
        return torch.cat([blocks[gate] for gate in self.cell.gates])

    def biases(self) -> tuple[Tensor, Tensor]:
        """Both, zero where there is none."""
        none = torch.zeros(len(self.p.weight_hh), dtype=self.p.weight_hh.dtype)
        return tuple(none if b is None else b for b in (self.p.bias_ih, self.p.bias_hh))  # type: ignore[return-value]


@dataclass(frozen=True)
class Cause:
    """A known mistake: if the engine made it, it computes what `change` makes of our reading."""

    name: str
    """A fixed id, such as gate-order."""
    explanation: str
    """After "if": what the engine did and how that comes about."""
    fix: str
    change: Callable[[Reading], Reading]
    parameters: dict[str, Any] = field(default_factory=dict)
    """What tells causes of one name apart."""
