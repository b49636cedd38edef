"""What the gradient of a weight is the sum of: over which steps and items, and of the h or x of which step."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import Tape
from rnnspect.causes.backward.interface import BackwardCause, Seen, rows_of
from rnnspect.errors import listed
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.chunks import Chunk

_EVERY = "every parameter"
_LEFT_OUT = {
    "first": (
        "grad-first-step-left-out",
        "Go back over every step: the first adds to these gradients, too.",
    ),
    "last": ("grad-last-step-left-out", "Begin with the last step: it adds to the gradients, too."),
}
_OTHER_X = {
    "the step before": "x of the step before, and of zeros in the first step",
    "the step before, round": "x of the step before, and in the first step of the last x, which x[-1] is",
    "the step after": "x of the step after, and of zeros in the last step",
}


def causes(seen: Seen) -> Iterator[BackwardCause]:
    wrong, last, own_last = _wrong(seen), seen.steps - 1, seen.assumed.run.step_counts - 1
    each = {_EVERY: tuple(seen.known)} | ({listed(wrong): wrong} if 0 < len(wrong) < len(seen.names) else {})
    for said, of in ({"weight_hh": ("weight_hh",)} | each).items():
        yield _left_out("first", torch.zeros_like(own_last), of, said)
    for said, of in each.items():
        if last:
            yield _left_out("last", own_last, of, said)
        if int(own_last.min()) < last:
            yield _left_out("last", torch.full_like(own_last, last), of, said, of_longest=True)
        yield from _overwritten(seen, own_last, of, said)
    if wrong == ("weight_ih",) and last:
        for which, said in _OTHER_X.items():
            yield BackwardCause(
                "grad-x-shifted",
                f"the gradient of weight_ih is made of {said}",
                "Use dL/dW_ih = Σ dL/d(pre-activations of step t) ⊗ x_t.",
                functools.partial(_of_other_x, which=which),
                {"of": which},
                "sums",
            )
    if seen.assumed.p.weight_hr is None:
        yield BackwardCause(
            "grad-h-after-in-weight_hh",
            "the gradient of weight_hh is made of h after each step, not of h before it",
            "Use dL/dW_hh = Σ dL/d(pre-activations of step t) ⊗ h_{t−1}, and h0 in the first step.",
            _of_h_after,
            shows="sums",
        )


def _wrong(seen: Seen) -> tuple[str, ...]:
    """The parameters whose gradients are beyond their bounds."""
    return tuple(name for name in seen.names if _is_wrong(*seen.known[name], seen.assumed.gradients[name], seen))


def _is_wrong(own: Tensor, bound: Tensor, given: Tensor, seen: Seen) -> bool:
    off = (given.double().reshape(own.shape) - own).abs()
    return bool((off > bound + seen.recorded * own.abs().max()).any())


def _left_out(
    which: str, places: Tensor, parameters: Collection[str], said: str, of_longest: bool = False
) -> BackwardCause:
    """The step at that place of the direction, (B,)."""
    name, fix = _LEFT_OUT[which]
    return BackwardCause(
        name,
        f"the gradient of {said} lacks what the {which} step {'of the longest items ' * of_longest}adds to it",
        fix,
        functools.partial(
            BackwardAssumption.with_mistake, terms=functools.partial(_without, places=places, of=parameters)
        ),
        {"in": said, **({"of": "the longest items"} if of_longest else {})},
        "sums",
    )


def _without(terms: list[Term], chunk: Chunk, places: Tensor, of: Collection[str]) -> list[Term]:
    inside = ~_is_at(places, terms, chunk)
    return [_masked(term, inside) if term.parameter in of else term for term in terms]


def _is_at(places: Tensor, terms: list[Term], chunk: Chunk) -> Tensor:
    """Which rows (N,) are of the step at the item's place (B,) in processing order."""
    rows, batch = torch.arange(len(terms[0].left.v)), chunk.x.shape[1]
    return chunk.start + rows // batch == places.repeat(batch // len(places))[rows % batch]


_ALONE = {
    "of the last step gone over": "of the first step alone, which the backward pass comes to last",
    "of the first step gone over": "of the last step alone, where the backward pass begins",
    "of the last item": "of the last item alone",
    "of the first item": "of the first item alone",
}


def _overwritten(seen: Seen, last: Tensor, parameters: Collection[str], said: str) -> Iterator[BackwardCause]:
    """`last` (B,) is the place of the last step of each item."""
    for of, alone in _ALONE.items():
        if (seen.steps if of.endswith("over") else seen.batch) > 1:
            place = None if of.endswith("item") else last if "first" in of else torch.zeros_like(last)
            terms = functools.partial(_of_one, of=of, place=place, batch=seen.batch, parameters=parameters)
            yield BackwardCause(
                "grad-overwritten",
                f"the gradient of {said} is that {alone}: it was set (=) where it has to be added up (+=)",
                "Add up: += over the steps, and over the items of the batch.",
                functools.partial(BackwardAssumption.with_mistake, terms=terms),
                {"is": of, **({} if said == _EVERY else {"in": said})},
                "sums",
            )


def _of_one(
    terms: list[Term], chunk: Chunk, of: str, place: Tensor | None, batch: int, parameters: Collection[str]
) -> list[Term]:
    """Of one step of each item, given by its place (B,) in the order of the direction; or of one item."""
    if place is None:
        inside = torch.arange(len(terms[0].left.v)) % batch == (batch - 1 if "last" in of else 0)
    else:
        inside = _is_at(place, terms, chunk)
    return [_masked(term, inside) if term.parameter in parameters else term for term in terms]


def _masked(term: Term, inside: Tensor) -> Term:
    """With the rows (N,) alone that are `inside`."""
    left, inside = term.left, inside.unsqueeze(1)
    return replace(term, left=Number(left.v * inside, left.e * inside if left.e.dim() else left.e, left.u))


def _of_other_x(assumed: BackwardAssumption, which: str) -> BackwardAssumption:
    return assumed.with_mistake(terms=_WithOtherX(which))


class _WithOtherX:
    """The terms of dL/dW_ih with x of another step. Steps come from the last one on: so x is kept for the step before;
    or dL/d(pre-activations) is, until x of the step before comes."""

    def __init__(self, which: str) -> None:
        self._which, self._start = which, -1
        self._last_x: Number | None = None
        self._after: Number | None = None
        """Of the step after those that come next: x, or dL/d(pre-activations)."""

    def __call__(self, terms: list[Term], chunk: Chunk) -> list[Term]:
        n = chunk.x.shape[1]
        place, (left, x) = next((k, (t.left, t.right)) for k, t in enumerate(terms) if t.parameter == "weight_ih")
        assert x is not None
        if chunk.start + len(left.v) // n != self._start:  # a pass begins
            self._after, self._last_x = None, _rows(x, slice(-n, None))
        self._start = chunk.start
        if self._which == "the step after":
            moved = Term("weight_ih", left, _moved(x, self._after, n))
            self._after = _rows(x, slice(n))
        else:
            moved = Term("weight_ih", _moved(left, self._after, n), x)
            self._after = _rows(left, slice(n))
        wraps = self._which.endswith("round") and not chunk.start
        wrapped = [Term("weight_ih", self._after, self._last_x)] if wraps else []
        return [*terms[:place], moved, *wrapped, *terms[place + 1 :]]


def _rows(of: Number, rows: slice) -> Number:
    return Number(of.v[rows], of.e[rows] if of.e.dim() else of.e, of.u)


def _moved(of: Number, after: Number | None, n: int) -> Number:
    """At each step (n rows) that of the step after, or zeros."""
    if after is None:
        after = Number(torch.zeros_like(of.v[:n]), torch.zeros_like(of.e[:n] if of.e.dim() else of.e), of.u)
    e = torch.cat([of.e[n:], after.e]) if of.e.dim() else of.e
    return Number(torch.cat([of.v[n:], after.v]), e, of.u)


def _of_h_after(assumed: BackwardAssumption) -> BackwardAssumption:
    if not assumed.cell.mixes:
        return assumed.with_mistake(terms=_AfterEachStep())
    kept = _AfterEachStep()
    return assumed.with_mistake(terms=kept).with_changes({"times-left": kept.reset})


class _AfterEachStep:
    """The terms of dL/dW_hh with h after each step; where a GRU resets before the product, the second is of r ⊙ h, with
    the r that was seen on the way back."""

    def __init__(self) -> None:
        self._r: Any = None

    def reset(self, tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
        self._r, h, _ = values
        return tape.times(g, h)

    def __call__(self, terms: list[Term], chunk: Chunk) -> list[Term]:
        after = torch.where(chunk.inside.unsqueeze(-1), chunk.after, 0).flatten(0, 1)

        products = [term for term in terms if term.parameter == "weight_hh"]

        def changed(term: Term) -> Term:
            if term.right is None or term.parameter != "weight_hh":
                return term
            v: Tensor = after.to(term.right.v.dtype)
            if term is products[0]:
                return replace(term, right=Number(v, torch.zeros((), dtype=v.dtype), term.right.u))
            r, error = rows_of(self._r, term.right)
            return replace(term, right=Number(r * v, (error * v).abs(), term.right.u))

        return [changed(term) for term in terms]
