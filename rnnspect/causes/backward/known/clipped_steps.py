"""Gradients that are clipped at each step of the loop, as some frameworks and papers do, and not once at the end.

The limit is measured at the first wrong step going back, where everything behind it is still right: there the gradient
of a gate is proportional to that of a state. If the limit is not the same for every clipped number, it is no clipping.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import Tape, UnknownGradientError
from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.causes.backward.known.scaled import in_digits
from rnnspect.cells.interface import Cell
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.clipped import Clippable, Clipped, Clips
from rnnspect.judging.backward.passing import BackwardSteps, Passed
from rnnspect.judging.backward.stack import judge_of
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.chunks import Chunk

_PROPORTIONAL = {"h": ("o", "n", "h"), "c": ("g", "i")}
"""Gates whose gradients are those of the state times numbers of the pass forwards; of these the first that the cell has
is used."""
_CARRIED: dict[str, Clippable] = {"h": "h carried", "c": "c carried"}
_SAME = 1e-3
"""How far limits measured from several numbers may be apart."""
_KNOWN = 1e-3
"""How precisely a gate's gradient has to be known for a limit to be measured from it."""
_ADDED = 2e-6
"""Twice what torch adds to a norm that it divides by."""
_AFTERWARDS: tuple[Clippable, ...] = ("gates", "after n")
_BESIDE: tuple[Clippable, ...] = ("W_hh h", "r h kept")
"""What may be clipped, but no limit is measured from."""
_ONE_BY_ONE = 2000
"""In runs of at most so many steps also those mistakes are tried for which every step has to be computed by itself,
which takes milliseconds each."""
_FORMS: tuple[tuple[tuple[Clippable, ...], str], ...] = (
    (("gates",), "the pre-activations"),
    (_AFTERWARDS, "the pre-activations, after r got its own from n,"),
    ((*_AFTERWARDS, "W_hh h"), "the pre-activations and W_hh h, after r got its own from n,"),
    ((*_AFTERWARDS, "r h kept"), "the pre-activations, after r and h got their own from n,"),
    (("h",), "h"),
    (("h carried",), "h that comes from the step after it"),
    (("c",), "c"),
    (("c carried",), "c that comes from the step after it"),
    (("h", "c"), "h and c"),
    (("h carried", "c carried"), "h and c that comes from the step after it"),
)
_HOW: dict[Clips, str] = {
    "value": "by value, to ±{:g}",
    "norm": "by norm, to {:g} for each item of the batch",
    "norm of the batch": "by norm, to {:g} for the whole batch",
}


@dataclass(frozen=True)
class _Step:
    """The first wrong step: by gate dL/d of the pre-activations by the equations, their bound, and by the engine
    (batch, rows of the gate); by state dL/d of the state by the equations, and the part of it that does not come from
    the step after it (batch, units)."""

    own: tuple[Tensor, ...]
    bound: tuple[Tensor, ...]
    engine: tuple[Tensor, ...]
    states: dict[str, Tensor]
    beside: dict[str, Tensor]


def causes(seen: Seen) -> Iterator[BackwardCause]:
    if seen.order is None or (step := _first_wrong(seen, seen.order)) is None:
        return
    cell, gates = seen.assumed.cell, seen.assumed.cell.gates
    for what, said in _FORMS:
        if not _fits(what, cell) or ("after n" in what and seen.steps > _ONE_BY_ONE):
            continue
        state = what[0].split()[0]
        if state != "gates" and not {part.split()[0] for part in what} <= set(step.states):
            continue
        if "carried" in what[0] and not seen.order:
            continue  # after the last step nothing is carried
        parts = [one for part in what if part not in _BESIDE and (one := _measured(step, gates, part)) is not None]
        hows: tuple[Clips, ...] = ("value",) if "after n" in what else tuple(_HOW)
        for how in hows:
            limits = [found for part in parts if (found := _limit(*part, how, seen.unit)) is not None]
            if limits:
                yield _cause(what, said, how, *limits[0])


def _fits(what: tuple[Clippable, ...], cell: Cell) -> bool:
    """Whether this can be clipped in this cell: what the gradient of n leads to depends on whether a GRU resets before
    or after the product."""
    if "after n" in what and cell.name != "gru":
        return False
    return ("W_hh h" if cell.mixes else "r h kept") not in what


def _cause(what: tuple[Clippable, ...], said: str, how: Clips, limit: float, relative: float) -> BackwardCause:
    return BackwardCause(
        "grad-clipped-at-each-step",
        f"the gradient of {said} is clipped at each step, {_HOW[how].format(float(f'{limit:.4g}'))}",
        "Clip the gradients of the parameters once, after the backward pass; if this is meant, check without clipping.",
        functools.partial(_clipped, clipped=Clipped(what, how, limit, relative)),
        {"of": said, "how": how, "limit": float(f"{limit:.4g}")},
    )


def _clipped(assumed: BackwardAssumption, clipped: Clipped) -> BackwardAssumption:
    if clipped.after_n and assumed.cell.mixes:
        assumed = assumed.with_mistake(terms=functools.partial(_of_clipped, clipped=clipped))
        if "r h kept" not in clipped.what:
            through = _ThroughProduct(clipped)
            assumed = assumed.with_changes({"hidden": through.of_n, "times-right": through.of_h})
    elif clipped.what == _AFTERWARDS:
        assumed = assumed.with_changes({"times-right": functools.partial(_through_r, clipped=clipped)})
    return assumed.with_mistake(clipped=clipped)


def _of_clipped(terms: list[Term], _chunk: Chunk, clipped: Clipped) -> list[Term]:
    """With the terms of dL/dW_hh and dL/db_hh made from clipped gradients."""
    own = ("weight_hh", "bias_hh")
    return [replace(one, left=_limited(one.left, clipped)) if one.parameter in own else one for one in terms]


class _ThroughProduct:
    """W_hn (r ⊙ h) on the way back, where r gets its gradient from that of n, and h from the clipped one."""

    def __init__(self, clipped: Clipped) -> None:
        self._clipped = clipped
        self._limited: WeakKeyDictionary[Tape, Any] = WeakKeyDictionary()

    def of_n(self, tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
        g = tape.known(g)
        if values[0]:  # the second product
            self._limited[tape] = tape.a.transposed("weight_hh", _limited(g, self._clipped))
        return tape.a.transposed("weight_hh", g)

    def of_h(self, tape: Tape, _g: Any, values: tuple[Any, ...]) -> Any:
        return tape.times(self._limited[tape], values[0])


def _through_r(tape: Tape, g: Any, values: tuple[Any, ...], clipped: Clipped) -> Any:
    """From the clipped gradient of n to that of what r is multiplied with."""
    return tape.times(_limited(g, clipped), values[0])


def _limited(g: Number, clipped: Clipped) -> Number:
    return Number(g.v.clamp(-clipped.limit, clipped.limit), g.e, g.u)


def _first_wrong(seen: Seen, order: int) -> _Step | None:
    assumed = seen.assumed
    place, factor = seen.steps - 1 - order, judge_of(assumed).layer.bound_factor
    found = _at(assumed, place)
    if found is None:
        return None
    passed, steps, n = found
    inside = torch.ones(seen.batch).bool() if steps.chunk.valid is None else steps.chunk.valid[n]
    sizes = assumed.p.gate_sizes(len(assumed.cell.gates))
    parts = passed.wx.v, passed.wx.e.expand_as(passed.wx.v) * factor, steps.seen.double()
    own, bound, engine = (torch.split(part[n][inside], list(sizes), -1) for part in parts)
    states, beside = {}, {}
    for name, g in passed.states.items():
        if g.v.shape[-1] in sizes:
            without = Clipped((_CARRIED[name],), "value", 0.0, 0.0)  # nothing comes from the step after it
            alone = _at(_clipped(assumed, without), place)
            assert alone is not None
            states[name], beside[name] = g.v[n][inside], alone[0].states[name].v[n][inside]
    return _Step(own, bound, engine, states, beside)


def _at(assumed: BackwardAssumption, place: int) -> tuple[Passed, BackwardSteps, int] | None:
    """The chunk that holds a step, given in processing order, and the place of the step in the chunk."""
    try:
        for passed, steps in judge_of(assumed).exactly(assumed.back):
            if steps.chunk.start <= place:
                return passed, steps, place - steps.chunk.start
    except UnknownGradientError:
        pass
    return None


def _measured(step: _Step, gates: tuple[str, ...], what: Clippable) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """For what may be clipped: the values of the equations and of the engine (batch, units), how precisely the latter
    are known, relative, and where the two differ."""
    if what in ("gates", "after n"):  # what r gets comes from n
        kept = [n for n, name in enumerate(gates) if what == "gates" or name != "r"]
        own, engine, bound = (torch.cat([part[n] for n in kept], 1) for part in (step.own, step.engine, step.bound))
        return own, engine, bound / own.abs(), (own - engine).abs() > bound
    state, _, carried = what.partition(" ")
    gate = next((gates.index(name) for name in _PROPORTIONAL[state] if name in gates), None)
    whole = step.states[state]
    if gate is None or step.own[gate].shape != whole.shape:
        return None
    own, engine, bound = (part[gate] for part in (step.own, step.engine, step.bound))
    beside = step.beside[state] if carried else torch.zeros_like(whole)
    there = whole * engine / own - beside
    return whole - beside, there, bound / own.abs() * (whole / there).abs(), (own - engine).abs() > bound


def _limit(
    own: Tensor, engine: Tensor, known: Tensor, wrong: Tensor, how: Clips, unit: float
) -> tuple[float, float] | None:
    """The limit, and how precisely it is known, relative. None where it is not the same everywhere, or where only one
    number shows it: any number that is too small looks clipped."""
    good = known < _KNOWN
    if how == "value":
        at = wrong & good
        limits, exactly = engine.abs()[at], known[at]
    else:
        share, good = engine / own, good & (own.abs() > _KNOWN * own.abs().amax(1, keepdim=True))
        size = own.norm(dim=1, keepdim=True) if how == "norm" else own.norm().expand(len(own), 1)
        if how == "norm":
            rows = (wrong & good).any(1)
            share, good, known, wrong, size = (each[rows] for each in (share, good, known, wrong, size))
        if not _all_times_one_number(share, good, known, wrong, how):
            return None
        limits, exactly = (share * size)[good], known[good]
    if not len(limits) or float(limits.min()) <= 0 or float(limits.max()) > float(limits.min()) * (1 + _SAME):
        return None
    best = int(exactly.argmin())
    limit, relative = float(limits[best]), 4 * float(exactly[best]) + (0 if how == "value" else _ADDED)
    relative += 4 * unit
    if (short := in_digits(3, limit, relative)) is not None:
        return short, 4 * unit
    return (limit, relative) if len(limits) > 1 else None


def _all_times_one_number(share: Tensor, good: Tensor, known: Tensor, wrong: Tensor, how: Clips) -> bool:
    """Whether all numbers of an item, or of the batch, are multiplied by one factor: most of them are wrong, and their
    factors are equal as precisely as these are known."""
    if 2 * int((wrong & good).sum()) <= int(good.sum()):
        return False
    most = torch.where(good, share + known, torch.inf).amin(1)
    least = torch.where(good, share - known, -torch.inf).amax(1)
    if how == "norm of the batch":
        most, least = most.amin(), least.amax()
    return bool((least <= most).all())
