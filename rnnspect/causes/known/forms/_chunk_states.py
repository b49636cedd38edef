"""The states that a chunk of steps hands on to the next, and the run in which each chunk begins with others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.arithmetic.matrices import cut
from rnnspect.causes.interface import Cause
from rnnspect.causes.known.forms._chunk_edges import CLEARLY, ROWS, in_pieces, part_of, steps_over
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.cell_state import State
from rnnspect.judging.estimate import estimate

Inexact = tuple[Tensor, Tensor]
"""A value (B, ·), and how far it may be off."""
Handed = tuple[Inexact, ...]
"""Each state with which a chunk begins: h, and c where the cell has it."""


@dataclass(frozen=True)
class HandingOn:
    """Where a chunk of steps, from `start` to `stop`, ends and the next one begins."""

    assumed: Assumption
    begun: Handed
    """The states that the chunk began with."""
    start: int
    stop: int

    @classmethod
    def of_the_first(cls, assumed: Assumption, stop: int) -> HandingOn:
        """The end of the first chunk, which has `stop` steps."""
        return cls(assumed, first_of(assumed), 0, stop)

    @classmethod
    def at_the_end(cls, assumed: Assumption) -> HandingOn:
        """The end of the run, as if it were one chunk."""
        return cls.of_the_first(assumed, assumed.run.x.shape[0])

    @property
    def first(self) -> Handed:
        """The states that the run began with."""
        return first_of(self.assumed)

    @cached_property
    def right(self) -> Handed:
        """What the next chunk has to begin with."""
        return self._after(self.stop)

    @cached_property
    def without_last(self) -> Handed:
        """The states before the last step of the chunk: an engine that hands these on has left that step out."""
        return self._after(self.stop - 1)

    @cached_property
    def last_twice(self) -> Handed:
        """The states after the last step of the chunk was computed twice."""
        assumed = self.assumed
        last = replace(assumed, run=part_of(assumed.run, self.stop - 1, self.stop))
        return estimate(replace(last, u=replace(assumed.u, relative=0.0, absolute=0.0)).begun_with(self.right)).final

    def blocks(self, handed: Handed) -> list[Inexact]:
        """The blocks of the cell state in these states."""
        sizes = self.assumed.p.state_sizes(len(self.assumed.cell.gates))
        return list(zip(*(cut(one, sizes) for one in handed[1]), strict=True))

    def with_blocks(self, changed: dict[int, Inexact]) -> Handed:
        """The states that are right, with other blocks of the cell state."""
        found = [changed.get(at, block) for at, block in enumerate(self.blocks(self.right))]
        v, e = (torch.cat(parts, -1) for parts in zip(*found, strict=True))
        return self.right[0], (v, e)

    def _after(self, stop: int) -> Handed:
        """The states after step `stop` − 1: h as the engine gave it, and c by the equations."""
        if stop == self.start:
            return self.begun
        run, layer = self.assumed.run, self.assumed.equations
        h = run.h[stop - 1].double()
        found = [(h, torch.zeros_like(h))]
        if run.c0 is not None:
            (h0, _), (c0, error) = self.begun
            part = replace(part_of(run, self.start, stop), h0=h0.to(run.h0), c0=c0.to(run.c0))
            state = State(c0.to(layer.dtype), error.to(layer.dtype), layer.u)
            c = layer.ended(part, state, ROWS).number(layer.dtype)
            found.append((c.v.double(), c.e.double()))
        return tuple(found)


_CLEAR = 4
"""A returned final state has to be so many limits away from the right one before a mistake is looked for in it."""
_FAR_OFF, _ROUNDINGS = 0.01, 256
"""A state is too uncertain to explain anything if its error is more than this share of its largest number, and more
than so many roundings of it. In half types the roundings are the larger of the two."""
_AHEAD = 3
"""How many steps a state is tried on before the whole run is judged with it."""


def goes_on(assumed: Assumption, at: int, begun: Handed, edges: Sequence[int] = ()) -> bool:
    """Whether the next steps, up to the next of the edges, agree with a run that begins at step `at` with these
    states."""
    return _is_known(assumed, begun) and not _over(assumed, at, begun, edges)


def may_go_on(assumed: Assumption, at: int, begun: Handed, edges: Sequence[int] = ()) -> bool:
    """Whether no step from `at` on, up to the next of the edges, clearly contradicts a run that begins there with these
    states."""
    return _is_known(assumed, begun) and all(top <= CLEARLY for top in _over(assumed, at, begun, edges).values())


def _is_known(assumed: Assumption, begun: Handed) -> bool:
    """Whether the error of these states is small enough: a very uncertain state would explain any step."""
    most = max(_FAR_OFF, _ROUNDINGS * assumed.u.stored)
    return all(bool(e.amax() <= most * v.abs().amax()) for v, e in begun)


def _over(assumed: Assumption, at: int, begun: Handed, edges: Sequence[int]) -> dict[int, float]:
    stop = min((at + _AHEAD, *(edge for edge in edges if edge > at)))
    return steps_over(replace(assumed, run=part_of(assumed.run, at, stop)).begun_with(begun))


WrongState = Callable[[HandingOn], Handed]
"""The states with which an engine that made a mistake begins the next chunk."""


def begun_anew(assumed: Assumption, edges: Sequence[int], wrong: WrongState) -> Assumption:
    """The run in which chunks begin at these steps, each with the states that `wrong` gives."""
    return with_each(assumed, edges, one_after_the_other(assumed, edges, wrong))


def one_after_the_other(assumed: Assumption, edges: Sequence[int], wrong: WrongState) -> list[Handed]:
    """The states with which the chunks begin: the first chunk with those of the run, each later one with what `wrong`
    gives at the end of the chunk before it."""
    found = [first_of(assumed)]
    for start, stop in zip([0, *edges], edges, strict=False):
        found.append(wrong(HandingOn(assumed, found[-1], start, stop)))
    return found


def with_each(assumed: Assumption, edges: Sequence[int], begun: Sequence[Handed]) -> Assumption:
    """The run whose chunks begin at step 0 and at these edges, each with its states from `begun`."""
    each = [zip(*state, strict=True) for state in zip(*begun, strict=True)]
    return in_pieces(assumed, edges, [(torch.cat(v), torch.cat(e)) for v, e in each])


def first_of(assumed: Assumption) -> Handed:
    return tuple((state.double(), torch.zeros_like(state, dtype=torch.float64)) for state in assumed.run.state)


def zeros(of: Sequence[Inexact]) -> Handed:
    return tuple((torch.zeros_like(v), torch.zeros_like(e)) for v, e in of)


def allowed(assumed: Assumption, state: Inexact) -> Tensor:
    """How far a returned final state may be from this state, for each number."""
    v, e = state
    return e * assumed.equations.bound_factor + v.abs() * assumed.u.stored


def in_bounds(assumed: Assumption, returned: Tensor, state: Inexact) -> float:
    """The largest ratio of the difference between a returned state (B, ·) and this one to what is allowed; 0 where they
    are equal."""
    ratio = (returned - state[0]).abs() / allowed(assumed, state)
    return float(torch.where(returned == state[0], 0, ratio).max())


def first_that_stands(
    assumed: Assumption, right: Tensor, returned: Tensor, tried: Iterable[tuple[Cause, Inexact]]
) -> tuple[Cause, float] | None:
    """The first of the mistakes `tried` whose state equals the state that was returned (B, ·), within what is allowed,
    and the largest ratio of difference to limit. None where there is no such mistake, or where the returned state is
    too near to the right one to tell them apart."""
    off = float((returned - right).abs().max())
    for cause, state in tried:
        top = in_bounds(assumed, returned, state)
        if top <= 1 and _CLEAR * float(allowed(assumed, state).max()) < off:
            return cause, top
    return None
