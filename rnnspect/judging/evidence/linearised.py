"""One layer and direction of a run, linearised in small changes of its parameters.

Each step starts from the engine's own h, so that a change of a parameter changes the residual (the engine's h less that
of the equations) in each step by itself, and through the cell state. To first order the change is slope ⊙ (what the
weight multiplies), unit by unit; the slopes come from going back over the cell's own lines (`arithmetic/tape.py`).

Where a product comes between a unit and h (a projection; W_hn (r ⊙ h) of a GRU that resets before it), the vector that
enters the product is a target of its own. Its residual is the least-squares one, as far as h shows it through W.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.arithmetic.tape import WHOLE, Changes, Node, Tape
from rnnspect.arithmetic.tape_gradients import Pull, made_on
from rnnspect.arithmetic.teacher_forced import TeacherForced
from rnnspect.judging.chunks import ALL, Chunk
from rnnspect.judging.evidence.target import FittedVector, Onward, Path, Site
from rnnspect.judging.layer import LayerEquations
from rnnspect.network.parameters import LayerParameters

UNMIXED: Changes = {"hidden": None, "project": None}
"""Changes of the tape with which gradients stay in their unit."""


@dataclass(frozen=True, eq=False)
class Steps:
    """The first steps of a run, in float64: x (T, B, I), the engine's h before and after (T, B, P), zero beyond an
    item's end, and the cell state before the first step, (B, H)."""

    x: Tensor
    before: Tensor
    after: Tensor
    inside: Tensor
    """(T, B): whether the item has that step."""
    c0: Tensor | None

    @classmethod
    def of(cls, chunk: Chunk, c0: Tensor | None) -> Steps:
        inside = chunk.inside
        x, h, after = (torch.where(inside[..., None], of.double(), 0) for of in (chunk.x, chunk.before, chunk.after))
        return cls(x, h, after, inside, None if c0 is None else c0.double())

    def of_units(self, units: slice) -> Steps:
        """The steps with h of some hidden units alone; products still multiply all of h before."""
        c0 = None if self.c0 is None else self.c0[:, units]
        return replace(self, after=self.after[..., units], c0=c0)

    def left(self, h: Tensor) -> Tensor:
        """The engine's h less this h, zero beyond an item's end."""
        return torch.where(self.inside[..., None], self.after - h, 0)


class Computed:
    """A layer's equations for some steps, each from the engine's own h. With `units`, p has only the rows of those
    hidden units, and `steps` only their h."""

    def __init__(self, layer: LayerEquations, p: LayerParameters, steps: Steps, units: slice = ALL) -> None:
        self.layer, self.cell, self.p, self.steps = layer, layer.cell, p, steps
        self.a = a = TeacherForced(p, layer.gates, layer.nonlinearity, steps.before, units)
        self.wx = linear(steps.x, p.weight_ih, p.bias_ih)
        self.state = [a.h]
        if steps.c0 is not None:
            self.state.append(a.states_before(self.cell, self.wx, steps.c0, layer.stepwise))

    def residual(self) -> Tensor:
        """(T, B, P)"""
        return self.steps.left(self.cell.step(self.a, self.wx, *self.state)["h"])

    def targets(self, every: bool = False) -> tuple[FittedVector, ...]:
        """h, and the vector before a product that comes after it; with `every` also where no parameter moves that."""
        tape = Tape(self.a, self.layer.gates, changes=UNMIXED)
        start, nodes = Node(tape, self.wx, gate=WHOLE), [Node(tape, values) for values in self.state]
        made = made_on(tape, self.cell, start, nodes)
        slopes = _Slopes(self, tape, start, nodes, made)
        residual = self.steps.left(made["h"].value)
        outer = slopes.target(made["h"], residual)
        onto = Pull(tape, {made["h"]: torch.ones_like(residual)})
        for weight, of, given in tape.products:
            if of not in nodes and (seen := onto(given)) is not None:
                inner = _before_product(self, slopes, residual, seen, weight, of)
                # Nothing leads to what is made of the state alone, or behind a gate that is shut at every step.
                return (outer, inner) if inner.paths or every else (outer,)
        return (outer,)


def _before_product(
    computed: Computed, slopes: _Slopes, residual: Tensor, seen: Tensor, weight: str, inner: Node
) -> FittedVector:
    """The vector before a product. Its residual is the least-squares one that fits the residual of h, which has the
    derivative `seen` by the product."""
    w = computed.p[weight]
    gates = computed.layer.gates
    gain = (seen.square() @ w.square()).sqrt()

    def from_h(left: Tensor) -> Tensor:
        rows = left if len(w) == left.shape[-1] else left.repeat(1, 1, gates)
        return torch.div((seen * rows) @ w, gain).nan_to_num_(0, 0, 0)

    def onto_h(moved: Tensor) -> Tensor:
        through: Tensor = seen * ((moved / gain).nan_to_num_(0, 0, 0) @ w.t())
        return through if len(w) == residual.shape[-1] else torch.stack(through.chunk(gates, -1)).sum(0)

    def allowed(error: Tensor) -> Tensor:
        """The errors of the rows have random signs, so that their squares add up."""
        of_rows = error if len(w) == error.shape[-1] else error.repeat(1, 1, gates)
        return torch.div(((seen * of_rows).square() @ w.square()).sqrt(), gain).nan_to_num_(0, 0, 0)

    made = slopes.target(inner, from_h(residual), gain)
    onward = Onward(weight, seen.flatten(0, 1).any(0).nonzero().flatten(), gain * inner.value)
    return replace(made, onto_h=onto_h, from_h=from_h, onward=onward, allowed=allowed)


class _Slopes:
    """The paths to a target, from the tape of some steps."""

    def __init__(self, computed: Computed, tape: Tape, start: Node, nodes: list[Node], made: dict[str, Node]) -> None:
        self.tape, self._start, self._made = tape, start, made
        self._layer, self._cell, self._p, self._steps = computed.layer, computed.cell, computed.p, computed.steps
        self._h, self._c = nodes[0], nodes[1] if len(nodes) > 1 else None
        self._hidden = computed.a.product

    def target(self, node: Node, residual: Tensor, gain: Tensor | None = None) -> FittedVector:
        one = torch.ones_like(node.value) if gain is None else gain
        direct = Pull(self.tape, {node: one})
        stored = None
        if self._c is not None:
            after = self._made["c"]
            stored = Pull(self.tape, {after: torch.ones_like(after.value)})
        kept = shown = None
        if stored is not None and self._c is not None and (shown := direct(self._c)) is not None:
            kept = stored(self._c)
        stored = None if kept is None else stored
        paths = tuple(self._paths(direct, stored))

        def sites() -> Iterator[Site]:
            yield from self._sites(node, direct, stored)
            yield from self._sums(paths)

        return FittedVector(residual, paths, kept, shown, self._steps.inside, sites)

    def _sites(self, node: Node, direct: Pull, stored: Pull | None) -> Iterator[Site]:
        """Where rounding errors arise: in functions, in their arguments, and in what is stored."""
        u, steps = self._layer.u, self._steps.x.shape[:2]
        places: list[tuple[Node, Tensor, Tensor, Tensor | float]] = []
        for given, made in self.tape.functions:
            s, v = (one.value.expand(*steps, -1) for one in (given, made))  # of a parameter it is the same at each step
            places.append((made, v.abs(), s, KERNEL * u.sums))
            places.append((given, size := s.abs(), s, (4 * u.sums) * size))
        for of in [node] if self._c is None else [node, self._made["c"]]:
            places.append((of, size := of.value.abs(), of.value, (2 * u.stored) * size))
        for weight, factor, made in self.tape.products:
            if weight == "weight_hr":  # on steady input its sum is rounded the same way at every step
                w = self._p.weight_hr
                assert w is not None
                size = factor.value.norm(dim=-1, keepdim=True) * (w.norm(dim=1) * math.sqrt(w.shape[1]))
                places.append((made, size, made.value, (2 * u.sums) * size))
        for of, size, argument, error in places:
            slopes = direct(of), None if stored is None else stored(of)
            if any(slope is not None for slope in slopes):
                yield Site(of.value.expand_as(size), size, argument, error, *slopes)

    def _sums(self, paths: Iterable[Path]) -> Iterator[Site]:
        """W_ih x and W_hh h of each gate: their rounding errors depend on x and h, and not on the argument of a
        function."""
        for path in paths:
            if path.weight in ("weight_ih", "weight_hh"):
                units, terms = path.direct.shape[-1], path.features.shape[-1]
                w = self._p[path.weight][path.block * units : (path.block + 1) * units]
                size = (path.features.square() @ w.square().t()).sqrt_().mul_(math.sqrt(terms))
                yield Site(path.product, size, path.product, 0.0, path.direct, path.stored)

    def _paths(self, direct: Pull, stored: Pull | None) -> Iterator[Path]:
        for weight, made, features, product in self._products():
            of_h = direct(made)
            of_c = None if stored is None else stored(made)
            if of_h is None and of_c is None:
                continue
            gates: Sequence[str | None] = (None,) if weight == "weight_hr" else self._cell.gates
            bias = {"weight_ih": "bias_ih", "weight_hh": "bias_hh"}.get(weight)
            bias = bias if bias in self._p.names else None
            blocks = [[None] * len(gates) if of is None else of.chunk(len(gates), -1) for of in (of_h, of_c, product)]
            for block, (gate, h, c, own) in enumerate(zip(gates, *blocks, strict=True)):
                if any(of is not None and bool(of.any()) for of in (h, c)):
                    h = torch.zeros_like(c) if h is None else h
                    yield Path(weight, bias, gate, block, h, c, features, own)
        p_c = self.tape.peephole_weights
        vectors = [("weight_ch", *one) for one in zip(self._cell.peepholes, p_c, range(len(p_c)), strict=True)]
        own = [(name, None, node, 0) for name, node in self.tape.parameters.items()]
        for weight, gate, node, block in [*vectors, *own]:
            h, c = direct(node), None if stored is None else stored(node)
            if h is not None or c is not None:
                h = torch.zeros_like(node.value) if h is None else h
                yield Path(weight, None, gate, block, h, c, torch.ones_like(h[..., :1]), node.value.expand_as(h))

    def _products(self) -> Iterator[tuple[str, Node, Tensor, Tensor]]:
        """For each product its weight, its node on the tape, what was multiplied, and the result without the bias."""
        b_ih, b_hh = (0 if b is None else b for b in (self._p.bias_ih, self._p.bias_hh))
        yield "weight_ih", self._start, self._steps.x, self._start.value - b_ih
        for weight, of, made in self.tape.products:
            given = self._hidden if made.value is None else made.value
            features = self._steps.before if of is self._h else of.value
            yield weight, made, features, given - b_hh if weight == "weight_hh" else given
