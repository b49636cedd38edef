"""A layer that nobody observed: stepped in float64, together with a few randomly perturbed replicas.

This is Monte Carlo arithmetic (Parker, Pierce & Eggert 2000). A rigorous bound through a free run grows past use
within twenty steps; the replicas' spread says how far roundings really carry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.product_bounds import length, length4
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.cells.functions import Nonlinearity
from rnnspect.judging.interpretation import Interpretation
from rnnspect.judging.layer import cast
from rnnspect.judging.layer_inputs import zeros
from rnnspect.network.parameters import LayerParameters

REPLICAS = 4
BLOCK = 64
"""Steps whose products with x are computed together."""
SPREADS = 2.0
"""The layer above is allowed so many times the replicas' spread."""
FINAL_SPREADS = 8.0
"""A final state is compared alone, where the layer above adds up many: four replicas may all fall close to it."""
_HELD = {2.0**-24: torch.float32, 2.0**-11: torch.float16, 2.0**-8: torch.bfloat16}
"""The dtype by its unit roundoff; the replicas are in float64 and need not be rounded to it."""


@dataclass(frozen=True)
class Estimate:
    """h (T, B, P) by step of the input, and how far a correct engine's may be; the same of the final state."""

    h: Tensor
    error: Tensor
    final: tuple[tuple[Tensor, Tensor], ...]


class Perturbed(Numbers):
    """Plain numbers for (1 + REPLICAS) · B rows: the first B are exact, the others are disturbed at random by as much
    as an engine's roundings may be."""

    def __init__(
        self, p: LayerParameters, gates: int, nonlinearity: Nonlinearity, u: Roundoff, batch: int, generator: Generator
    ) -> None:
        super().__init__(p, gates, nonlinearity)
        self._u, self._batch, self._generator = u, batch, generator
        self._sum = p.terms**0.5 * u.sums + u.stored + u.narrow
        self._w_ih, self._w_hh, self._bias_ih = p.weight_ih, p.weight_hh, p.bias_ih
        self._norms_ih, self._norms_hh = length(p.weight_ih), length(p.weight_hh)
        for name in ("sigmoid", "tanh", "squash", "phi"):
            setattr(self, name, self._disturbed(getattr(self, name)))

    def input(self, x: Tensor, error: Tensor | None) -> Tensor:
        """W_ih x + b_ih of (steps, B, I), for every replica: (steps, (1 + REPLICAS) B, ·)."""
        rows = x.repeat(1, 1 + REPLICAS, 1)
        if error is not None:
            by = error.repeat(1, REPLICAS, 1)
            rows[:, self._batch :].addcmul_(self._noise(by), by)
        s = torch.nn.functional.linear(rows, self._w_ih, self._bias_ih)
        self._disturb(s[:, self._batch :], rows[:, self._batch :], self._w_ih, self._norms_ih)
        return s

    def hidden(self, h: Tensor) -> Tensor:
        s = super().hidden(h)
        self._disturb(s[self._batch :], h[self._batch :], self._w_hh, self._norms_hh)
        return s

    def _disturb(self, s: Tensor, rows: Tensor, w: Tensor, norms: Tensor) -> None:
        """Changes the sums s (…, G·H), products of the rows (…, k) with w, by as much as they may be off; `norms` is
        ‖w‖. The rounding of operands counts by its usual size, or all of it one way."""
        rows = rows.flatten(0, -2)
        by = s.abs().addcmul_(length(rows).view(*s.shape[:-1], 1), norms).mul_(self._sum)
        if self._u.products:
            usual = torch.outer(length4(rows), length4(w)).view(s.shape)
            by += usual.add_(s.abs()).mul_(2 * self._u.products)
        s.addcmul_(self._noise(by), by)

    def _disturbed(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda v: self._stored(function(v))

    def carry(self, f: Tensor, c: Tensor, v: Tensor) -> Tensor:
        return self._stored(f * c + v)

    def project(self, m: Tensor) -> Tensor:
        return self._stored(super().project(self._stored(m)))

    def _stored(self, v: Tensor) -> Tensor:
        """Overwrites the replicas in v."""
        replicas = v[self._batch : len(v) - self._batch]
        by = replicas.abs().mul_(self._u.stored).add_(2 * self._u.sums)
        replicas.addcmul_(self._noise(by), by)
        return self.kept(v)

    def kept(self, state: Tensor) -> Tensor:
        """The last replica stores what the engine's dtype can hold: beside a long memory each small step is lost in
        it, or counts for more, which no random rounding shows. Overwrites that replica."""
        if self._u.stored in _HELD:
            last = state[-self._batch :]
            last.copy_(last.to(_HELD[self._u.stored]))
        return state

    def _noise(self, like: Tensor) -> Tensor:
        return torch.empty_like(like).uniform_(-1, 1, generator=self._generator)


@torch.inference_mode()
def estimate(reading: Interpretation, progress: Callable[[int], None] = lambda _steps: None) -> Estimate:
    """h and final states that the equations give for what a layer and direction received, and how far those of a
    correct engine may be. The h of the run is not looked at."""
    cell, u, run = reading.cell, reading.u, reading.run
    steps, batch = run.x.shape[:2]
    p, generator = cast(reading.p, torch.float64), torch.Generator().manual_seed(0)
    a = Perturbed(p, len(cell.gates), reading.nonlinearity, u, batch, generator)
    now = tuple(initial.double().repeat(1 + REPLICAS, 1) for initial in run.state)
    each = torch.arange(batch)
    h, errors = (zeros(steps, batch, p.weight_hh.shape[1]) for _ in range(2))
    for start in range(0, steps, BLOCK):
        stop = min(steps, start + BLOCK)
        at, inside = run.order(start, stop), torch.arange(start, stop).unsqueeze(1) < run.step_counts
        ragged = not bool(inside.all())
        error = None if run.error is None else run.error[at, each].double()
        packed = a.input(run.x[at, each].double(), error)
        for n, row in enumerate(packed):
            found = cell.step(a, row, *now)
            new = tuple(a.kept(found[name]) for name in cell.states)
            mine: Tensor | slice = inside[n] if ragged else slice(None)
            if ragged:
                kept = inside[n].repeat(1 + REPLICAS).unsqueeze(1)
                new = tuple(torch.where(kept, one, other) for one, other in zip(new, now, strict=True))
            now = new
            places = at[n][mine], each[mine]
            exact, spread = _spread(found["h"], batch, u)
            h[places], errors[places] = exact[mine], spread[mine]
        progress(stop - start)
    return Estimate(h, errors, tuple(_spread(final, batch, u, FINAL_SPREADS) for final in now))


def _spread(values: Tensor, batch: int, u: Roundoff, times: float = SPREADS) -> tuple[Tensor, Tensor]:
    exact, replicas = values[:batch], values[batch:].view(REPLICAS, batch, -1)
    spread = (replicas - exact).abs_().amax(0)
    # A few replicas of one unit may fall close together by chance; those of the whole row do not.
    typical = spread.square().mean(-1, keepdim=True).sqrt_()
    spread = torch.maximum(spread, typical).mul_(times)
    return exact, spread.add_(exact.abs(), alpha=u.stored).add_(2 * u.sums + u.tiny)
