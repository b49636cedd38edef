"""Numbers of a few runs at once: one exact, the others disturbed at random by as much as roundings may be.

This is Monte Carlo arithmetic (Parker, Pierce & Eggert 2000). Some replicas draw new roundings at every step; together
these grow as √T. The others draw theirs once and repeat them: on an input that hardly changes an engine rounds the same
numbers the same way at every step, and where the memory is long that grows as T.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.activations import left_out
from rnnspect.arithmetic.both_directions import BothDirections
from rnnspect.arithmetic.numbers import Array, SmallNumbers
from rnnspect.arithmetic.perturbed_norms import PerturbedNorms
from rnnspect.arithmetic.product_bounds import length, length4
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.cells.functions import CHOSEN, FIXED, Nonlinearity
from rnnspect.network.parameters import LayerParameters

REPEATED, FRESH = 4, 4
"""The number of replicas that repeat the roundings of their first step, and of those that draw new ones at every
step."""
RUNS = 1 + REPEATED + FRESH
"""The exact run comes first, then the replicas that repeat, then the others; the last of these stores its state in the
engine's dtype."""
_HALF = {2.0**-11: torch.float16, 2.0**-8: torch.bfloat16}
"""The dtype by its unit roundoff."""
_POOL = 2**18
"""So many random numbers are drawn once, and read from a place that is drawn each time: drawing would take longer than
everything else. An operation that needs more numbers draws its own."""


class Perturbed(PerturbedNorms, BothDirections):
    """Plain numbers of one or both directions of a layer in `RUNS` runs, (directions, RUNS · B, units): the first run
    is exact, the others are disturbed at random by as much as an engine's roundings may be. What an operation gives is
    overwritten in its replicas.
    """

    def __init__(
        self, ps: Sequence[LayerParameters], gates: int, nonlinearity: Nonlinearity, u: Roundoff, batch: int
    ) -> None:
        super().__init__(ps, gates, nonlinearity)
        self._u, self._batch = u, batch
        self._sum = ps[0].terms ** 0.5 * u.sums + u.stored + u.narrow
        self._norms_ih = [length(p.weight_ih) for p in ps]
        self._norms_hh, self._norms4_hh = (
            self.in_pieces([norm(p.weight_hh)[None] for p in ps]) for norm in (length, length4)
        )
        self._draws, self._operations, self._operation = _Draws(), list[_Operation](), 0
        for name in (*CHOSEN, *FIXED):
            setattr(self, name, self._rounded(name, getattr(self, name)))
        # Of the replicas that repeat, and of the others, half have softplus as torch has it.
        self._as_torch = np.tile([[0.0], [1.0]], (RUNS, 1))[:RUNS].repeat(batch, 0)

    def begin_step(self) -> None:
        """Begins a step. In each step the same operations have to be called in the same order."""
        self._operation = 0

    def of_x(self, given: Sequence[tuple[Tensor, Tensor | None]]) -> tuple[Array, Array]:
        """W_ih x + b_ih, and how far an engine's may be from it, of each direction's x (steps, B, I), which may be off
        by the other tensor: (steps, gates, directions, B, units) each."""
        each = [self._of_x(*one) for one in zip(self._ps, self._norms_ih, *zip(*given, strict=True), strict=True)]
        s, off = (self.by_step(both) for both in zip(*each, strict=True))
        return s, off

    def _of_x(self, p: LayerParameters, norms: Tensor, x: Tensor, error: Tensor | None) -> tuple[Tensor, Tensor]:
        s = linear(x, p.weight_ih, p.bias_ih)
        rows = x.flatten(0, 1)
        off = s.abs().addcmul_(length(rows).view(*x.shape[:2], 1), norms).mul_(self._sum)
        if not p.has_projection_of_x:
            off.zero_()
        elif self._u.products:
            usual = torch.outer(length4(rows), length4(p.weight_ih)).view(s.shape)
            off += usual.add_(s.abs()).mul_(2 * self._u.products)
        if error is not None:
            off += linear(error.square(), p.weight_ih.square()).sqrt_()
        return s, off

    def input(self, s: Array, off: Array) -> Array:
        """The result of `of_x` for one step, in every run."""
        one = self._next((*s.shape[:2], RUNS * self._batch, s.shape[3]))
        one.runs[...] = s[:, :, None]
        one.by[...] = off
        return one.disturbed(one.result)

    def hidden(self, h: Array) -> Array:
        one = self._next((*self._w_hh.shape[:2], RUNS * self._batch, self._w_hh.shape[-1]))
        s, by = np.matmul(h, self._w_hh, out=one.result), one.by
        if self._b_hh is not None:
            s += self._b_hh
        before = h[:, : self._batch]
        size = np.abs(s[:, :, : self._batch])
        np.multiply(np.sqrt(np.einsum("dbk,dbk->db", before, before))[..., None], self._norms_hh, out=by)
        by += size
        by *= self._sum
        if self._u.products:  # what rounding their operands may change: by its usual size, or all of it one way
            lengths = length4(torch.from_numpy(before).flatten(0, 1)).numpy().reshape(*before.shape[:2], 1)
            by += (size + lengths * self._norms4_hh) * (2 * self._u.products)
        return one.disturbed(s)

    def parameter(self, name: str) -> Array:
        return np.repeat(super().parameter(name), RUNS * self._batch, 1)

    def _rounded(self, name: str, function: Callable[..., Array]) -> Callable[[Array], Array]:
        """The function, with its result stored."""
        if self.functions.named(name).name == "softplus":
            return lambda v: self._stored(function(v := self._in_every_run(v)) - self._left_out(v))
        if function not in (np.tanh, SmallNumbers.sigmoid):
            return lambda v: self._stored(function(self._in_every_run(v)))

        def rounded(v: Array) -> Array:
            one = self._next((*v.shape[:-2], RUNS * self._batch, v.shape[-1]), FRESH - 1)
            return self._stored(function(self._in_every_run(v), one.result), one)

        return rounded

    def _left_out(self, s: Array) -> Array:
        """What softplus(s) is above that of torch, in the replicas that have that."""
        found: Array = self._as_torch * left_out(torch.from_numpy(s)).numpy()
        return found

    def _in_every_run(self, v: Array) -> Array:
        """A value made of parameters alone, the same in each run until it is disturbed."""
        whole = RUNS * self._batch
        return v if v.shape[1] == whole else v.repeat(whole, 1)

    def carry(self, f: Array, c: Array, v: Array) -> Array:
        one = self._next(c.shape, FRESH - 1)
        kept = np.multiply(f, c, out=one.result)
        kept += v
        return self._stored(kept, one)

    def lerp(self, n: Array, h: Array, z: Array) -> Array:
        one = self._next(h.shape, FRESH - 1)
        mixed = np.subtract(h, n, out=one.result)
        mixed *= z
        mixed += n
        return self._stored(mixed, one)

    def outer(self, k: Array, v: Array, heads: int = 1) -> Array:
        return self._stored(super().outer(k, v, heads))

    def by_key(self, s: Array, q: Array, heads: int = 1) -> Array:
        return self._summed_up(super().by_key(s, q, heads), super().by_key(s * s, q * q, heads), len(q[0, 0]) // heads)

    def by_value(self, s: Array, v: Array, heads: int = 1) -> Array:
        squares = super().by_value(s * s, v * v, heads)
        return self._summed_up(super().by_value(s, v, heads), squares, len(v[0, 0]) // heads)

    def delta(self, s: Array, f: Array | None, b: Array, k: Array, v: Array, heads: int = 1) -> Array:
        return self._stored(super().delta(s, f, b, k, v, heads))

    def carry_complex(self, p: Array, q: Array, c: Array, v: Array) -> Array:
        return self._stored(super().carry_complex(p, q, c, v))

    def _summed_up(self, v: Array, squares: Array, terms: int) -> Array:
        """Sums of so many products, disturbed; `squares` is Σ of the squares of the products."""
        size = np.abs(v[:, : self._batch]) + np.sqrt(terms * squares[:, : self._batch])
        return self._disturb(v, size * (terms**0.5 * self._u.sums + self._u.stored + self._u.narrow))

    def project(self, m: Array) -> Array:
        m = self._stored(m)
        return m if self._w_hr is None else self._stored(super().project(m))

    def _stored(self, v: Array, one: _Operation | None = None) -> Array:
        """v as an engine stores it; `one` is the operation that gave it, if that has begun."""
        one = one or self._next(v.shape, FRESH - 1)
        by = np.abs(v[:, : self._batch], out=one.by)
        by *= self._u.stored
        by += 2 * self._u.sums
        return one.disturbed(v)

    def kept(self, state: Array) -> Array:
        """A new state. In the last replica it is stored in the engine's dtype: with a long memory each small change is
        lost in it, or is rounded up, which random roundings do not show."""
        last = state[:, -self._batch :]
        if self._u.stored == 2.0**-24:
            last[...] = last.astype(np.float32)
        elif self._u.stored in _HALF:
            last[...] = torch.from_numpy(last).to(_HALF[self._u.stored]).double().numpy()
        return state

    def _disturb(self, v: Array, by: Array) -> Array:
        """v with its replicas changed by up to `by` (…, B, units), in place."""
        one = self._next(v.shape)
        one.by[...] = by
        return one.disturbed(v)

    def _next(self, shape: tuple[int, ...], fresh: int = FRESH) -> _Operation:
        """The next operation of this step, whose values have that shape."""
        if self._operation == len(self._operations):
            self._operations.append(_Operation(self._draws, shape, self._batch, fresh))
        self._operation += 1
        return self._operations[self._operation - 1]


class _Operation:
    """One of the operations of a step. It disturbs its replicas, those that repeat and the others, and uses the same
    memory at every step."""

    def __init__(self, draws: _Draws, shape: tuple[int, ...], batch: int, fresh: int) -> None:
        *places, rows, units = shape
        self._draws, self._shape = draws, (*places, rows // batch, batch, units)
        self.result, self.by = _room(*shape), _room(*places, batch, units)
        self.runs = self.result.reshape(self._shape)
        noise = _room(*places, REPEATED + fresh, batch, units)
        noise[...] = draws.new(noise.shape)
        self._noise, self._anew = torch.from_numpy(noise), noise[..., REPEATED:, :, :]
        self._limit, self._replicas = torch.from_numpy(self.by).unsqueeze(-3), self._replicas_of(self.result)

    def _replicas_of(self, v: Array) -> Tensor:
        return torch.from_numpy(v).view(self._shape)[..., 1 : 1 + self._noise.shape[-3], :, :]

    def disturbed(self, v: Array) -> Array:
        """v with its replicas changed by up to `by`, in place where v is contiguous."""
        v = np.ascontiguousarray(v)
        self._draws.fill(self._anew)
        replicas = self._replicas if v is self.result else self._replicas_of(v)
        replicas.addcmul_(self._noise, self._limit)  # one pass over them, where numpy takes two
        return v


def _room(*shape: int) -> Array:
    """Memory from torch. numpy's may be unaligned, so that reading and writing takes up to twice as long."""
    return torch.empty(shape, dtype=torch.float64).numpy()


class _Draws:
    """Random numbers, uniform in [-1, 1]."""

    def __init__(self) -> None:
        self._draw, self._place = np.random.default_rng(0), random.Random(0)  # noqa: S311
        self._pool, self._draw.bit_generator.state = _pool()

    def new(self, shape: tuple[int, ...]) -> Array:
        return self._draw.uniform(-1, 1, shape)

    def fill(self, out: Array) -> None:
        if 2 * out.size > _POOL:
            out[...] = self.new(out.shape)
            return
        start = self._place.randrange(_POOL - out.size)
        out[...] = self._pool[start : start + out.size].reshape(out.shape)


@functools.cache
def _pool() -> tuple[Array, Any]:
    """The numbers of the pool, and the state of the generator that drew them."""
    draw = np.random.default_rng(0)
    return draw.uniform(-1, 1, _POOL), draw.bit_generator.state
