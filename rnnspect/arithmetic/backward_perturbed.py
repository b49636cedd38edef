"""Going back over the numbers of a few runs at once: one exact run, and others disturbed as in `perturbed.py`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from rnnspect.arithmetic.activations import plain
from rnnspect.arithmetic.norms import compared
from rnnspect.arithmetic.numbers import Array
from rnnspect.arithmetic.perturbed import FRESH, REPEATED, RUNS, Perturbed
from rnnspect.arithmetic.slopes import cancelling, slope
from rnnspect.network.parameters import LayerParameters

_FEW = 8
"""A value hardly moves if it stays within so many roundings of itself."""
_WAYS = np.array(list(itertools.product((1.0, -1.0), repeat=FRESH))[1:-1])
"""Every choice of a side for each of so many replicas, but for the two that put all of them on one side."""


class BackwardPerturbed(Perturbed):
    """Numbers (1, RUNS · B, units) of one direction, with what going back needs (`tape.Backward`)."""

    on_the_way_back: LayerParameters | None = None
    """The weights that it goes back with, where it went forwards with others."""

    @cached_property
    def _moved(self) -> dict[int, tuple[Array, Array]]:
        """By the place of an operation in a step: the least and the largest value of each unit so far."""
        return {}

    @cached_property
    def _kinks(self) -> dict[int, Array]:
        """By the place of an operation in a step: how many kinks each unit has been at, (1, B, units). Each unit counts
        from another number on, so that units at the same kink choose differently."""
        return {}

    def _stored(self, v: Array, one: Any = None) -> Array:
        place, given = self._operation, super()._stored(v, one)
        exact = given[:, : self._batch]
        least, largest = self._moved.setdefault(place, (exact.copy(), exact.copy()))
        np.minimum(least, exact, out=least)
        np.maximum(largest, exact, out=largest)
        return given

    @property
    def hardly_moves(self) -> bool:
        """Whether some value stays within a few of its roundings at all steps, as a gate close to 1 does. An engine may
        then round it up wherever x is positive, say, and down elsewhere: such roundings do not cancel over time."""
        return any(
            bool(((largest > least) & (largest - least <= _FEW * self._u.stored * np.abs(largest))).any())
            for least, largest in self._moved.values()
        )

    def slope(self, function: str, s: Array, v: Array) -> Array:
        """The derivative. In some replicas it is that of numbers slightly above s, in others that of numbers slightly
        below: if s is exactly at a kink, as with weights of zero, an engine may use either (`_sides`)."""
        f, clip = self.functions.named(function), self.functions.clip_of(function)
        at, value = torch.from_numpy(s), torch.from_numpy(v)
        size = cancelling(f, at[:, : self._batch], value[:, : self._batch])
        if f.name in ("sigmoid", "tanh") and clip is None:
            # From the value, which is disturbed itself. An engine may have 1 − v here from another rounding than
            # where v is used: as σ(−s), say.
            return self._kept(slope(f, clip, at, value).numpy().copy(), self._u.stored * size.numpy())

        def derivative(at: torch.Tensor) -> Array:
            return slope(f, clip, at, plain(f, clip)(at)).numpy()

        exact = at[:, : self._batch].repeat(1, RUNS, 1)
        far = (at - exact).abs_() + at.abs().add_(1).mul_(self._step_aside)
        own, most = exact[:, : self._batch], far.view(RUNS, self._batch, -1).amax(0)
        sides = self._sides(derivative(own + most) != derivative(own - most))
        found = derivative(torch.addcmul(exact, far, torch.from_numpy(sides))).copy()
        if f.name == "softplus":
            found += self._left_out(s)
        return self._kept(found, 2 * self._u.stored * size.numpy())

    def _sides(self, kinked: Array) -> Array:
        """On which side of a kink the numbers of each run are: above (1), below (−1), or where they are (0), as those
        of the exact run. `kinked` (1, B, units) says whether a number may be on either side; (1, RUNS · B, units).

        A replica that repeats its roundings stays on its side, however far these carry it, since an engine with exact
        sums, as of whole numbers, is on the same side at every kink. The roundings of other engines put one sum above
        its kink and another below, whose terms may cancel. So the other replicas make another choice at each kink of a
        unit: at two that follow each other, at least one of them is on different sides.
        """
        counts = self._kinks.setdefault(self._operation, np.arange(kinked.size).reshape(kinked.shape))
        sides = np.zeros((RUNS, *kinked.shape[1:]))
        sides[1 : 1 + REPEATED : 2], sides[2 : 1 + REPEATED : 2] = 1, -1
        sides[1 + REPEATED :] = np.moveaxis(_WAYS[counts[0] % len(_WAYS)], -1, 0)
        counts += kinked
        return sides.reshape(1, -1, kinked.shape[-1])

    def larger(self, v: Array, w: Array) -> Array:
        """Which of v and w is larger, for numbers slightly above or below v, as in `slope`."""
        far = (np.abs(v) + 1) * self._step_aside
        exact, other, aside = (each[:, : self._batch] for each in (v, w, far))
        sides = self._sides(compared(exact + aside, other) != compared(exact - aside, other))
        found: Array = compared(v + sides * far, w)
        return found

    @property
    def _step_aside(self) -> float:
        """How far these numbers are from v: a few roundings of its sums, or of what is stored on the way."""
        return max(8 * self._u.sums, 4 * self._u.stored)

    def transposed(self, weight: str, g: Array) -> Array:
        p = self.on_the_way_back or self._ps[0]
        w: Array = p[weight].numpy()
        product = g @ w
        before = g[:, : self._batch]
        by = np.abs(product[:, : self._batch])
        if self._u.coarse and sum(self._gate_sizes) == len(w):  # the product with the rows of each gate may be stored
            edges = np.cumsum(self._gate_sizes[:-1])
            parts = zip(np.split(before, edges, -1), np.split(w, edges), strict=True)
            by = np.sum([np.abs(of @ rows) for of, rows in parts], 0)
        by += np.abs(before) @ np.abs(w)
        by *= len(w) ** 0.5 * self._u.sums + self._u.stored + self._u.narrow + 2 * self._u.products
        by += self._u.tiny
        return self._disturb(product, by)

    def joined(self, blocks: Sequence[Array | None]) -> Array:
        like = next(block for block in blocks if block is not None)
        sizes = self._ps[0].gate_sizes(len(blocks))
        zeros = [np.zeros((*like.shape[:-1], size)) for size in sizes]
        return np.concatenate([none if block is None else block for none, block in zip(zeros, blocks, strict=True)], -1)

    def times(self, g: Array, v: Array) -> Array:
        return self._kept(g * v)

    def plus(self, g: Array, other: Array) -> Array:
        return self._kept(g + other)

    def minus(self, v: Array, other: Array) -> Array:
        return self._kept(v - other)

    def negative(self, v: Array) -> Array:
        return -v

    def one(self) -> float:
        return 1.0

    def before(self, c: Array, after: Array) -> Array:
        del after
        return c

    def _kept(self, v: Array, more: Array | float = 0.0) -> Array:
        """v in new memory, with a rounding in each replica: a relative one, as gradients have any size. `more` is an
        additional absolute error."""
        by = np.abs(v[:, : self._batch])
        by *= self._u.stored + 2 * self._u.sums
        by += self._u.tiny + more
        return self._disturb(v, by)
