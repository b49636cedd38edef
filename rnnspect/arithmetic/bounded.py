"""Numbers with an error bound: how far a correct engine may be from the equations, in any order of evaluation.

Values and bounds are (steps, batch, units), bounds absolute. The model is fl(x ∘ y) = (x ∘ y)(1 + δ) with |δ| at most
the unit roundoff u, and one number for underflow (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
§2.2 and ch. 3); a sum of k products errs by λ√k·u (Higham & Mary 2019, `products.LAMBDA`).

No tensor is written to once a value holds it. Whatever is computed in place here is memory of its own operation.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from rnnspect.arithmetic.activations import allowed
from rnnspect.arithmetic.bounded_matrices import BoundedMatrices
from rnnspect.arithmetic.bounded_norms import BoundedNorms
from rnnspect.arithmetic.bounded_values import Number, Operand, Packed, Product, stored
from rnnspect.arithmetic.forms import TermSums, regrouped
from rnnspect.arithmetic.product_bounds import RowBlock, Rows, fuses, length4, squashed
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.arithmetic.scan import Scan
from rnnspect.arithmetic.slopes import sigmoid_slope, tanh_slope
from rnnspect.cells.functions import FIXED, RELU, Activation, Nonlinearity, functions_of
from rnnspect.network.parameters import LayerParameters

KERNEL = 12.0
"""The absolute error of σ and tanh, in u: a relative error would reject correct kernels in closed gates. Those of torch
and numpy err by 4; for the rational functions of onnxruntime's GRU 10.2 was measured, where they saturate beyond ±1."""
STEEP = 0.1
"""From this error of s on, the slope is taken at the end of s ± e where it is steepest."""
_MANY = 512


_alike: Callable[..., Sequence[Tensor]] = torch.broadcast_tensors


class Bounded(BoundedMatrices, BoundedNorms):
    """The arithmetic of one layer and direction over numbers with their bound."""

    def __init__(self, p: LayerParameters, gates: int, u: Roundoff, nonlinearity: Nonlinearity = "tanh") -> None:
        self.parameters, self.functions = p, functions_of(nonlinearity)
        self.u, self._relu = u, self.functions.phi == RELU
        self._chosen = None if self.functions.are_usual else self.functions
        self._units, self.state_sizes = p.units(gates), p.state_sizes(gates)

        def blocks(w: Tensor, b: Tensor | None, known: tuple[float, float]) -> list[RowBlock]:
            return RowBlock.of(w, b, p.terms, u, known).split(lambda packed: p.split(packed, gates, 0))

        self._ih = blocks(p.weight_ih, p.bias_ih, (0.0, 0.0))
        self._hh = blocks(p.weight_hh, p.bias_hh, (u.relative, u.absolute))
        self._hr = None if p.weight_hr is None else RowBlock.of(p.weight_hr, None, p.weight_hr.shape[1], u, (0.0, 0.0))
        self.dtype = p.weight_ih.dtype
        self._offsets: dict[tuple[RowBlock, ...], Tensor] = {}
        self._joined: dict[tuple[RowBlock, RowBlock], tuple[Tensor, Tensor | None] | None] = {}

    def observed(self, h: Tensor, unit: int | None = None, error: Tensor | None = None) -> Number:
        """The engine's h of the step before, (steps, batch, P), with its error; without `error`, as precisely as it was
        recorded. With `unit`, h of that hidden unit, while products still multiply all of h."""
        v = h if unit is None else h[..., unit, None]
        if error is not None:
            e = error if unit is None else error[..., unit, None]
        elif self.u.relative or self.u.absolute:
            e = v.abs().mul_(self.u.relative).add_(self.u.absolute)
        else:
            e = torch.zeros((), dtype=v.dtype)
        return Number(v, e, self.u, Rows(h, error))

    def allowance(self, terms: tuple[tuple[Rows, RowBlock], ...]) -> Tensor:
        """λ√k·u (‖w‖‖x‖ + |b|), summed over the products that land in one number: (steps · batch, units)."""
        blocks = tuple(block for _, block in terms)
        if blocks not in self._offsets:
            self._offsets[blocks] = torch.stack([block.offset for block in blocks]).sum(0)
        (rows, block), *others = terms
        e = torch.addcmul(self._offsets[blocks], rows.norm.unsqueeze(1), block.slope)
        for rows, block in others:
            e.addcmul_(rows.norm.unsqueeze(1), block.slope)
        if len(terms) > 2:  # √k of a block counts the terms of a product with x and of one with h
            e.mul_(math.sqrt(len(terms) - 1))
        for rows, block in terms:
            if rows.error is not None:
                e.addr_(rows.error, block.length)
            if block.rounded is not None:
                e.addr_(length4(rows.v), block.rounded)
        return e

    def weights_beside(self, rows: Rows, one: RowBlock, other: RowBlock) -> tuple[Tensor, Tensor | None] | None:
        """[W W'] and b + b', which make one product of two; their sum has the same bound. None for few units, where
        copying the rows side by side would cost more than it saves; and for few rows the first time, where copying the
        weights would."""
        if len(self._hh) * len(one.w) < _MANY or not fuses(rows.v, one.w):
            return None
        if (one, other) not in self._joined and len(rows.v) < one.w.shape[1] + other.w.shape[1]:
            self._joined[one, other] = None
        elif self._joined.get((one, other)) is None:
            b = None if one.b is None or other.b is None else one.b + other.b
            self._joined[one, other] = torch.cat([one.w, other.w], 1), b
        return self._joined[one, other]

    def input(self, x: Tensor, error: Tensor | None = None) -> Packed:
        """W_ih x + b_ih for x (steps, batch, I); `error` is the error of x."""
        if not self.parameters.has_projection_of_x:
            e = torch.zeros_like(x) if error is None else error
            parts = (self.parameters.split(one, len(self._ih)) for one in (x, e))
            return cast("Packed", tuple(Number(v, off, self.u) for v, off in zip(*parts, strict=True)))
        rows = Rows(x, error)
        return tuple(Product(self, (rows, block)) for block in self._ih)

    def hidden(self, h: Number) -> Packed:
        rows = h.rows or Rows(h.v, h.e)  # r ⊙ h is computed, and has an error of its own
        return tuple(Product(self, (rows, block)) for block in self._hh)

    def split(self, packed: Packed | Number) -> tuple[Operand, ...]:
        if not isinstance(packed, Number):
            return packed
        parts = zip(*(of.chunk(len(self._ih), -1) for of in (packed.v, packed.e)), strict=True)
        return tuple(Number(v, e, self.u) for v, e in parts)

    def gates(self, wx: Packed, h: Number) -> Packed:
        return tuple(Product(self, *p.terms, *q.terms) for p, q in zip(wx, self.hidden(h), strict=True))

    def sigmoid(self, s: Operand) -> Number:
        return self._activated("sigmoid", s) if self._chosen else self._smooth(s, "sigmoid", sigmoid_slope, 1.0)

    def tanh(self, s: Operand) -> Number:
        return self._activated("tanh", s) if self._chosen else self._smooth(s, "tanh", tanh_slope, 2.0)

    def squash(self, c: Operand) -> Number:
        return self._activated("squash", c) if self._chosen else self.tanh(c)

    def phi(self, s: Operand) -> Number:
        if self._chosen or not self._relu:
            return self._activated("phi", s) if self._chosen else self.tanh(s)
        v = s.v.relu()
        e = s.e * (s.v > -s.e)  # next to the kink a correct engine may be on its other side
        return Number(v, e.add_(v, alpha=self.u.stored).add_(self.u.tiny), self.u)

    def _smooth(self, s: Operand, name: str, slope: Callable[[Tensor], Tensor], span: float) -> Number:
        """σ or tanh, bounded by its slope as a function of its value; no two of its values are further apart than
        `span`."""
        v, before = s.squashed(name)
        peak, own = float(before.max()), self._kernel(name == "sigmoid")
        if peak < STEEP:  # both slopes grow by at most exp(2e) within ± e
            e = slope(v)
            torch.addcmul(torch.tensor(own, dtype=v.dtype), e, before, value=math.exp(2 * peak), out=e)
        else:
            near = squashed((s.v.abs() - before).clamp_(min=0), name)
            e = slope(near).mul_(before).clamp_(max=span).nan_to_num_(span).add_(own)
        if self.u.coarse:
            e.add_(v.abs(), alpha=self.u.stored).add_(self.u.tiny)
        return Number(v, e, self.u, is_gate=name == "sigmoid")

    def _kernel(self, of_gate: bool) -> float:
        """The error of a function. 1 / (1 + exp(−s)) is 0 where exp(−s) leaves the range of the dtype."""
        return KERNEL * self.u.sums + (1 / self.u.largest if of_gate else 0.0)

    def __getattr__(self, name: str) -> Callable[[Operand], Number]:
        """Functions other than those that a spec can choose."""
        if name not in FIXED:
            raise AttributeError(name)
        return functools.partial(self._activated, name)

    def _activated(self, name: str, s: Operand) -> Number:
        f: Activation = self.functions.named(name)
        stored = self.u.stored if self.u.coarse else 0.0
        own = self._kernel(name == "sigmoid")
        v, e = allowed(f, self.functions.clip_of(name), s.v, s.e, own, self.u.sums, stored)
        return Number(v, self.u.store(v, e) if self.u.coarse else e.add_(self.u.tiny), self.u, is_gate=f.is_gate)

    def constant(self, name: str) -> Number:
        value = torch.tensor(self.functions.constant(name), dtype=self.dtype)
        return Number(value, torch.zeros_like(value), self.u)

    def rest(self, v: Number) -> Number:
        return replace(stored(1 - v.v, v.e.clone(), self.u), is_gate=v.is_gate)

    def peepholes(self) -> tuple[Number, ...]:
        assert self.parameters.weight_ch is not None
        each = self.parameters.weight_ch.reshape(-1, self._units)
        return tuple(Number(p, torch.zeros_like(p), self.u) for p in each)

    def parameter(self, name: str) -> Number:
        w = self.parameters.own[name].flatten()
        return Number(w, torch.zeros_like(w), self.u)

    def lerp(self, n: Number, h: Number, z: Number) -> Number:
        """n + z ⊙ (h − n) or (1 − z) ⊙ n + z ⊙ h, with the larger of the two bounds."""
        n_v, h_v, weight = _alike(n.v, h.v, z.v)  # the cell state before a step is (batch, units)
        d, rest = h_v - n_v, 1 - weight
        v = torch.addcmul(n_v, weight, d)
        if not z.is_gate:
            rest, weight = rest.abs(), weight.abs()
        kept = (rest * n_v).abs_().addcmul_(weight, h_v.abs())
        e = d.abs().mul_(weight)
        e = torch.maximum(e, kept, out=kept).mul_(2).add_(v.abs()).mul_(self.u.stored).add_(3 * self.u.tiny)
        e.addcmul_(rest, n.e).addcmul_(weight, h.e)
        return Number(v, e.addcmul_(d.abs_().add_(n.e).add_(h.e), z.e), self.u)

    def carry(self, f: Number, c: Number, v: Number) -> Number:
        """The cell state for all steps of a chunk; c (batch, units) is that before the chunk."""
        if v.v.dim() < max(f.v.dim(), c.v.dim() + 1):
            like = torch.zeros_like(f.v + c.v[None])
            v = replace(v, v=like + v.v, e=v.e.expand_as(like))
        if f.v.dim() < v.v.dim():  # of parameters alone, or of the cell state before the chunk
            f = replace(f, v=f.v.expand_as(v.v), e=f.e.expand_as(v.v))
        if self.u.regrouped:
            return self._regrouped(f, c, v)
        if not f.is_gate or self.parameters.weight_ch is not None:
            assert len(v.v) == 1, "a chunk is one step where something else than a gate carries the cell state"
            return f * Number(c.v.unsqueeze(0), c.e.unsqueeze(0), c.u) + v
        after = torch.cat([c.v.unsqueeze(0), v.v])
        scan = Scan(f.v)
        scan(c.v, after[1:])
        size = after.abs()
        e = torch.addcmul(v.e, f.e, size[:-1]).add_(size[1:], alpha=2 * self.u.stored)
        if self.u.coarse:
            scan = Scan(torch.add(f.v, f.e))
            e.add_(2 * self.u.tiny)
        return Number(after[1:], scan(c.e, e), self.u)

    def _regrouped(self, f: Number, c: Number, v: Number) -> Number:
        """The same for engines that may compute many steps at once."""
        before = c.sums or TermSums.begin(c.v.abs(), c.each)
        own, sums = regrouped(f.v, v.v, before, self.u)
        after = torch.cat([c.v.unsqueeze(0), Scan(f.v)(c.v, v.v.clone())])
        other = Scan(torch.add(f.v.abs(), f.e))(before.other, torch.addcmul(v.e, f.e, after[:-1].abs()))
        return Number(after[1:], own.add_(other), self.u, sums=replace(sums, other=other[-1]))

    def project(self, m: Number) -> Operand:
        return m if self._hr is None else Product(self, (Rows(m.v, m.e), self._hr))

    def blank(self, v: Tensor, width: int | None = None) -> Tensor:
        """Uninitialised memory like v's, or with rows of another width."""
        return torch.empty_like(v) if width is None else v.new_empty(*v.shape[:-1], width)
