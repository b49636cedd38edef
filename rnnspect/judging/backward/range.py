"""Where a number of a pass that was not seen may leave the range of its dtype, even if the results do not.

Engines add up products in an order of their own, but no partial sum of Σ w v is above ‖w‖‖v‖. Where that is above the
largest number, some order may give infinity, and nothing is known of the engine from there on.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from rnnspect.arithmetic.numbers import Array
from rnnspect.network.parameters import LayerParameters


class Range:
    """Watches the exact run of a layer and direction, which is in the first rows of a `batch`."""

    def __init__(self, p: LayerParameters, largest: float, batch: int) -> None:
        self._largest, self._batch = largest, batch
        weights = [w.numpy() for w in (p.weight_ih, p.weight_hh)]
        self._rows = [_longest(w, 1) for w in weights]
        self._columns = max(_longest(w, 0) for w in weights)
        self._bias = sum(float(b.abs().max()) for b in (p.bias_ih, p.bias_hh) if b is not None)
        self.over = np.zeros(batch, dtype=bool)
        """(B,): the items of which nothing is known any more."""

    def copy(self) -> Range:
        """A copy, which watches on by itself."""
        other = copy.copy(self)
        other.over = self.over.copy()
        return other

    def forwards(self, inside: Array, x: Array, state: Sequence[Array]) -> None:
        """Looks at a step forwards, from x (·, I) and the states before it; `inside` (B,) says which items have that
        step."""
        h, *c = state
        size = self._rows[0] * self._length(x) + self._rows[1] * self._length(h[0]) + self._bias
        self._watch(inside, size, *(self._most(one) for one in c))

    def back(self, inside: Array, g: Array, state: Sequence[Array], others: Sequence[Array]) -> None:
        """Looks at a step back: at dL/d of its pre-activations, the states before it, and gradients of states, which
        are multiplied by the states on the way, and added up."""
        most = np.maximum(1.0, np.max([self._most(one) for one in state], axis=0))
        self._watch(inside, self._columns * self._length(g[0]) + most * sum(self._most(one) for one in others))

    def _length(self, rows: Array) -> Array:
        length: Array = np.linalg.norm(rows[: self._batch], axis=1)
        return length

    def _most(self, values: Array) -> Array:
        most: Array = np.abs(values[0, : self._batch]).max(1)
        return most

    def _watch(self, inside: Array, *sizes: Array) -> None:
        for size in sizes:
            self.over |= ~(size <= self._largest) & inside


def _longest(w: Array, axis: int) -> float:
    return float(np.linalg.norm(w, axis=axis).max())
