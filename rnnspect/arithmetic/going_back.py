"""The gradients of a run by the equations: from the last step to the first, one step at a time, over plain numbers.

What a cell's lines did at a step is computed again from the state before it (`tape.py`), so that no more than the
quantities of the run are kept. None of it is PyTorch's autograd.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnnspect.arithmetic.numbers import Numbers
from rnnspect.arithmetic.slopes import slope
from rnnspect.arithmetic.tape import Node, Tape
from rnnspect.arithmetic.tape_gradients import Pull, made_on
from rnnspect.arithmetic.unroll import LayerQuantities, processing_order, reordered, unroll
from rnnspect.cells.interface import Cell
from rnnspect.network.gradients import Upstream
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.progress import StepsDone, untold
from rnnspect.network.sequence import Sequence as Run
from rnnspect.network.spec import Spec


class BackwardNumbers(Numbers):
    """Plain numbers, with what going back needs (`tape.Backward`)."""

    def slope(self, function: str, s: Tensor, v: Tensor) -> Tensor:
        return slope(self.functions.named(function), self.functions.clip_of(function), s, v)

    def transposed(self, weight: str, g: Tensor) -> Tensor:
        return g @ self._p[weight]

    def joined(self, blocks: Sequence[Tensor | None]) -> Tensor:
        like = next(block for block in blocks if block is not None)
        zeros = [like.new_zeros(*like.shape[:-1], size) for size in self._p.gate_sizes(len(blocks))]
        return torch.cat([none if block is None else block for none, block in zip(zeros, blocks, strict=True)], -1)

    def times(self, g: Tensor, v: Tensor) -> Tensor:
        return g * v

    def plus(self, g: Tensor, other: Tensor) -> Tensor:
        return g + other

    def minus(self, v: Tensor, other: Tensor) -> Tensor:
        return v - other

    def negative(self, v: Tensor) -> Tensor:
        return -v

    def one(self) -> float:
        return 1.0

    def before(self, c: Tensor, after: Tensor) -> Tensor:
        del after
        return c


@dataclass(frozen=True)
class Products:
    """What the gradient of a parameter is the sum of: `left` ⊗ `right` over steps and items, or `left` alone where
    `right` is None. (T, B, rows) and (T, B, columns), by step of the input, zero beyond an item's length."""

    left: Tensor
    right: Tensor | None
    shape: tuple[int, ...] | None = None
    """The shape of the parameter, where it is not that of a row of `left`."""

    def sum(self) -> Tensor:
        if self.right is None:
            whole = self.left.flatten(0, 1).sum(0)
            return whole if self.shape is None else whole.view(self.shape)
        return self.left.flatten(0, 1).t() @ self.right.flatten(0, 1)

    def of_each_step(self) -> Tensor:
        """(T,): ‖·‖₂ of what each step adds to the gradient (‖·‖F for a matrix), in float64."""
        left = self.left.double()
        if self.right is None:
            norms: Tensor = torch.linalg.vector_norm(left.sum(1), dim=-1)
            return norms
        right = self.right.double()  # ‖Σ_b l_b r_bᵀ‖² = Σ_bb' (l_b · l_b') (r_b · r_b')
        square = (left @ left.transpose(1, 2) * (right @ right.transpose(1, 2))).sum((1, 2))
        return square.clamp(min=0).sqrt()


@dataclass(frozen=True)
class LayerGradients:
    """The gradients in one layer and direction, (T, B, ·) by step of the input, zero beyond an item's length.

    `quantities` has by name dL/d of each gate and state: h with all that came to it, of which `h_next` came from the
    step that was processed after this one and `h_output` from the output; of c the same. `pre_activations` has by gate
    dL/d of what goes into its function: W_ih x + b_ih + W_hh h + b_hh. `state` is dL/dh0 (B, P), and dL/dc0 (B, H).
    `products` says by parameter, in PyTorch's names, of what its gradient is the sum.
    """

    layer: int
    direction: str
    quantities: dict[str, Tensor]
    pre_activations: dict[str, Tensor]
    x: Tensor
    state: tuple[Tensor, ...]
    products: dict[str, tuple[Products, ...]]


def go_back(
    spec: Spec,
    parameters: Mapping[str, Tensor],
    run: Run,
    upstream: Upstream,
    layers: Sequence[LayerQuantities] | None = None,
    progress: StepsDone = untold,
) -> Iterator[LayerGradients]:
    """From the top layer to the lowest, in the parameters' dtype; the directions of a layer in their order. `layers` is
    what `unroll` gave for the run, if it was computed already. `progress` is told how many more steps are done."""
    found = {(one.layer, one.direction): one for one in layers or unroll(spec, parameters, run)}
    output = upstream.output
    for layer in reversed(range(spec.num_layers)):
        given = output.chunk(spec.num_directions, -1)
        below = []
        for dy, direction in zip(given, spec.directions, strict=True):
            row = spec.row(layer, direction)
            finals = (upstream.h_n, upstream.c_n)[: len(spec.cell_type.states)]
            last = tuple(None if one is None else one[row] for one in finals)
            one = _Layer(spec, LayerParameters.of(parameters, layer, direction, spec), run, found[layer, direction])
            gradients = one.back(dy, last, progress)
            below.append(gradients.x)
            yield gradients
        output = below[0] if len(below) == 1 else below[0] + below[1]


@dataclass
class _Kept:
    """What was computed at each step, the last step first."""

    quantities: dict[str, list[Tensor]] = field(default_factory=dict)
    products: dict[tuple[str, int], list[tuple[Tensor, Tensor]]] = field(default_factory=dict)
    wx: list[Tensor] = field(default_factory=list)
    peepholes: list[Tensor] = field(default_factory=list)
    parameters: dict[str, list[Tensor]] = field(default_factory=dict)
    """By parameter of the cell's own what each step adds to its gradient."""


class _Layer:
    """One layer and direction of a run, in processing order."""

    def __init__(self, spec: Spec, p: LayerParameters, run: Run, given: LayerQuantities) -> None:
        self._cell: Cell = spec.cell_type
        self._p, self._given = p, given
        self._a = BackwardNumbers(p, len(self._cell.gates), spec.nonlinearity_of(given.direction))
        row = spec.row(given.layer, given.direction)
        self._start = tuple(initial[row] for initial in run.state)
        self._steps, self._batch = run.steps, run.batch
        device = run.x.device
        self._ends = run.step_counts(device)
        places = torch.arange(run.steps, device=device)[:, None]
        self._order = processing_order(places, self._ends, reverse=True) if given.direction == "reverse" else None
        self._inside = (places < self._ends)[..., None]

    @torch.no_grad()
    def back(self, dy: Tensor, last: Sequence[Tensor | None], progress: StepsDone) -> LayerGradients:
        cell, kept = self._cell, _Kept()
        dy, wx = (reordered(values, self._order) for values in (dy, self._given.quantities["input_projection"]))
        states = [reordered(self._given.quantities[name], self._order) for name in cell.states]
        zeros = [torch.zeros_like(start) for start in self._start]
        after = [zero if final is None else final for zero, final in zip(zeros, last, strict=True)]
        for t in reversed(range(self._steps)):
            inside = self._inside[t]
            before = [all_[t - 1] if t else start for all_, start in zip(states, self._start, strict=True)]
            after = self._step(kept, inside, torch.where(inside, wx[t], 0), before, (dy[t], after))
            progress(1)
        return self._packed(kept, tuple(after))

    def _step(
        self, kept: _Kept, inside: Tensor, wx: Tensor, before: Sequence[Tensor], given: tuple[Tensor, Sequence[Tensor]]
    ) -> list[Tensor]:
        """The gradients of the state before the step, from those of its output and of the state after it."""
        cell, (dy, after) = self._cell, given
        tape = Tape(self._a, len(cell.gates))
        start = Node(tape, wx, gate=-1)
        state = [Node(tape, torch.where(inside, one, 0)) for one in before]
        made = made_on(tape, cell, start, state)
        incoming = dict(zip(cell.states, (torch.where(inside, one, 0) for one in after), strict=True))
        dy = torch.where(inside, dy, 0)
        pull = Pull(tape, {made[name]: g + dy if name == "h" else g for name, g in incoming.items()})

        def of(node: Node) -> Tensor:
            g = pull(node)
            return torch.zeros_like(node.value) if g is None else g

        found = {name: of(made[name]) for name in cell.quantities}
        found |= {f"{name}_next": g for name, g in incoming.items()} | {"h_output": dy}
        for name, g in found.items():
            kept.quantities.setdefault(name, []).append(g)
        kept.wx.append(of(start))
        for at, (weight, operand, product) in enumerate(tape.products):
            g = pull(product)
            if g is not None:
                kept.products.setdefault((weight, at), []).append((g, operand.value))
        if tape.peephole_weights:
            kept.peepholes.append(torch.cat([of(p).expand(self._batch, -1) for p in tape.peephole_weights], -1))
        for name, node in tape.parameters.items():
            kept.parameters.setdefault(name, []).append(of(node).expand(self._batch, -1))
        earlier = [pull(node) for node in state]
        earlier = [torch.zeros_like(n.value) if g is None else g for g, n in zip(earlier, state, strict=True)]
        return [torch.where(inside, g, old) for g, old in zip(earlier, after, strict=True)]

    def _packed(self, kept: _Kept, state: tuple[Tensor, ...]) -> LayerGradients:
        def whole(steps: list[Tensor]) -> Tensor:
            return reordered(torch.stack(steps[::-1]), self._order)

        quantities = {name: whole(steps) for name, steps in kept.quantities.items()}
        wx, x = whole(kept.wx), self._given.quantities["x"]
        x = torch.where(self._inside, x, 0)
        products: dict[str, list[Products]] = {"weight_ih": [Products(wx, x)], "bias_ih": [Products(wx, None)]}
        for (weight, _), pairs in kept.products.items():
            left, right = (whole([pair[side] for pair in pairs]) for side in (0, 1))
            products.setdefault(weight, []).append(Products(left, right))
            if weight == "weight_hh":
                products.setdefault("bias_hh", []).append(Products(left, None))
        if kept.peepholes:
            products["weight_ch"] = [Products(whole(kept.peepholes), None)]
        for name, steps in kept.parameters.items():
            products[name] = [Products(whole(steps), None, tuple(self._p.own[name].shape))]
        place = self._given.layer, self._given.direction
        ends = {name: name + suffix(*place) for name in products if name in self._p.names}
        pre = dict(zip(self._cell.gates, self._p.split(wx, len(self._cell.gates)), strict=True))
        return LayerGradients(
            *place, quantities, pre, wx @ self._p.weight_ih, state,
            {full: tuple(products[name]) for name, full in ends.items()},
        )  # fmt: skip
