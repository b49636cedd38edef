"""A layer that nobody observed: stepped in float64, together with a few randomly perturbed replicas.

This is Monte Carlo arithmetic (Parker, Pierce & Eggert 2000). A rigorous bound through a free run grows past use
within twenty steps; the replicas' spread says how far roundings really carry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.products import length
from rnnspect.judging.look import cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from rnnspect.arithmetic.roundoff import Roundoff
    from rnnspect.cells.interface import Cell
    from rnnspect.parameters import LayerParameters

REPLICAS = 4
SPREADS = 2.0
"""The layer above is allowed so many times the replicas' spread."""


@dataclass(frozen=True)
class Estimate:
    """h (T, B, P) by step of the input, and how far a correct engine's may be; the same of the final state."""

    h: Tensor
    error: Tensor
    final: tuple[tuple[Tensor, Tensor], ...]


class Perturbed(Numbers):
    """Numbers of which every batch row but the first B is disturbed by the roundings that an engine may make."""

    def __init__(
        self, p: LayerParameters, gates: int, nonlinearity: str, u: Roundoff, batch: int, generator: Generator
    ) -> None:
        super().__init__(p, gates, nonlinearity)
        self._u, self._batch, self._generator = u, batch, generator
        k = p.weight_ih.shape[1] + p.weight_hh.shape[1] + 2
        self._sum = k**0.5 * u.sums + 2 * u.products + u.stored
        self._norms = length(p.weight_hh)
        self._nonlinearity = nonlinearity

    def hidden(self, h: Tensor) -> Tensor:
        s = super().hidden(h)
        return self.disturbed(s, self._sum * (length(h).unsqueeze(1) * self._norms + s.abs()))

    def sigmoid(self, v: Tensor) -> Tensor:  # type: ignore[override]
        return self._stored(torch.sigmoid(v))

    def tanh(self, v: Tensor) -> Tensor:  # type: ignore[override]
        return self._stored(torch.tanh(v))

    def carry(self, f: Tensor, c: Tensor, v: Tensor) -> Tensor:
        return self._stored(f * c + v)

    def project(self, m: Tensor) -> Tensor:
        return self._stored(super().project(self._stored(m)))

    def _stored(self, v: Tensor) -> Tensor:
        return self.disturbed(v, self._u.stored * v.abs() + 2 * self._u.sums)

    def disturbed(self, v: Tensor, by: Tensor) -> Tensor:
        noise = torch.rand(v.shape, generator=self._generator, dtype=v.dtype).mul_(2).sub_(1)
        noise[: self._batch] = 0
        return v + noise * by


@torch.inference_mode()
def estimate(
    cell: Cell,
    p: LayerParameters,
    u: Roundoff,
    nonlinearity: str,
    x: Tensor,
    error: Tensor | None,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    reverse: bool,
    progress: Callable[[int], None] = lambda _steps: None,
) -> Estimate:
    """x (T, B, I) with its own error or None; state (B, ·)."""
    steps, batch = x.shape[:2]
    generator = torch.Generator().manual_seed(0)
    wide = cast(p, torch.float64)
    a = Perturbed(wide, len(cell.gates), nonlinearity, u, batch, generator)
    now = tuple(initial.double().repeat(1 + REPLICAS, 1) for initial in state)
    ends = torch.full((batch,), steps) if lengths is None else lengths
    ends = ends.repeat(1 + REPLICAS)
    each = torch.arange(len(ends))
    norms = length(wide.weight_ih)
    h = error_of = None
    for order in range(steps):
        at = ends - 1 - order if reverse else torch.full_like(ends, order)
        inside = ((at >= 0) & (at < ends)).unsqueeze(1)
        at = at.clamp(0, steps - 1)
        row = x[at, each % batch].double()
        if error is not None:
            row = a.disturbed(row, error[at, each % batch].double())
        s = torch.nn.functional.linear(row, wide.weight_ih, wide.bias_ih)
        s = a.disturbed(s, a._sum * (length(row).unsqueeze(1) * norms + s.abs()))
        found = cell.step(a, s, *now)
        new = tuple(found[name] for name in cell.states)
        now = tuple(torch.where(inside, one, other) for one, other in zip(new, now, strict=True))
        exact, spread = _spread(found["h"], batch, u)
        if h is None or error_of is None:
            h = torch.zeros((steps, *exact.shape), dtype=torch.float64)
            error_of = torch.zeros_like(h)
        mine = inside[:batch, 0]
        h[at[:batch][mine], each[:batch][mine]] = exact[mine]
        error_of[at[:batch][mine], each[:batch][mine]] = spread[mine]
        progress(1)
    assert h is not None
    assert error_of is not None
    return Estimate(h, error_of, tuple(_spread(final, batch, u) for final in now))


def _spread(values: Tensor, batch: int, u: Roundoff) -> tuple[Tensor, Tensor]:
    exact, replicas = values[:batch], values[batch:].view(REPLICAS, batch, -1)
    spread = (replicas - exact).abs().amax(0)
    return exact, SPREADS * spread + u.stored * exact.abs() + 2 * u.sums + u.tiny
