"""The numbers of a linear recurrence, state' = a ⊙ state + b at each step, by the lines of its cell; and the run
in which each step by itself leads to a state that is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rnnspect.arithmetic.forms import linear_state
from rnnspect.arithmetic.matrices import cut
from rnnspect.arithmetic.numbers import Numbers
from rnnspect.causes.known.forms._chunk_edges import CLEARLY, in_pieces
from rnnspect.causes.known.forms._chunk_states import Inexact
from rnnspect.causes.known.forms._parted_cell import in_parts
from rnnspect.judging.assumption import Assumption
from rnnspect.judging.chunks import before_each, chunk_at


@dataclass(frozen=True)
class LinearBlock:
    """A block of the state that steps carry by state' = a ⊙ state + b: a and b (T, B, …), and the state before the
    first step (B, …), in float64 and in the block's own shape. A complex state is one block."""

    a: Tensor
    b: Tensor
    first: Tensor
    axes: tuple[str, ...]
    """The names of the sizes in its shape."""
    scale: Tensor | None = None
    """The factor exp(−m) that the cell's own state has before each step (T, B, …), with m a running maximum. The
    numbers of this block are those without the factor."""


@dataclass(frozen=True)
class LinearSteps:
    blocks: tuple[LinearBlock, ...]
    places: tuple[int, ...]
    """The places of its blocks in the cell state: two for a complex state."""
    other: Tensor
    """The cell state before each step (T, B, ·), with zeros in these places."""


class StateSums(NamedTuple):
    """The states after each step of a chunk (T, B, …), as sums of what its steps add and of the state before it."""

    value: Tensor
    size: Tensor
    """The sums of their terms' sizes."""
    logs: Tensor
    """The sums of the decays' logarithms."""
    more_terms: int = 0
    """How many more terms they have than there are steps up to each."""


WrongSums = Callable[[Tensor, Tensor, Tensor], StateSums]
"""From a and b of a chunk (T, B, …) and the state before it (B, …) to its sums, with a mistake."""


def linear_steps(assumed: Assumption) -> LinearSteps | None:
    """The linear recurrence of a run; None where some state is not carried number by number."""
    parts = in_parts(assumed.cell)
    if parts is None or parts.kind == "delta":
        return None
    cell, run = assumed.cell, assumed.run
    of_h = linear_state(cell) == "h"
    shapes = (("h", ("hidden_size",)),) if of_h else cell.cell_state
    sizes = assumed.p.state_sizes(len(cell.gates))
    steps, begun = _EveryStep.of(assumed), run.state[-1]
    before = steps.kept(parts.blocks)
    is_complex = parts.kind == "carry_complex"
    ones = parts.blocks[: 1 if is_complex else None]
    added = steps.taken(before)
    filled = [torch.ones_like(one) if at in ones else one for at, one in enumerate(cut(before, sizes))]
    whole = steps.taken(torch.cat(filled, -1)) - added

    def block(at: int) -> LinearBlock:
        shape = cell.shape(shapes[at][1], assumed.units, run.x.shape[2])
        a, b, first = (cut(one, sizes)[at].unflatten(-1, shape) for one in (whole, added, begun.double()))
        return LinearBlock(a, b, first, tuple(map(str, shapes[at][1])))

    found = [block(at) for at in parts.blocks]
    if is_complex:
        re, im = found
        a, b, first = (torch.complex(*pair) for pair in ((re.a, im.a), (re.b, im.b), (re.first, im.first)))
        found = [LinearBlock(a, b, first, re.axes)]
    if parts.maxima:
        (at,) = parts.maxima
        found = [_unscaled(one, *(cut(c, sizes)[at] for c in (before, added))) for one in found]
    return LinearSteps(tuple(found), parts.blocks, before)


def _unscaled(block: LinearBlock, before: Tensor, after: Tensor) -> LinearBlock:
    """The block without the factor of a running maximum (T, B, heads), which is given before and after each step."""
    before, after = (m.view(*m.shape, *[1] * (block.a.dim() - m.dim())) for m in (before, after))
    a, b, first = block.a * (after - before).exp(), block.b * after.exp(), block.first * before[0].exp()
    return LinearBlock(a, b, first, block.axes, (-before).exp())


@dataclass(frozen=True)
class _EveryStep:
    """All steps of a run, each computed from any state."""

    assumed: Assumption
    numbers: Numbers
    wx: Tensor
    h: Tensor
    """h before each step (T, B, P), as the engine gave it."""

    @classmethod
    def of(cls, assumed: Assumption) -> _EveryStep:
        numbers = assumed.in_float64()
        return cls(assumed, numbers, numbers.input(assumed.run.x[:].double()), _h_before(assumed))

    def taken(self, state: Tensor, at: slice = slice(None)) -> Tensor:
        """The states after the steps `at` (T, B, ·), computed from the states before them."""
        wx, h, given = (one.flatten(0, 1) for one in (self.wx[at], self.h[at], state))
        of_h = not self.assumed.cell.has_cell_state
        q = self.assumed.cell.step(self.numbers, wx, *((given,) if of_h else (h, given)))
        found: Tensor = q["h" if of_h else "c"].view(state.shape)
        return found

    def kept(self, carried: Sequence[int]) -> Tensor:
        """The state before each step, with zeros for the blocks that are carried by decays. The others, the inputs that
        a convolution keeps, depend on x alone."""
        run, sizes = self.assumed.run, self.assumed.p.state_sizes(len(self.assumed.cell.gates))
        if run.c0 is None or len(carried) == len(sizes):
            return torch.zeros(*self.wx.shape[:2], sum(sizes), dtype=torch.float64)
        is_carried = torch.cat([torch.full((size,), at in carried) for at, size in enumerate(sizes)])
        now, found = run.c0.double()[None].masked_fill(is_carried, 0), []
        for step in range(len(self.wx)):
            found.append(now[0])
            now = self.taken(now, slice(step, step + 1)).masked_fill(is_carried, 0)
        return torch.stack(found)


def _h_before(assumed: Assumption) -> Tensor:
    """(T, B, P), as the engine gave it before each step."""
    run = assumed.run
    return before_each(run.h, run.h0, 0, len(run.h), None).double()


def standing(_assumed: Assumption, made: Assumption) -> Assumption:
    """The change of a mistake whose run was `made` where it was found."""
    return made


def in_chunks(
    assumed: Assumption, steps: LinearSteps, sizes: Sequence[int], wrong: WrongSums
) -> tuple[Assumption, list[int]]:
    """The run with wrong sums in chunks of these sizes and with right steps behind them; and the steps at which the
    engine's h contradicts that."""
    made = _leading_to(assumed, steps, [_states(assumed, block, sizes, wrong) for block in steps.blocks])
    return made, _steps_off(made, len(steps.other))


def _states(assumed: Assumption, block: LinearBlock, sizes: Sequence[int], wrong: WrongSums) -> Inexact:
    """The states after each step (T, B, …), and their error."""
    now, values, errors = block.first, list[Tensor](), list[Tensor]()
    pieces = [*sizes, len(block.a) - sum(sizes)]
    each = zip(torch.split(block.a, pieces), torch.split(block.b, pieces), strict=True)
    for number, (a, b) in enumerate(each):
        if not len(a):
            continue
        sums = from_step_to_step(a.log().cumsum(0), b, now) if number == len(sizes) else wrong(a, b, now)
        terms = torch.arange(1, len(a) + 1, dtype=torch.float64).view(-1, *[1] * (a.dim() - 1)) + sums.more_terms
        values.append(sums.value)
        errors.append(sums.size * _relative_error(assumed, terms, sums.logs.abs()))
        now = sums.value[-1]
    return torch.cat(values), torch.cat(errors)


def from_step_to_step(logs: Tensor, b: Tensor, now: Tensor) -> StateSums:
    """exp(L_t) ⊙ state + Σ exp(L_t − L_s) ⊙ b_s."""
    decays = logs.diff(dim=0, prepend=torch.zeros_like(logs[:1])).exp()
    size, floor, found = now.abs(), b.abs().mean(), []
    for decay, added in zip(decays, b, strict=True):
        now, size = decay * now + added, decay.abs() * size + added.abs() + floor
        found.append((now, size))
    values, sizes = zip(*found, strict=True)
    return StateSums(torch.stack(values), torch.stack(sizes), logs)


def _leading_to(assumed: Assumption, steps: LinearSteps, states: Sequence[Inexact]) -> Assumption:
    """A run of single steps, each of which begins with the state that leads to the given one: `states` holds, for each
    block, the state after each step (T, B, …), with its error."""
    ahead = [_before_each(block, *state) for block, state in zip(steps.blocks, states, strict=True)]
    if steps.blocks[0].a.is_complex():
        ((v, e),) = ahead
        ahead = [(v.real, e), (v.imag, e)]
    made = {at: (v.flatten(2), e.flatten(2)) for at, (v, e) in zip(steps.places, ahead, strict=True)}
    run, u = assumed.run, assumed.u
    h = _h_before(assumed)
    if run.c0 is None:
        given = [made[0]]
    else:
        kept = cut(steps.other, assumed.p.state_sizes(len(assumed.cell.gates)))
        off = u.stored + u.sums * assumed.p.terms
        full = [made.get(at, (v, off * (v.abs() + v.abs().amax()))) for at, v in enumerate(kept)]
        v, e = (torch.cat(each, -1) for each in zip(*full, strict=True))
        given = [(h, torch.zeros_like(h)), (v, e)]
    return in_pieces(assumed, range(1, len(h)), [(v.flatten(0, 1), e.flatten(0, 1)) for v, e in given])


def _before_each(block: LinearBlock, v: Tensor, e: Tensor) -> Inexact:
    """The states before the steps, computed from the states after them."""
    v, e = (v - block.b) / block.a, e / block.a.abs()
    return (v, e) if block.scale is None else (v * block.scale, e * block.scale)


def _steps_off(made: Assumption, count: int) -> list[int]:
    """At which of the `count` steps of a run of single steps (`_leading_to`) h is clearly above its bound, or not
    known."""
    layer, run = made.equations, made.run
    compared = layer.compare(chunk_at(run, 0, 1), layer.begin(run.c0, run.begun_error), layer.plain)
    over = ~((compared.ratio <= CLEARLY) | (compared.q["h"].v == compared.after))
    return over.view(count, -1).any(1).nonzero()[:, 0].tolist()


def _relative_error(assumed: Assumption, terms: Tensor, logs: Tensor) -> Tensor:
    """How far sums of `terms` terms may be off, relative to the sum of the terms' sizes. Each term is a product of up
    to `terms` decays, whose logarithms add up to `logs`."""
    u = assumed.u
    return u.stored * (4 + 2 * terms.sqrt() + logs) + 4 * u.sums * (1 + terms).sqrt()
