"""Numbers of a few runs at once: one exact, the others disturbed at random by as much as roundings may be.

This is Monte Carlo arithmetic (Parker, Pierce & Eggert 2000). Some replicas draw new roundings at every step; together
these grow as √T. The others draw theirs once and repeat them: on an input that hardly changes an engine rounds the same
numbers the same way at every step, and where the memory is long that grows as T.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.numbers import Array, SmallNumbers
from rnnspect.arithmetic.perturbed_norms import PerturbedNorms
from rnnspect.arithmetic.product_bounds import length, length4
from rnnspect.arithmetic.roundoff import Roundoff
from rnnspect.cells.functions import CHOSEN, FIXED, Nonlinearity
from rnnspect.network.parameters import LayerParameters

REPEATED, FRESH = 4, 4
"""Replicas that repeat the roundings of their first step, and those that draw new ones at every step."""
RUNS = 1 + REPEATED + FRESH
"""The exact run comes first, then the replicas that repeat, then the others, of which the last stores what the engine's
dtype holds."""
_HALF = {2.0**-11: torch.float16, 2.0**-8: torch.bfloat16}
"""The dtype by its unit roundoff."""
_POOL = 2**18
"""Random numbers that are drawn once and read from places that are drawn each time: drawing takes longer than all
else. An operation that needs more of them draws its own."""


class Perturbed(PerturbedNorms, SmallNumbers):
    """Plain numbers of one or both directions of a layer in `RUNS` runs, (directions, RUNS · B, units): the first run
    is exact, the others are disturbed at random by as much as an engine's roundings may be. What an operation gives is
    overwritten in its replicas. Both directions share every operation but the products, since calls cost more than
    numbers."""

    def __init__(
        self, ps: Sequence[LayerParameters], gates: int, nonlinearity: Nonlinearity, u: Roundoff, batch: int
    ) -> None:
        super().__init__(ps[0], gates, nonlinearity)
        self._ps, self._u, self._batch, self._gate_sizes = ps, u, batch, ps[0].gate_sizes(gates)
        self._sum = ps[0].terms ** 0.5 * u.sums + u.stored + u.narrow
        self._w_hh = [np.ascontiguousarray(p.weight_hh.numpy().T) for p in ps]
        self._b_hh = None if self._bias_hh is None else np.stack([_array(p.bias_hh) for p in ps])[:, None]
        self._norms_hh = np.stack([length(p.weight_hh).numpy() for p in ps])[:, None]
        self._w_hr = None if self._weight_hr is None else [_array(p.weight_hr).T for p in ps]
        self._draw, self._place = np.random.default_rng(0), random.Random(0)  # noqa: S311
        self._pool, self._draw.bit_generator.state = _pool()
        self._repeated_input = self._draw.uniform(-1, 1, (len(ps), REPEATED, batch, len(ps[0].weight_ih)))
        self._repeated: list[Array] = []
        self._operation = 0
        for name in (*CHOSEN, *FIXED):
            setattr(self, name, self._disturbed(getattr(self, name)))

    def begin_step(self) -> None:
        """What follows is one step: in each step the same operations come in the same order."""
        self._operation = 0

    def input(self, direction: int, x: Tensor, error: Tensor | None) -> Array:
        """W_ih x + b_ih of one direction's x (steps, B, I), which may be off by `error`: (steps, RUNS · B, G·H)."""
        p, (steps, batch) = self._ps[direction], x.shape[:2]
        s = linear(x, p.weight_ih, p.bias_ih)
        rows = x.flatten(0, 1)
        off = s.abs().addcmul_(length(rows).view(steps, batch, 1), length(p.weight_ih)).mul_(self._sum)
        if not p.has_projection_of_x:
            off.zero_()
        elif self._u.products:
            off += self._rounded_operands(rows, p.weight_ih, s)
        if error is not None:
            off += linear(error.square(), p.weight_ih.square()).sqrt_()
        exact, by = s.numpy()[:, None], off.numpy()[:, None]
        runs = np.empty((steps, RUNS, *s.shape[1:]))
        runs[:, :1] = exact
        runs[:, 1 : 1 + REPEATED] = exact + by * self._repeated_input[direction]
        fresh = by * self._fresh((steps, FRESH, *s.shape[1:]))
        np.add(fresh, exact, out=runs[:, 1 + REPEATED :])
        return runs.reshape(steps, RUNS * batch, -1)

    def hidden(self, h: Array) -> Array:
        s = np.empty((*h.shape[:-1], self._w_hh[0].shape[1]))
        for rows, w, out in zip(h, self._w_hh, s, strict=True):
            np.dot(rows, w, out=out)
        if self._b_hh is not None:
            s += self._b_hh
        own, before = s[:, : self._batch], h[:, : self._batch]
        by = np.abs(own)
        by += np.sqrt(np.einsum("dbk,dbk->db", before, before))[..., None] * self._norms_hh
        by *= self._sum
        if self._u.products:
            for one, rows, sums, p in zip(by, before, own, self._ps, strict=True):
                one += self._rounded_operands(torch.from_numpy(rows), p.weight_hh, torch.from_numpy(sums)).numpy()
        return self._disturb(s, by)

    def _rounded_operands(self, rows: Tensor, w: Tensor, s: Tensor) -> Tensor:
        """What rounding the operands of the products s of the rows with w may change: by its usual size, or all of it
        one way."""
        usual = torch.outer(length4(rows), length4(w)).view(s.shape)
        return usual.add_(s.abs()).mul_(2 * self._u.products)

    def split(self, packed: Array) -> tuple[Array, ...]:
        return tuple([packed[..., block] for block in self._blocks])

    def peepholes(self) -> tuple[Array, ...]:
        each = np.stack([_array(p.weight_ch).reshape(-1, self._units) for p in self._ps], 1)
        return tuple(each[:, :, None])

    def parameter(self, name: str) -> Array:
        each = np.stack([_array(p.own[name].flatten()) for p in self._ps])[:, None]
        return np.repeat(each, RUNS * self._batch, 1)

    def _disturbed(self, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
        return lambda v: self._stored(function(self._in_every_run(v)))

    def _in_every_run(self, v: Array) -> Array:
        """What is made of parameters alone is the same in each run until it is disturbed."""
        whole = RUNS * self._batch
        return v if v.shape[1] == whole else v.repeat(whole, 1)

    def carry(self, f: Array, c: Array, v: Array) -> Array:
        return self._stored(super().carry(f, c, v))

    def lerp(self, n: Array, h: Array, z: Array) -> Array:
        return self._stored(super().lerp(n, h, z))

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
        if self._w_hr is None:
            return m
        return self._stored(np.stack([rows @ w for rows, w in zip(m, self._w_hr, strict=True)]))

    def _stored(self, v: Array) -> Array:
        by = np.abs(v[:, : self._batch])
        by *= self._u.stored
        by += 2 * self._u.sums
        return self._disturb(v, by, FRESH - 1)

    def kept(self, state: Array) -> Array:
        """A new state. The last replica stores what the engine's dtype can hold: beside a long memory each small step
        is lost in it, or counts for more, which no random rounding shows."""
        last = state[:, -self._batch :]
        if self._u.stored == 2.0**-24:
            last[...] = last.astype(np.float32)
        elif self._u.stored in _HALF:
            last[...] = torch.from_numpy(last).to(_HALF[self._u.stored]).double().numpy()
        return state

    def _disturb(self, v: Array, by: Array, fresh: int = FRESH) -> Array:
        """v with its replicas changed by up to `by` (directions, B, units), in place: those that repeat, and so many
        others."""
        directions, batch, units = by.shape
        runs, by = v.reshape(directions, RUNS, batch, units), by[:, None]
        if self._operation == len(self._repeated):
            self._repeated.append(self._draw.uniform(-1, 1, (directions, REPEATED, batch, units)))
        runs[:, 1 : 1 + REPEATED] += self._repeated[self._operation] * by
        runs[:, 1 + REPEATED : 1 + REPEATED + fresh] += self._fresh((directions, fresh, batch, units)) * by
        self._operation += 1
        return v

    def _fresh(self, shape: tuple[int, ...]) -> Array:
        """Uniform in [-1, 1]; not to be written to."""
        count = math.prod(shape)
        if 2 * count > _POOL:
            return self._draw.uniform(-1, 1, shape)
        start = self._place.randrange(_POOL - count)
        return self._pool[start : start + count].reshape(shape)


@functools.cache
def _pool() -> tuple[Array, Any]:
    """The numbers of the pool, and the state of the generator that drew them."""
    draw = np.random.default_rng(0)
    return draw.uniform(-1, 1, _POOL), draw.bit_generator.state


def _array(tensor: Tensor | None) -> Array:
    assert tensor is not None
    return tensor.numpy()
