"""One layer of a long run in pieces of its steps, with the states, and the gradients of states, at their edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspect.checking.exposed import of_layer, one_layer, own_parameters
from rnnspect.network.gradients import Upstream
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec


@dataclass(frozen=True)
class Piece:
    """Some steps of a layer, with the items of the batch that have at least one of them."""

    start: int
    items: Tensor
    """The items of the batch."""
    run: Sequence
    """The input of the layer in these steps, with the states (D, B, ·) that its directions start from: the forward one
    at the first step, the reverse one after the last."""

    @property
    def stop(self) -> int:
        return self.start + self.run.steps

    def of(self, values: Tensor) -> Tensor:
        """Its steps and items of values (T, B, ·) of the layer."""
        here = values[self.start : self.stop]
        return here if len(self.items) == values.shape[1] else here[:, self.items]

    def write(self, values: Tensor, whole: Tensor) -> None:
        """Writes values of these steps (n, ·, ·) to their place in the whole."""
        whole[self.start : self.stop, self.items] = values


class LayerPieces:
    """A layer with all its directions as a network of its own, cut into pieces of `count` steps.

    A direction that is read forwards goes from the first piece to the last, and back from the last to the first; one
    that is read in reverse the other way round. `carry` hands the states on that a piece ended with, and `carry_back`
    the gradients of those that it started from.
    """

    def __init__(
        self,
        spec: Spec,
        parameters: Mapping[str, Tensor],
        whole: Sequence,
        layer: int,
        count: int,
        finals: Mapping[str, Tensor],
    ) -> None:
        """`finals` are dL/dh_n and dL/dc_n of the whole stack, by these names, where there are any."""
        self.spec, self.parameters = one_layer(spec, layer), own_parameters(parameters, spec, layer)
        self._whole, self._count = whole, count
        self._starts = range(0, whole.steps, count)
        self._lengths = whole.step_counts()
        first = [of_layer(spec, layer, initial) for initial in whole.state]
        self._states = [[one.clone() for one in first] for _ in self._starts]
        self._gradients = [[torch.zeros_like(one) for one in first] for _ in self._starts]
        for n, name in enumerate(f"{name}_n" for name in spec.cell_type.states):
            if name in finals:
                self._end(n, of_layer(spec, layer, finals[name]))

    def _end(self, n: int, given: Tensor) -> None:
        """Puts the gradients of a final state (D, B, units) where each item ends: in reverse at the first step."""
        for row, direction in enumerate(self.spec.directions):
            for item, length in enumerate(self._lengths.tolist()):
                at = max(0, length - 1) // self._count if direction == "forward" else 0
                self._gradients[at][n][row, item] = given[row, item].to(self._gradients[at][n])

    def __len__(self) -> int:
        return len(self._starts)

    def runs(self) -> list[tuple[Iterable[int], bool]]:
        """The order in which the pieces run forwards, and for each pass whether its results count. With two directions
        the reverse one first runs by itself, for the states that its pieces start from."""
        return self._passes("reverse", "forward")

    def runs_back(self) -> list[tuple[Iterable[int], bool]]:
        """The same for going back."""
        return self._passes("forward", "reverse")

    def _passes(self, from_the_end: str, from_the_start: str) -> list[tuple[Iterable[int], bool]]:
        there, count = self.spec.directions, len(self)
        passes: list[tuple[Iterable[int], bool]] = []
        if from_the_end in there:
            passes.append((reversed(range(count)), from_the_start not in there))
        if from_the_start in there:
            passes.append((range(count), True))
        return passes

    def cut(self, at: int, x: Tensor) -> Piece:
        """A piece of the layer's input (T, B, ·), with the states that were carried to it."""
        start, items = self._starts[at], self._items(at)
        h, *c = (one[:, items].contiguous() for one in self._states[at])
        piece = Piece(
            start, items, replace(self._whole, x=x[start : start + self._count], h0=h, c0=c[0] if c else None)
        )
        lengths = None
        if self._whole.lengths is not None:
            lengths = tuple((self._lengths[items] - start).clamp(max=piece.run.steps).tolist())
        return replace(piece, run=replace(piece.run, x=piece.of(x).contiguous(), lengths=lengths))

    def upstream(self, at: int, output: Tensor) -> Upstream:
        """dL/d of the results of a piece: of its output, and of its final states."""
        given = [one[:, self._items(at)].contiguous() for one in self._gradients[at]]
        h, *c = (one if bool(one.any()) else None for one in given)
        return Upstream(output, h, c[0] if c else None)

    def carry(self, at: int, ended: Iterable[Tensor | None]) -> None:
        """Hands on the final states (D, ·, units) of a piece."""
        self._hand_on(self._states, at, ended, +1)

    def carry_back(self, at: int, started: Iterable[Tensor | None]) -> None:
        """Hands on the gradients of the states that a piece started from."""
        self._hand_on(self._gradients, at, started, -1)

    def _hand_on(self, kept: Seq[Seq[Tensor]], at: int, given: Iterable[Tensor | None], way: int) -> None:
        values = [one for one in given if one is not None]
        for row, direction in enumerate(self.spec.directions):
            after = at + way if direction == "forward" else at - way
            if not 0 <= after < len(self):
                continue
            here, both = self._items(at), self._items(max(at, after))
            for one, whole in zip(values, kept[after], strict=True):
                whole[row, both] = one[row, torch.isin(here, both)]

    def _items(self, at: int) -> Tensor:
        """The items that have a step in a piece. They also have one in the piece before it."""
        return (self._lengths > self._starts[at]).nonzero()[:, 0]

    def is_first(self, piece: Piece, direction: str, item: int) -> bool:
        """Whether an item (by its place in the batch) starts in this piece in a direction, from its h0 and c0."""
        return piece.start == 0 if direction == "forward" else int(self._lengths[item]) <= piece.stop
