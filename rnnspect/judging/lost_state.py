"""Whether the loss of a state would be seen.

An engine that loses the state where a chunk or a later call begins gives h of a step without the state of the step
before. If the limit is so wide that this h is within it at most steps, a run with a lost state may agree, so that of no
run it can be said that it agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.matrices import cut
from rnnspect.arithmetic.product_bounds import affine
from rnnspect.judging.layer import ComparedChunk, LayerEquations
from rnnspect.judging.resolution import Known

_STEPS, _ITEMS = 16, 4
"""So many steps and items of a chunk are looked at."""
_SHARE = 2.0**-4
"""The share of a state that is taken away to see how h changes."""
_COUNTS = 4.0
"""A state has an effect if it changes a value by more than so many roundings; with less, an engine without it rounds
like a right one."""


@dataclass(frozen=True)
class _Looked:
    """Some steps and items of a chunk: their states, h by the equations, its bound, and which steps an item has."""

    h_of: Callable[[list[Tensor]], Tensor]
    state: list[Tensor]
    right: Tensor
    bound: Tensor
    inside: Tensor

    @classmethod
    def at(cls, layer: LayerEquations, compared: ComparedChunk) -> _Looked:
        chunk, p = compared.chunk, layer.weights
        steps, batch = chunk.x.shape[:2]
        n, b = torch.linspace(0, steps - 1, min(steps, _STEPS)).long(), torch.arange(batch)[:: -(-batch // _ITEMS)]
        n, at = n.unsqueeze(1), (len(n), len(b))
        h = chunk.before[n, b].to(layer.dtype).flatten(0, 1)
        wx = affine(chunk.x[n, b].to(layer.dtype).flatten(0, 1), p.weight_ih, p.bias_ih)
        a = Known(h, p, layer.gates, layer.nonlinearity)
        state = [h]
        if compared.c is not None:
            c = compared.q["c"].v
            before = torch.cat([compared.c.v[None].to(c.dtype), c[:-1]])
            state.append(before[n, b].to(layer.dtype).flatten(0, 1))

        def h_of(given: list[Tensor]) -> Tensor:
            found: Tensor = layer.cell.step(a, wx, *given)["h"]
            return (found if p.weight_hr is None else linear(found, p.weight_hr)).view(*at, -1)

        bound = compared.bound.expand_as(compared.after)[n, b].to(layer.dtype)
        return cls(h_of, state, h_of(state), bound, chunk.inside[n, b].unsqueeze(-1))


def lost_state(layer: LayerEquations, compared: ComparedChunk) -> dict[str, tuple[int, int]]:
    """By the name of each block of the state: at how many steps it has an effect, and at how many of these h without it
    would be within the limit of every value."""
    looked, u, found = _Looked.at(layer, compared), layer.u, {}
    rounded = looked.right.abs() * (u.stored + u.relative) + u.absolute
    for name, given in _without(layer, looked.state, compared.chunk.c_before is None):
        moved = (looked.h_of(given) - looked.right).abs_().nan_to_num_(torch.inf, torch.inf)
        counts, seen = (
            ((moved > least) & looked.inside).flatten(1).any(1) for least in (_COUNTS * rounded, looked.bound)
        )
        found[name] = int(counts.sum()), int((counts & ~seen).sum())
    return found


def state_seen(layer: LayerEquations, compared: ComparedChunk) -> tuple[float, ...]:
    """At some steps of a linear recurrence the smallest share of the whole state before them whose loss would bring h
    beyond its limit; infinite where h does not depend on it."""
    looked = _Looked.at(layer, compared)
    moved = (looked.h_of([one * (1 - _SHARE) for one in looked.state]) - looked.right).abs_().div_(_SHARE)
    shares = (looked.bound / moved).masked_fill_(~looked.inside, torch.inf).flatten(1).amin(1)
    return tuple(shares.nan_to_num_(torch.inf, torch.inf).tolist())


def _without(layer: LayerEquations, state: list[Tensor], with_c: bool) -> Iterator[tuple[str, list[Tensor]]]:
    """The state without h, and without each block of the cell state, where that was not observed."""
    h, *others = state
    yield "h", [torch.zeros_like(h), *others]
    if not others or not with_c:
        return
    blocks = cut(others[0], layer.p.state_sizes(layer.gates))
    for place, (name, _) in enumerate(layer.cell.cell_state):
        kept = [torch.zeros_like(one) if at == place else one for at, one in enumerate(blocks)]
        yield name, [h, torch.cat(kept, -1)]
