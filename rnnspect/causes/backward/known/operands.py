"""What the gradient of a weight is made of: the h that W_hh was multiplied with, at each step."""

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
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.chunks import Chunk


def causes(seen: Seen) -> Iterator[BackwardCause]:
    yield _first_left_out(("weight_hh",), "weight_hh")
    yield _first_left_out(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), "every parameter")
    for of in ("of the last step gone over", "of the last item", "of the first item"):
        if (seen.steps if of.endswith("over") else seen.batch) > 1:
            terms = functools.partial(_of_one, of=of, batch=seen.batch)
            yield BackwardCause(
                "grad-overwritten",
                f"the gradient of every parameter is that {of} alone: it was set (=) where it has to be added up (+=)",
                "Add up: += over the steps, and over the items of the batch.",
                functools.partial(BackwardAssumption.with_otherwise, terms=terms),
                {"is": of},
                "sums",
            )
    if seen.assumed.p.weight_hr is not None:
        return
    yield BackwardCause(
        "grad-h-after-in-weight_hh",
        "the gradient of weight_hh is made of h after each step, not of h before it",
        "Use dL/dW_hh = Σ dL/d(pre-activations of step t) ⊗ h_{t−1}, and h0 in the first step.",
        _of_h_after,
        shows="sums",
    )


def _first_left_out(parameters: Collection[str], said: str) -> BackwardCause:
    """The first step of the direction, which is the last on the way back."""
    return BackwardCause(
        "grad-first-step-left-out",
        f"the gradient of {said} lacks what the first step adds to it",
        "Go back over every step; the first adds dL/d(pre-activations) ⊗ h0 to dL/dW_hh.",
        functools.partial(BackwardAssumption.with_otherwise, terms=functools.partial(_without_first, of=parameters)),
        {"in": said},
        "sums",
    )


def _without_first(terms: list[Term], chunk: Chunk, of: Collection[str]) -> list[Term]:
    if chunk.start:
        return terms
    inside = torch.arange(len(terms[0].left.v)) >= chunk.x.shape[1]
    return [_masked(term, inside) if term.parameter in of else term for term in terms]


def _of_one(terms: list[Term], chunk: Chunk, of: str, batch: int) -> list[Term]:
    """The step that is gone over last on the way back is the first one of the direction."""
    rows = torch.arange(len(terms[0].left.v))
    if of.endswith("item"):
        inside = rows % batch == (batch - 1 if "last" in of else 0)
    else:
        inside = (rows < chunk.x.shape[1]) & (chunk.start == 0)
    return [_masked(term, inside) for term in terms]


def _masked(term: Term, inside: Tensor) -> Term:
    """With the rows (N,) alone that are `inside`."""
    left, inside = term.left, inside.unsqueeze(1)
    return replace(term, left=Number(left.v * inside, left.e * inside if left.e.dim() else left.e, left.u))


def _of_h_after(assumed: BackwardAssumption) -> BackwardAssumption:
    if not assumed.cell.mixes:
        return assumed.with_otherwise(terms=_AfterEachStep())
    kept = _AfterEachStep()
    return assumed.with_otherwise(terms=kept).with_changes({"times-left": kept.reset})


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
