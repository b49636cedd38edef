"""Layer norm, RMS norm and the larger of two values, on a tape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rnnspect.arithmetic.norms import Norm, Norms


class Apart(tuple[Any, ...]):
    """Values that were made together, but are no blocks of gates: each has a gradient of its own."""


class TapeNorms(Norms):
    """The norms of `Tape`. Their edges are "norm" for all blocks together, and "maximum" for either value."""

    a: Any
    edge: Callable[..., None]
    times: Callable[[Any, Any], Any]

    def normalised(self, blocks: Sequence[Any], norm: Norm) -> tuple[Any, ...]:
        a, node = self.a, type(blocks[0])
        values = tuple(block.value for block in blocks)
        results = a.normalised(values, norm)
        made = Apart(node(self, value) for value in results)
        whole = node(self, None)  # its gradient is that of each block

        def back(gradients: Any) -> Any:
            return a.through_norm(gradients, values, results, norm)

        self.edge("norm", whole, made, back)
        for place, block in enumerate(blocks):
            self.edge("block", block, whole, partial(_at, place))
        return made

    def maximum(self, v: Any, w: Any) -> Any:
        a, one, other = self.a, v.value, w.value
        made = type(v)(self, a.maximum(one, other))
        self.edge("maximum", v, made, lambda g: self.times(g, a.larger(one, other)))
        self.edge("maximum", w, made, lambda g: self.times(g, a.larger(other, one)))
        return made


def _at(place: int, blocks: Sequence[Any]) -> Any:
    return blocks[place]
