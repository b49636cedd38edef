"""Numbers with their bound: how far a correct engine may be from the equations, in any order of evaluation.

Values are (steps, batch, units). Products and differences stay deferred until they are used: a gate's two
products then land in one buffer and share one bound, and n + z ⊙ (h − n) is not charged for n's error twice.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from rnnspect.arithmetic.activations import allowed
from rnnspect.arithmetic.products import Block, Rows, affine, fuses, length4, squashed
from rnnspect.arithmetic.scan import Scan
from rnnspect.cells.functions import RELU, functions_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from rnnspect.arithmetic.roundoff import Roundoff
    from rnnspect.cells.functions import Activation, Nonlinearity
    from rnnspect.network.parameters import LayerParameters

KERNEL = 12.0
"""σ and tanh err by so many u, absolute: a relative allowance fails correct kernels in closed gates. torch's and
numpy's err by 4; the rational functions of onnxruntime's GRU were measured at 10.2, past ±1 where they saturate."""
STEEP = 0.1
"""From this error on the slope is taken at the near end of s ± e."""
_MANY = 512


class Number:
    """A value and how far a correct engine's may be from it."""

    positive = False
    """Whether every value is in [0, 1], as a gate's is."""
    leads = False
    """Whether it knows best what a sum with another number is."""

    def __init__(self, v: Tensor, e: Tensor, u: Roundoff, rows: Rows | None = None) -> None:
        self.v, self.e, self.u = v, e, u
        self.rows = rows  # the whole vector, where v is one unit of it

    def settle(self) -> Number:
        return self

    def rounded(self, v: Tensor, e: Tensor) -> Number:
        return Number(v, self.u.store(v, e), self.u)

    def __add__(self, other: Number) -> Number:
        if isinstance(other, Scaled) and other.of.q is self:
            return other.onto()
        if other.leads:
            return other + self
        p, q = self.settle(), other.settle()
        return p.rounded(p.v + q.v, p.e + q.e)

    def __sub__(self, other: Number) -> Number:
        return Difference(self.settle(), other.settle())

    def __mul__(self, other: Number) -> Number:
        if isinstance(other, Difference):
            return Scaled(self.settle(), other)
        p, q = self.settle(), other.settle()
        v, size = p.v * q.v, p.v if p.positive else p.v.abs()
        if self.u.coarse:
            return p.rounded(v, q.v.abs().add_(q.e).mul_(p.e).addcmul_(size, q.e))
        e = q.v.abs().mul_(torch.add(p.e, size, alpha=self.u.stored))  # p's error, and the product's rounding
        return Number(v, e.addcmul_(size, q.e).addcmul_(p.e, q.e), self.u)


class _Deferred(Number):
    """A number that is computed when it is first asked for."""

    def __init__(self, u: Roundoff) -> None:
        self.u, self.rows = u, None

    @cached_property
    def _number(self) -> Number:
        raise NotImplementedError

    def settle(self) -> Number:
        return self._number

    @property
    def v(self) -> Tensor:  # type: ignore[override]
        return self._number.v

    @property
    def e(self) -> Tensor:  # type: ignore[override]
        return self._number.e


class Difference(_Deferred):
    def __init__(self, p: Number, q: Number) -> None:
        super().__init__(p.u)
        self.p, self.q = p, q

    @cached_property
    def _number(self) -> Number:
        return self.rounded(self.p.v - self.q.v, self.p.e + self.q.e)


class Scaled(_Deferred):
    def __init__(self, z: Number, of: Difference) -> None:
        super().__init__(z.u)
        self.z, self.of = z, of

    @cached_property
    def _number(self) -> Number:
        return self.z * self.of.settle()

    def onto(self) -> Number:
        """q + z (p − q), computed so or as (1 − z) q + z p: whichever rounds worse is charged."""
        z, p, q = self.z, self.of.p, self.of.q
        d, rest = p.v - q.v, 1 - z.v
        v = torch.addcmul(q.v, z.v, d)
        if not z.positive:
            rest, z = rest.abs(), Number(z.v.abs(), z.e, z.u)
        kept = (rest * q.v).abs_().addcmul_(z.v, p.v.abs())
        e = d.abs().mul_(z.v)
        e = torch.maximum(e, kept, out=kept).mul_(2).add_(v.abs()).mul_(self.u.stored).add_(3 * self.u.tiny)
        e.addcmul_(rest, q.e).addcmul_(z.v, p.e)
        return Number(v, e.addcmul_(d.abs_().add_(q.e).add_(p.e), z.e), self.u)


class Product(_Deferred):
    """W x + b + W' x' + b', not computed yet."""

    def __init__(self, a: Bounded, terms: tuple[tuple[Rows, Block], ...]) -> None:
        super().__init__(a.u)
        self.a, self.terms = a, terms

    def __add__(self, other: Number) -> Number:
        if isinstance(other, Product):
            return Product(self.a, self.terms + other.terms)
        return super().__add__(other)

    def sum(self, then: str = "none") -> Tensor:
        """f of the sum, (steps, batch, units); f is one that `products.squashed` knows."""
        (rows, block), *others = self.terms
        if len(others) == 1 and (joined := self.a.joined(rows, block, others[0][1])):
            v = affine(rows.beside(others[0][0]), *joined, then=then)
        else:
            v = affine(rows.v, block.w, block.b, then="none" if others else then)
            for other, its in others:
                v = affine(other.v, its.w, its.b, v, then)
        return v.view(*rows.shape, -1)

    @cached_property
    def room(self) -> Tensor:
        """How far the sum may be off, (steps, batch, units)."""
        return self.a.allowance(self.terms).view(*self.terms[0][0].shape, -1)

    @cached_property
    def _number(self) -> Number:
        rows, e = self.terms[0][0], self.room
        if not self.a.u.coarse:
            v = self.sum()
            return Number(v, e.add_(v.abs(), alpha=2 * self.u.products) if self.u.products else e, self.u)
        v = torch.zeros(())
        for r, block in self.terms:  # each product is stored, with its bias, and their sum
            part = affine(r.v, block.w, None).view(*rows.shape, -1)
            self.u.store(part, e)
            if block.b is not None:
                self.u.store(part.add_(block.b), e)
            v = v + part
            self.u.store(v, e)
        return Number(v, e, self.u)


class Packed(_Deferred):
    """One product a gate."""

    def __init__(self, blocks: list[Product]) -> None:
        super().__init__(blocks[0].u)
        self.blocks = blocks


class Bounded:
    """The arithmetic of one layer and direction over numbers with their bound."""

    def __init__(self, p: LayerParameters, gates: int, u: Roundoff, nonlinearity: Nonlinearity = "tanh") -> None:
        self.parameters, functions = p, functions_of(nonlinearity)
        self.u, self._relu = u, functions.phi == RELU
        self._chosen = None if functions.are_usual else functions
        self._units = p.weight_hh.shape[0] // gates
        terms = p.weight_ih.shape[1] + p.weight_hh.shape[1] + 2

        def blocks(w: Tensor, b: Tensor | None, known: tuple[float, float]) -> list[Block]:
            biases = [None] * gates if b is None else b.chunk(gates)
            return [Block(rows, bias, terms, u, known) for rows, bias in zip(w.chunk(gates), biases, strict=True)]

        self._ih = blocks(p.weight_ih, p.bias_ih, (0.0, 0.0))
        self._hh = blocks(p.weight_hh, p.bias_hh, (u.relative, u.absolute))
        self._hr = None if p.weight_hr is None else Block(p.weight_hr, None, p.weight_hr.shape[1], u, (0.0, 0.0))
        self.dtype = p.weight_ih.dtype
        self._offsets: dict[tuple[Block, ...], Tensor] = {}
        self._joined: dict[tuple[Block, Block], tuple[Tensor, Tensor | None] | None] = {}

    def observed(self, h: Tensor, unit: int | None = None) -> Number:
        """The engine's h of the step before; of one hidden unit, which the whole vector acts on."""
        rows, v = Rows(h), h if unit is None else h[..., unit, None]
        e = torch.zeros((), dtype=v.dtype)
        if self.u.relative or self.u.absolute:
            e = v.abs().mul_(self.u.relative).add_(self.u.absolute)
        return Number(v, e, self.u, rows)

    def allowance(self, terms: tuple[tuple[Rows, Block], ...]) -> Tensor:
        """λ√k·u_a (‖w‖‖x‖ + |b|), summed over the products that land in one number."""
        blocks = tuple(block for _, block in terms)
        if blocks not in self._offsets:
            self._offsets[blocks] = torch.stack([block.offset for block in blocks]).sum(0)
        (rows, block), *others = terms
        e = torch.addcmul(self._offsets[blocks], rows.norm.unsqueeze(1), block.slope)
        for rows, block in others:
            e.addcmul_(rows.norm.unsqueeze(1), block.slope)
        for rows, block in terms:
            if rows.error is not None:
                e.addr_(rows.error, block.length)
            if block.rounded is not None:
                e.addr_(length4(rows.v), block.rounded)
        return e

    def joined(self, rows: Rows, one: Block, other: Block) -> tuple[Tensor, Tensor | None] | None:
        """[W W'] and b + b', with which two products are one: their sum is charged for it already.

        None the first time, and where few units share the copy of the rows: they do not pay for it.
        """
        if len(self._hh) * len(one.w) < _MANY or not fuses(rows.v, one.w):
            return None
        if (one, other) not in self._joined:
            self._joined[one, other] = None
        elif self._joined[one, other] is None:
            b = None if one.b is None or other.b is None else one.b + other.b
            self._joined[one, other] = torch.cat([one.w, other.w], 1), b
        return self._joined[one, other]

    def input(self, x: Tensor, error: Tensor | None = None) -> Number:
        """W_ih x + b_ih; `error` says how far the x that the engine had may be from this one."""
        rows = Rows(x, error)
        return Packed([Product(self, ((rows, block),)) for block in self._ih])

    def hidden(self, h: Number) -> Number:
        rows = h.rows or Rows(h.v, h.e)  # r ⊙ h is computed, and has an error of its own
        return Packed([Product(self, ((rows, block),)) for block in self._hh])

    def split(self, packed: Number) -> tuple[Number, ...]:
        assert isinstance(packed, Packed)
        return tuple(packed.blocks)

    def gates(self, u: Number, h: Number) -> tuple[Number, ...]:
        return tuple(p + q for p, q in zip(self.split(u), self.split(self.hidden(h)), strict=True))

    def sigmoid(self, s: Number) -> Number:
        if self._chosen:
            return self._activated("sigmoid", s)
        gate = self._smooth(s, "sigmoid", sigmoid_slope, 1.0)
        gate.positive = True
        return gate

    def tanh(self, s: Number) -> Number:
        if self._chosen:
            return self._activated("tanh", s)
        return self._smooth(s, "tanh", tanh_slope, 2.0)

    def _smooth(self, s: Number, name: str, slope: Callable[[Tensor], Tensor], span: float) -> Number:
        if isinstance(s, Product) and not self.u.coarse and not self.u.products:
            v, room = s.sum(name), s.room
        else:
            v, room = squashed(s.v, name), s.e
        peak = float(room.max())
        if peak < STEEP:  # both slopes grow by at most exp(2e) within ± e
            e = slope(v).mul_(room).mul_(math.exp(2 * peak)).add_(KERNEL * self.u.sums)
        else:
            steepest = slope(squashed((s.v.abs() - room).clamp_(min=0), name))
            e = (steepest * room).clamp_(max=span).nan_to_num_(span).add_(KERNEL * self.u.sums)
        if self.u.coarse:
            e.add_(v.abs(), alpha=self.u.stored).add_(self.u.tiny)
        return Number(v, e, self.u)

    def squash(self, c: Number) -> Number:
        return self._activated("squash", c) if self._chosen else self.tanh(c)

    def _activated(self, name: str, s: Number) -> Number:
        s = s.settle()
        assert self._chosen
        f: Activation = getattr(self._chosen, name)
        v, e = allowed(f, self._chosen.clip_of(name), s.v, s.e, KERNEL * self.u.sums, self.u.sums)
        found = Number(v, self.u.store(v, e) if self.u.coarse else e.add_(self.u.tiny), self.u)
        found.positive = f.is_gate
        return found

    def rest(self, v: Number) -> Number:
        v = v.settle()
        rest = v.rounded(1 - v.v, v.e.clone())
        rest.positive = v.positive
        return rest

    def peepholes(self) -> tuple[Number, ...]:
        assert self.parameters.weight_ch is not None
        each = self.parameters.weight_ch.reshape(-1, self._units)
        return tuple(Number(p, torch.zeros_like(p), self.u) for p in each)

    def phi(self, s: Number) -> Number:
        if self._chosen:
            return self._activated("phi", s)
        if not self._relu:
            return self.tanh(s)
        s = s.settle()
        v = s.v.relu()
        e = s.e * (s.v > -s.e)  # next to the kink a correct engine may be on its other side
        return Number(v, e.add_(v, alpha=self.u.stored).add_(self.u.tiny), self.u)

    def carry(self, f: Number, c: Number, v: Number) -> Number:
        """c.v and c.e are of the step before the chunk."""
        if not f.positive or self.parameters.weight_ch is not None:  # then a chunk is one step
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

    def blank(self, v: Tensor) -> Tensor:
        """Memory for what a look makes of its values."""
        return torch.empty_like(v)

    def project(self, m: Number) -> Number:
        return m if self._hr is None else Product(self, ((Rows(m.v, m.e), self._hr),))


def sigmoid_slope(v: Tensor) -> Tensor:
    return torch.addcmul(v, v, v, value=-1)


def tanh_slope(v: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.addcmul(torch.ones((), dtype=v.dtype), v, v, value=-1, out=out)
