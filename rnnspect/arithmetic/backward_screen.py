"""Going back with a cheap lower estimate of the bound, as `screen.py` has it going forward: where every difference lies
within it, nobody needs the whole bound.

Every error here is at most the one that `BackwardBounded` gives. Left out are errors of errors, roundings of sums and
products but those of matrices, and what a cell state brings along from earlier steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.backward_bounded import BackwardBounded
from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.arithmetic.bounded_values import Number, Product, Value
from rnnspect.arithmetic.product_bounds import LAMBDA, squashed
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.scan import Scan
from rnnspect.arithmetic.slopes import sigmoid_slope, tanh_slope
from rnnspect.network.parameters import LayerParameters

Error = Callable[[Any], Tensor]
"""From the number itself, so that no circle of references keeps its memory, to its error."""


class LazyNumber(Number):
    """A value and part of its bound, which is computed when it is first asked for: a pass forwards keeps its values."""

    def __init__(self, v: Tensor, error: Tensor | Error, u: Roundoff, is_gate: bool = False) -> None:
        vars(self).update(v=v, error=error, u=u, rows=None, is_gate=is_gate)

    @cached_property
    def e(self) -> Tensor:
        error: Tensor | Error = vars(self)["error"]
        return error if isinstance(error, Tensor) else error(self)

    @cached_property
    def size(self) -> Tensor:
        return self.v if self.is_gate else self.v.abs()

    def __mul__(self, other: Value) -> LazyNumber:
        """Of a gate on the left, whose own error is left out."""
        return Times(self, other)


class Times(LazyNumber):
    """A product of a gate, which is asked for once, or never."""

    def __init__(self, gate: LazyNumber, other: Value) -> None:
        vars(self).update(gate=gate, other=other, u=gate.u, rows=None, is_gate=False)
        vars(self)["error"] = lambda _own: gate.size * other.e

    @property
    def v(self) -> Tensor:
        product: Tensor = vars(self)["gate"].v * vars(self)["other"].v
        return product


class LazyGate(LazyNumber):
    """What σ or tanh gives, with the slope of the function there, which going back needs."""

    @cached_property
    def slope(self) -> Tensor:
        return sigmoid_slope(self.v) if self.is_gate else tanh_slope(self.v)


class Slope(LazyNumber):
    """σ′ or tanh′ as s. Its error e (1 − k s) is at most what one of e in σ or tanh makes of it: with σ′ = σ (1 − σ),
    |1 − 2σ| = √(1 − 4 σ′) ≥ 1 − 4 σ′; with tanh′ = 1 − tanh², |2 tanh| ≥ 2 (1 − tanh′)."""

    def __init__(self, gate: LazyGate, e: Tensor) -> None:
        super().__init__(gate.slope, e, gate.u, is_gate=True)
        self.k = 4.0 if gate.is_gate else 1.0


class Blocks(LazyNumber):
    """Those of the gates, which are put side by side where that is asked for."""

    def __init__(self, each: Sequence[Number]) -> None:
        vars(self).update(each=each, error=lambda own: own.beside("e"), u=each[0].u, rows=None, is_gate=False)

    @cached_property
    def v(self) -> Tensor:
        return self.beside("v")

    def beside(self, which: str) -> Tensor:
        return torch.cat([getattr(one, which) for one in vars(self)["each"]], -1)


class BackwardScreening(BackwardBounded):
    """The arithmetic of cells without a projection, of the usual functions, in an engine that stores what it sums."""

    def __init__(self, p: LayerParameters, gates: int, u: Roundoff) -> None:
        super().__init__(p, gates, u)
        unit = LAMBDA * math.sqrt(len(p.weight_hh) + 2)
        self._steep = {"sigmoid": 4 / unit, "tanh": 16 / unit}
        """Above it a slope errs by little beside the product that it is multiplied with."""
        self._none, self._kernel, self._twice = torch.tensor([0, 1, 2], dtype=self.dtype).mul_(KERNEL * u.sums).unbind()

    def sigmoid(self, s: Value) -> LazyGate:
        """Its error is that of the gate that errs least."""
        if isinstance(s, Product):
            v, reach = s.sum("sigmoid"), self._reach(s).amin()
        else:
            v, reach = squashed(s.v, "sigmoid"), self._none
        return LazyGate(v, lambda gate: torch.addcmul(self._kernel, reach, gate.slope.amin()), self.u, is_gate=True)

    def tanh(self, s: Value) -> LazyGate:
        known = LazyNumber(s.sum("tanh"), self._reach(s), self.u) if isinstance(s, Product) else s
        v = known.v if isinstance(s, Product) else squashed(s.v, "tanh")
        return LazyGate(v, lambda gate: torch.mul(gate.slope, known.e).add_(self._kernel), self.u)

    @staticmethod
    def _reach(s: Product) -> Tensor:
        """What the sum of each row may be off in any unit, (steps, batch, 1); 1 where that is more."""
        least = sum(rows.norm * block.slope.amin() for rows, block in s.terms)
        assert isinstance(least, Tensor)
        return least.clamp_(max=1).view(*s.terms[0][0].shape, 1)

    def carry(self, f: Number, c: Number, v: Number) -> LazyNumber:
        return LazyNumber(Scan(f.v)(c.v, v.v), lambda _own: v.e, self.u)

    def carried(self, c: Number) -> Number:
        """The cell state after the last of some steps. Computed back from h, too, it errs by what tanh does."""
        return Number(c.v[-1].clone(), torch.minimum(c.e[-1], self._kernel), self.u)

    def rest(self, v: Number) -> LazyNumber:
        return LazyNumber(1 - v.v, v.e, self.u, is_gate=v.is_gate)

    def lerp(self, n: Number, h: Number, z: Number) -> LazyNumber:
        return LazyNumber(torch.lerp(n.v, h.v, z.v), self._none, self.u)

    def before(self, c: Number, after: Number) -> LazyNumber:
        v, e = (torch.cat([one.expand_as(c.v)[None], all_[:-1]]) for one, all_ in ((c.v, after.v), (c.e, after.e)))
        return LazyNumber(v, e, self.u)

    def slope(self, function: str, s: Number | Product, v: Number) -> Slope:
        del s
        assert isinstance(v, LazyGate)
        name = "sigmoid" if function == "sigmoid" else "tanh"
        if float(v.slope.amin()) > self._steep[name]:
            return Slope(v, self._none)
        return Slope(v, self._kernel if name == "sigmoid" else self._twice)

    def joined(self, blocks: Sequence[Number | None]) -> Number:
        each = [block for block in blocks if block is not None]
        fits = len(each) == len(blocks) and all(block.e.dim() for block in each)
        return Blocks(each) if fits else super().joined(blocks)

    def transposed(self, weight: str, g: Number) -> LazyNumber:
        whole = super().transposed(weight, g)
        return LazyNumber(whole.v, whole.e, self.u)

    def times(self, g: Number, v: Number | Product) -> LazyNumber:
        v = v.number if isinstance(v, Product) else v
        product, e = g.v * v.v, torch.addcmul(self._tiny, g.e, _size(v))
        if v.e.dim():
            e.addcmul_(_size(g), v.e)
        elif own := float(v.e):
            e.add_(_size(g), alpha=own)
            if isinstance(v, Slope):
                e.addcmul_(_size(g), v.v, value=-own * v.k)
        return LazyNumber(product, e, self.u)

    def plus(self, g: Number, other: Number) -> LazyNumber:
        exact = next((of for of, one in ((other.e, g.e), (g.e, other.e)) if not one.dim()), None)
        return LazyNumber(g.v + other.v, g.e + other.e if exact is None else exact, self.u)

    def minus(self, v: Number, other: Number) -> LazyNumber:
        return LazyNumber(v.v - other.v, v.e + other.e, self.u)

    def negative(self, v: Number) -> LazyNumber:
        return LazyNumber(-v.v, v.e, self.u)

    def scanned(self, slope: Number, last: Number, rest: Number | None) -> Number:
        v, e = (self._none, self._none) if rest is None else (rest.v, rest.e)
        v, e = (
            torch.cat([one.expand_as(slope.v), end.expand_as(last.v)[None]]) for end, one in ((last.v, v), (last.e, e))
        )
        scan = Scan(slope.v, back=True)
        scan(last.v, v[:-1])
        e[:-1].addcmul_(v[1:].abs(), slope.e)
        scan(e[-1], e[:-1])
        return LazyNumber(v, e, self.u)


def _size(g: Number) -> Tensor:
    return g.size if isinstance(g, LazyNumber) else g.v if g.is_gate else g.v.abs()
