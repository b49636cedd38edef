"""Computes how far a gradient goes back through time in one layer and direction.

A step takes dL/d of the state after it to dL/d of the state before it by two paths: one goes element by element through
what the cell carries along (f ⊙ c of an LSTM, z ⊙ h of a GRU), the other through the matrix W_hh. Both are found on the
tape of the cell's own lines: the first is what is left where the edges of products and of functions are taken out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.going_back import BackwardNumbers, LayerGradients
from rnnspect.arithmetic.hidden_calls import without_input
from rnnspect.arithmetic.norms import Norm, known
from rnnspect.arithmetic.slopes import steepest
from rnnspect.arithmetic.tape import WHOLE, Node, Tape
from rnnspect.arithmetic.tape_gradients import Pull, made_on
from rnnspect.arithmetic.unroll import LayerQuantities, processing_order, reordered
from rnnspect.cells.functions import CHOSEN, FIXED
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.tracing.gradient_reach_found import GradientPath, Reach

FLAT = 0.1
"""A gate is saturated where the slope of its function is below this share of its steepest: σ below 0.026 and above
0.974, tanh beyond ±0.949."""
MOST_UNITS = 512
"""Above them no spectral radius is computed: eigenvalues take (units)³."""
_TOGETHER = 1 << 20
"""Numbers of a packed pre-activation that are looked at together."""
_CARRIED = re.compile(r"(\w+|\([^()]*\)) ⊙ h\b")
_CARRIED_ALONE = dict.fromkeys(("hidden", "project", "norm", *CHOSEN, *FIXED))


def reach_of(
    spec: Spec, p: LayerParameters, sequence: Sequence, given: LayerQuantities, gradients: LayerGradients
) -> Reach:
    """Looks at all steps together, in pieces: each of them is one step of the cell's lines, from the state before it
    that the run has."""
    looked = _Looked(spec, p, sequence, given)
    norms = {
        name: looked.norms(gradients.quantities[name])
        for name in ("h", "h_next", "h_output", *(["c"] if "c" in gradients.quantities else []))
    }
    found = looked.all(gradients)
    h = given.quantities["h"]
    valid = looked.inside_by_step.expand_as(h)
    low = torch.where(valid, h, torch.inf).amin((0, 1))
    high = torch.where(valid, h, -torch.inf).amax((0, 1))
    several = int(looked.inside_by_step.sum()) > 1
    dead = tuple((low == high).nonzero().flatten().tolist()) if several else ()
    return Reach(norms, found.paths, found.saturated, dead, found.time_constants, _spectral_radius(spec, p))


@dataclass(frozen=True)
class _Found:
    paths: tuple[GradientPath, ...]
    saturated: dict[str, float]
    time_constants: Tensor | None


class _RelativeSlopes(BackwardNumbers):
    """Slopes as a share of the steepest that the function has."""

    def slope(self, function: str, s: Tensor, v: Tensor) -> Tensor:
        return super().slope(function, s, v) / steepest(self.functions.named(function))

    def through_norm(self, gradients: Any, blocks: Any, made: Any, norm: Norm) -> tuple[Any, ...]:
        """As they are: a norm saturates nothing."""
        del blocks, norm
        return tuple(known(gradients, made))


class _Looked:
    """A layer and direction of a run, in processing order."""

    def __init__(self, spec: Spec, p: LayerParameters, sequence: Sequence, given: LayerQuantities) -> None:
        self._cell, self._given, self._p = spec.cell_type, given, p
        arguments = p, len(self._cell.gates), spec.nonlinearity_of(given.direction)
        self._a, self._relative = BackwardNumbers(*arguments), _RelativeSlopes(*arguments)
        row = spec.row(given.layer, given.direction)
        self._start = [initial[row] for initial in sequence.state]
        device = sequence.x.device
        ends = sequence.step_counts(device)
        places = torch.arange(sequence.steps, device=device)[:, None]
        self.inside_by_step = (places < ends)[..., None]
        self._order = processing_order(places, ends, reverse=True) if given.direction == "reverse" else None

    def norms(self, values: Tensor) -> Tensor:
        """(B, T) on the CPU, by step of the input."""
        found = torch.linalg.vector_norm(values, dim=-1, dtype=torch.float64)
        return torch.where(self.inside_by_step[..., 0], found, torch.nan).T.cpu()

    @torch.no_grad()
    def all(self, gradients: LayerGradients) -> _Found:
        wx = reordered(self._given.quantities["input_projection"], self._order)
        states = [reordered(self._given.quantities[name], self._order) for name in self._cell.states]
        before = [torch.cat([start[None], all_[:-1]]) for start, all_ in zip(self._start, states, strict=True)]
        goes_in = [reordered(gradients.quantities[name], self._order) for name in self._cell.states]
        ratios: dict[str, list[Tensor]] = {}
        flat, carried = torch.zeros(len(self._cell.gates), dtype=torch.float64), None
        count = max(1, _TOGETHER // max(1, wx[0].numel()))
        for at in range(0, len(wx), count):
            inside = self.inside_by_step[at : at + count]
            piece = [torch.where(inside, values[at : at + count], 0).flatten(0, 1) for values in (wx, *before)]
            into = [values[at : at + count].flatten(0, 1) for values in goes_in]
            for name, ratio in self._ratios(piece, into).items():
                there = torch.where(inside[..., 0], ratio.reshape(inside.shape[:2]), torch.nan)
                ratios.setdefault(name, []).append(there)
            flat += self._flat(piece, inside.flatten())
            kept = self._carried(piece, inside.flatten())
            carried = kept if carried is None else carried + (0 if kept is None else kept)
        total = int(self.inside_by_step.sum())
        blocks = zip(self._cell.gates, flat.tolist(), strict=True)
        units = states[-1].shape[-1]
        return _Found(
            tuple(
                GradientPath(name, reordered(torch.cat(parts), self._order).T.cpu()) for name, parts in ratios.items()
            ),
            {gate: found / (total * units) for gate, found in blocks},
            None if carried is None else 1 / (carried / total).clamp(0, 1).log().abs().cpu(),
        )

    def _recorded(self, piece: list[Tensor], a: Any, alone: bool = False) -> tuple[Node, list[Node], dict[str, Node]]:
        """W_ih x + b_ih, the state before and every quantity of these steps, on a tape of their own."""
        tape = Tape(a, len(self._cell.gates), changes=_CARRIED_ALONE if alone else None)
        start, *state = (Node(tape, values) for values in piece)
        start.gate = WHOLE
        return start, state, made_on(tape, self._cell, start, state)

    def _ratios(self, piece: list[Tensor], into: list[Tensor]) -> dict[str, Tensor]:
        """By path what comes out at the step before, relative to what goes in."""
        _, whole, made = self._recorded(piece, self._a)
        _, alone, carrying = self._recorded(piece, self._a, alone=True)
        kept = self._cell.states[-1]  # c where there is one
        through = Pull(carrying[kept].tape, {carrying[kept]: into[-1]})(alone[-1])
        h = Pull(made["h"].tape, {made["h"]: into[0]})(whole[0])
        if kept != "h":
            return {"c": _ratio(through, into[-1]), "h": _ratio(h, into[0])}
        if through is None:
            return {"h": _ratio(h, into[0])}
        return {carried_as(self._cell.equations): _ratio(through, into[0]), "W_hh": _ratio(h - through, into[0])}

    def _flat(self, piece: list[Tensor], inside: Tensor) -> Tensor:
        """By gate how many values are saturated."""
        start, _, made = self._recorded(piece, self._relative)
        counts, unseen = [], without_input(self._cell)
        for at, gate in enumerate(self._cell.gates):
            if at in unseen:  # what goes into it is nowhere on the tape alone
                counts.append(0)
                continue
            slopes = Pull(start.tape, {made[gate]: torch.ones_like(made[gate].value)})(start)
            block = self._p.split(slopes, len(self._cell.gates))[at]
            counts.append(int((block[inside].abs() < FLAT).sum()))
        return torch.tensor(counts, dtype=torch.float64)

    def _carried(self, piece: list[Tensor], inside: Tensor) -> Tensor | None:
        """(H,): the sum over steps and items of what each unit carries along: f of an LSTM, z of a GRU."""
        _, state, made = self._recorded(piece, self._a, alone=True)
        kept = made[self._cell.states[-1]]
        factor = Pull(kept.tape, {kept: torch.ones_like(kept.value)})(state[-1])
        return None if factor is None else factor[inside].double().sum(0)


def carried_as(equations: tuple[str, ...]) -> str:
    """How the cell's equations write what they carry along of h: z ⊙ h."""
    found = (_CARRIED.search(line) for line in equations if line.startswith("h'"))
    return next((each[0] for each in found if each), "h itself")


def _ratio(out: Tensor | None, into: Tensor) -> Tensor:
    went = torch.linalg.vector_norm(into, dim=-1, dtype=torch.float64)
    came = torch.zeros_like(went) if out is None else torch.linalg.vector_norm(out, dim=-1, dtype=torch.float64)
    return torch.where(went > 0, came / went, torch.nan)


def _spectral_radius(spec: Spec, p: LayerParameters) -> dict[str, float | None]:
    """Of each gate's block of W_hh, or of W_hh W_hr where h is projected, which is square as well."""
    gates = spec.cell_type.gates if spec.cell_type.is_recurrent else ()
    found: dict[str, float | None] = {}
    for gate, block in zip(gates, p.split(p.weight_hh, len(gates), 0) if gates else (), strict=True):
        square = block.double().cpu() if p.weight_hr is None else block.double().cpu() @ p.weight_hr.double().cpu()
        usable = spec.hidden_size <= MOST_UNITS and bool(square.isfinite().all()) and len(square) == square.shape[1]
        found[gate] = float(torch.linalg.eigvals(square).abs().max()) if usable else None
    return found
