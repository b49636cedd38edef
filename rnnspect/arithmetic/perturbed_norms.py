"""Layer norm, RMS norm and the larger of two values, over one exact run and disturbed ones (`perturbed.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rnnspect.arithmetic.norms import Norm, PlainNorms, apart, beside, in_one, known, pulled, shares
from rnnspect.arithmetic.numbers import Array
from rnnspect.arithmetic.roundoff import Roundoff


class PerturbedNorms(PlainNorms):
    """(directions, runs · batch, units): the errors of the mean and the deviation are drawn for each unit."""

    _u: Roundoff
    _batch: int
    _disturb: Callable[[Array, Array], Array]

    def normalised(self, blocks: Sequence[Array], norm: Norm) -> tuple[Array, ...]:
        v = norm.by_head(beside(blocks))
        y, s = shares(v, self.functions.constant(norm.eps), norm.centred)
        sizes, lost = self._lost(v, s)
        size = np.abs(y[:, : self._batch])
        by = (size + norm.centred) * lost + (4 * size + sizes) * self._u.stored
        return apart(self._disturb(in_one(y), in_one(by)), len(blocks))

    def through_norm(
        self, gradients: Sequence[Array | None], blocks: Sequence[Array], made: Sequence[Array], norm: Norm
    ) -> tuple[Array, ...]:
        g, v = norm.by_head(beside(known(gradients, made))), norm.by_head(beside(blocks))
        y, s = shares(v, self.functions.constant(norm.eps), norm.centred)
        found, exact = pulled(g, y, s, norm.centred), slice(self._batch)
        sizes, lost = self._lost(v, s)
        g, y, s = np.abs(g[:, exact]), np.abs(y[:, exact]), s[:, exact]
        along = (g * sizes).mean(-1, keepdims=True)
        by = (g + sizes * along) * (lost + 4 * self._u.stored) / s + self._u.tiny
        return apart(self._disturb(in_one(found), in_one(by)), len(blocks))

    def _lost(self, v: Array, s: Array) -> tuple[Array, Array]:
        """(|v| + |m|) / s of the exact run, and the error of a sum over the units, relative to s."""
        exact, s = v[:, : self._batch], s[:, : self._batch]
        sizes: Array = (np.abs(exact) + np.abs(exact.mean(-1, keepdims=True))) / s
        lost: Array = (sizes**2).mean(-1, keepdims=True) * (self._u.sums * exact.shape[-1] ** 0.5)
        return sizes, lost
