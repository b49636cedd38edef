"""Dropout with a mask for each gate, the same at every step, as Keras has it in train mode with `recurrent_dropout`
(keras/src/layers/rnn/lstm.py, `implementation` 1): of h before a step, or of h and x.

Every batch item has other masks. Those of one item are solved for at once, from many steps: by what each number that
goes into a gate was multiplied. They count where all are near 0 or one 1/(1 − p), at least half as many of them near 0
as p lets expect, and where they explain more bits of h than they could be fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._dropout_masks import Equations, Step, bits_shown, difference, said_by, solved
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import LayerRun
from rnnspect.network.shown import counted

_MOST = 512
"""Masked numbers that are solved for: more would take seconds."""
_STEPS = 64
"""Steps that are looked at, at most."""
_TOLD = 1.5
"""How many times as many values of h they have as there are masked numbers, at least."""
_ROOM = 4
"""How many times the roundings of one step a correct engine may be off after all of them, about."""
_NEAR, _UNCLEAR = 0.05, 0.05
"""How near to 0 or 1/(1 − p) a factor is found, relatively; and which part of them may be further off, as those of
numbers that are hardly ever used."""
_ENOUGH = 32
"""Bits by which what a run shows must exceed what its masks could be fitted to."""


class _Masked(Numbers):
    """One step in which what each gate gets of h is multiplied by `factors` (R, G, P)."""

    def __init__(self, equations: Equations, factors: Tensor) -> None:
        p, gates = replace(equations.p, weight_hr=None), len(equations.cell.gates)
        super().__init__(p, gates, equations.nonlinearity)
        self._by_gate, self._factors = p.weight_hh.view(gates, -1, p.weight_hh.shape[1]), factors
        self.shift = torch.zeros(())
        """What is added to every product with h."""

    def hidden_product(self, h: Tensor) -> Tensor:
        product = torch.einsum("rgp,ghp->rgh", h.unsqueeze(1) * self._factors, self._by_gate).flatten(1) + self.shift
        return product if self._p.bias_hh is None else product + self._p.bias_hh


@dataclass(frozen=True)
class MaskedSteps(Step):
    """All steps of one item in one row: `after` is h of each (1, T · P). What comes in is a factor of each number that
    goes into a gate: of h, and before that of x where x is masked, too."""

    x: Tensor
    """(T, I)."""
    of_x: bool

    @property
    def count(self) -> int:
        gates = len(self.of.cell.gates)
        return gates * (self.of.p.weight_hh.shape[1] + (self.x.shape[1] if self.of_x else 0))

    def items(self, at: Tensor) -> MaskedSteps:
        return replace(self, after=self.after[at])

    def parts(self, factors: Tensor) -> tuple[Tensor | None, Tensor]:
        """Those of x (R, G, I), or None, and those of h (R, G, P)."""
        gates = len(self.of.cell.gates)
        of_x = gates * self.x.shape[1] if self.of_x else 0
        first = factors[:, :of_x].reshape(len(factors), gates, -1) if of_x else None
        return first, factors[:, of_x:].reshape(len(factors), gates, -1)

    def h(self, x: Tensor) -> Tensor:
        return self.of.projected(self._unprojected(x)).flatten(1)

    def _unprojected(self, factors: Tensor, shifts: Tensor | None = None) -> Tensor:
        """h of each step before its projection, (R, T, H). `shifts` (2, T, R, G·H) are added to what comes into the
        gates from x, and from h."""
        of, rows, steps = self.of, len(factors), len(self.x)
        of_x, of_h = self.parts(factors)
        a, h = _Masked(of, of_h), self.after[:1].view(steps, -1)
        state = tuple(s.expand(rows, -1) for s in self.state)
        found = []
        for t, received in enumerate(self.x):
            u = of.input(received.unsqueeze(0)).expand(rows, -1)
            if of_x is not None:
                weight = of.p.weight_ih.view(of_x.shape[1], -1, len(received))
                u = u + torch.einsum("rgi,ghi->rgh", (of_x - 1) * received, weight).flatten(1)
            if shifts is not None:
                u, a.shift = u + shifts[0, t], shifts[1, t]
            step = of.cell.step(a, u, *state)
            found.append(step["h"])
            state = (h[t].expand(rows, -1), *(step[name] for name in of.cell.states[1:]))
        return torch.stack(found, 1)

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """One row of factors (1, N), by finite differences. A unit's h depends on what comes into its own gates alone,
        so that this is shifted for all units at once: at each step, from x and from h; else one factor at a time."""
        by, p, gates, steps = 1e-6, self.of.p, len(self.of.cell.gates), len(self.x)
        if self.of.cell.mixes:
            h, *others = self.h(torch.cat([x, x + by * torch.eye(x.shape[1], dtype=x.dtype)]))
            return h.unsqueeze(0), ((torch.stack(others) - h) / by).t().unsqueeze(0)
        places = steps * gates
        moved = by * torch.eye(places, dtype=x.dtype).view(places, steps, gates).transpose(0, 1)
        before = torch.cat([self.state[0], self.after.view(steps, -1)[:-1]])
        received = [(0, self.x, p.weight_ih)] if self.of_x else []
        received.append((1, before, p.weight_hh))
        found = []
        for source, v, w in received:
            shifts = torch.zeros(2, steps, 1 + places, gates, dtype=x.dtype)
            shifts[source, :, 1:] = moved
            h = self._unprojected(x.expand(1 + places, -1), shifts.repeat_interleave(len(w) // gates, 3))
            each = ((h[1:] - h[0]) / by).view(steps, gates, steps, -1)
            of_each = torch.einsum("sgth,si->thgi", each, v) * w.view(gates, -1, v.shape[1]).transpose(0, 1)
            found.append(of_each.flatten(2))
        slopes = torch.cat(found, 2)
        slopes = slopes if p.weight_hr is None else p.weight_hr @ slopes
        return self.h(x), slopes.flatten(0, 1).unsqueeze(0)


def masks_of_gates(assumed: Assumption, of: Equations, room: float) -> Iterator[Cause]:
    """The mistake, where the run shows it. `of` are the equations of the layer, and `room` is about how far h of one
    step may be off in a correct engine."""
    run, p, gates = assumed.run, assumed.p, len(assumed.cell.gates)
    alike = len(p.weight_hh) == gates * assumed.units and len(p.weight_ih) == len(p.weight_hh)
    if not assumed.seen or not p.is_recurrent or not p.has_projection_of_x or not alike:
        return
    item = int(run.step_counts.argmax()) if len(run.step_counts) else 0
    if not int(run.step_counts[item : item + 1].sum()) or gates * p.weight_hh.shape[1] > _MOST:
        return
    first_is_right = None
    for of_x in (False, True):
        beginning = _beginning(run, item, gates * (p.weight_hh.shape[1] + of_x * p.weight_ih.shape[1]))
        if beginning is None:
            continue
        state = tuple(one.double() for one in beginning.state)
        x, h = beginning.x[:][:, 0].double(), beginning.h.double().view(1, -1)
        steps = MaskedSteps(of, state, h, x, of_x)
        if first_is_right is None:
            width = beginning.h.shape[2]
            ones = torch.ones(1, steps.count, dtype=torch.float64)
            first_is_right = float((steps.h(ones) - steps.after)[:, :width].abs().max()) <= _ROOM * room
        if first_is_right == of_x and not beginning.h0.any():  # masks of h do not show in a step that begins with 0
            continue
        if (found := _masks(steps, _ROOM * room)) is not None:
            yield _cause(beginning, steps, found, item)
            return


def _beginning(run: LayerRun, item: int, count: int) -> LayerRun | None:
    """So many steps of an item that its h tells `count` numbers, in processing order; None where it has fewer."""
    needed, most = math.ceil(_TOLD * count / run.h.shape[2]), min(_STEPS, int(run.step_counts[item]))
    if count > _MOST or needed > most:
        return None
    at, one = run.order(0, min(most, 2 * needed))[:, [item]], torch.tensor([item])
    return replace(run.take(at, one), lengths=None, reverse=False)


@dataclass(frozen=True)
class _Found:
    factors: Tensor
    """(1, N), each 0 or 1/(1 − p)."""
    p: tuple[float, ...]
    """Of x, where it is masked, and of h."""


def _masks(steps: MaskedSteps, room: float) -> _Found | None:
    ones = torch.ones(1, steps.count, dtype=torch.float64)
    if not steps.after.isfinite().all() or float(difference([steps], ones)) <= room:
        return None
    factors, _ = solved([steps], ones, ones, room)
    parts = [part.flatten(1) for part in steps.parts(factors) if part is not None]
    each, ps = [], []
    for part in parts:
        kept = part[part > 0.5]
        if not len(kept):
            return None
        p = said_by(float(kept.median()), room)
        if not 0 <= p < 1:
            return None
        scale = 1 / (1 - p)
        if (torch.minimum((part - scale).abs(), part.abs()) > _NEAR * scale).double().mean() > _UNCLEAR:
            return None
        each.append((part > scale / 2) * scale)
        ps.append(p)
    found = torch.cat(each, 1)
    if 2 * int((found == 0).sum()) < sum(p * part.numel() for p, part in zip(ps, each, strict=True)):
        return None  # it is multiplied, and no more
    bits = float(bits_shown([steps], ones, room)) - steps.count
    if not max(ps) or bits < _ENOUGH or float(difference([steps], found)) > room:
        return None
    return _Found(found, tuple(ps))


def _cause(beginning: LayerRun, steps: MaskedSteps, found: _Found, item: int) -> Cause:
    masks_x, masks_h = steps.parts(found.factors)
    of_x, of_h = None if masks_x is None else masks_x[0], masks_h[0]
    named = zip(("x", "h") if steps.of_x else ("h",), found.p, strict=True)
    said = " and ".join(f"{name} (p = {p:.4g})" for name, p in named if p)

    def change(assumed: Assumption) -> Assumption:
        p = assumed.p
        w_ih = p.weight_ih if of_x is None else _multiplied(p.weight_ih, of_x)
        return replace(assumed.with_parameters(weight_ih=w_ih, weight_hh=_multiplied(p.weight_hh, of_h)), run=beginning)

    return Cause(
        "dropout-active",
        f"dropout is active on {said} with a mask for each gate, the same at every step, as Keras has it with "
        f"recurrent_dropout: the engine ran in train mode (found in {counted(len(steps.x), 'step')} of batch item "
        f"{item}; no others were examined)",
        "Call the model with training=False before the run, or set dropout and recurrent_dropout to 0.",
        change,
        {"where": "gates", "p": max(found.p)},
        shown=lambda _assumed: True,  # the run shows it by the masks, which are its own
    )


def _multiplied(weight: Tensor, factors: Tensor) -> Tensor:
    """A packed weight (G·H, ·) with what each gate gets multiplied by factors (G, ·)."""
    return (weight.view(len(factors), -1, weight.shape[1]) * factors.unsqueeze(1).to(weight.dtype)).view_as(weight)
