"""The reset gate on the way back: its own gradient, its factor in the gradient of W_hn, and the two forms of the
cell."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.tape import Node, Tape
from rnnspect.causes.backward.interface import BackwardCause, Seen, as_it_is, of_edges, rows_of
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.cells.interface import Cell
from rnnspect.judging.backward.case import BackwardAssumption
from rnnspect.judging.backward.sums import Term
from rnnspect.judging.chunks import Chunk

_HIDDEN = "weight_hh", "bias_hh"


def causes(seen: Seen) -> Iterator[BackwardCause]:
    cell = seen.assumed.cell
    if cell.name != "gru":
        return
    before = bool(cell.variant)
    candidate = "U_n (r ⊙ h)" if before else "r ⊙ (U_n h + b_hn)"
    yield of_edges(
        "grad-reset-path-lost",
        f"the reset gate gets no gradient: that of n through {candidate} is missing",
        "Give r its gradient: dL/dr = " + ("(U_nᵀ dL/dn_pre) ⊙ h." if before else "dL/dn_pre ⊙ (U_n h + b_hn)."),
        {"times-left": None},
    )
    yield of_edges(
        "grad-reset-gate-missing",
        f"the gradient goes through {candidate} as if r were 1",
        "Multiply it with r.",
        {"times-right": as_it_is},
    )
    yield BackwardCause(
        "grad-reset-gate-missing",
        "r is missing in the gradient of W_hn",
        "Multiply with r: dL/dW_hn = Σ " + ("dL/dn_pre ⊗ (r ⊙ h)." if before else "(r ⊙ dL/dn_pre) ⊗ h."),
        functools.partial(BackwardAssumption.with_mistake, terms=_without_r_before if before else _without_r),
        {"in": "weight_hh"},
        "sums",
    )
    if not before:
        yield from _of_a_part(candidate)
    elif seen.assumed.p.bias_hh is not None:
        yield BackwardCause(
            "grad-factor-wrong",
            f"the gradient of b_hn is multiplied with r, but b_hn is added outside of {candidate}",
            "Use dL/db_hn = Σ dL/dn_pre.",
            _with_r_in_the_bias,
            {"of": "b_hn", "how": "multiplied with r"},
            "sums",
        )
    yield of_edges(
        "grad-z-path-lost",
        "the share of h that z lets through gets no gradient: z ⊙ dL/dh' is missing",
        "Add z ⊙ dL/dh' to the gradient of h of the step before.",
        {"lerp-h": None},
    )
    yield of_edges(
        "grad-z-sign",
        "the gradient of z has the wrong sign: dL/dz = dL/dh' ⊙ (n − h)",
        "Use dL/dz = dL/dh' ⊙ (h − n).",
        {"lerp-z": _negative},
    )
    name, other = ("grad-before-as-after", "after") if before else ("grad-after-as-before", "before")
    forward = "before" if before else "after"
    yield BackwardCause(
        name,
        f"the reset gate comes {forward} the matrix product in the forward pass, but {other} it in the backward pass",
        f"Differentiate n = tanh(W_n x + b_in + {candidate}{' + b_hn' if before else ''}).",
        functools.partial(replace, cell=_as_the_other(before)),
    )


def _of_a_part(candidate: str) -> Iterator[BackwardCause]:
    """The factor r is missing in the gradients of W_hn and b_hn alone, or in that of h alone."""
    yield BackwardCause(
        "grad-reset-gate-missing",
        "r is missing in the gradients of W_hn and b_hn",
        "Multiply with r: dL/dW_hn = Σ (r ⊙ dL/dn_pre) ⊗ h, and dL/db_hn = Σ r ⊙ dL/dn_pre.",
        functools.partial(BackwardAssumption.with_mistake, terms=functools.partial(_without_r, of=_HIDDEN)),
        {"in": "weight_hh and bias_hh"},
        "sums",
    )
    yield BackwardCause(
        "grad-reset-gate-missing",
        f"the gradient of h goes through {candidate} as if r were 1; those of W_hn and b_hn are right",
        "Give h W_hnᵀ (r ⊙ dL/dn_pre).",
        _as_if_one,
        {"in": "h"},
    )


def _negative(tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
    n, h, _ = values
    return tape.times(g, tape.a.minus(n, h))


def _without_r(terms: list[Term], _chunk: Chunk, of: Collection[str] = ("weight_hh",)) -> list[Term]:
    """The terms with the gradients of the pre-activations in place of those of W_hn h + b_hn, which are r times as
    large."""
    of_input = next(term.left for term in terms if term.parameter == "weight_ih")
    return [replace(term, left=of_input) if term.parameter in of else term for term in terms]


def _as_if_one(assumed: BackwardAssumption) -> BackwardAssumption:
    kept = _WithR()
    return assumed.with_changes({"times-right": kept.without}).with_mistake(terms=kept.terms)


def _with_r_in_the_bias(assumed: BackwardAssumption) -> BackwardAssumption:
    kept = _WithR(("bias_hh",))
    return assumed.with_changes({"times-right": kept.going_on}).with_mistake(terms=kept.terms)


class _WithR:
    """Keeps r of r ⊙ q, and multiplies the gradients of some parameters with it."""

    def __init__(self, of: Collection[str] = _HIDDEN) -> None:
        self._r: Any = None
        self._of = of

    def going_on(self, tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
        self._r = values[0]
        return tape.times(g, self._r)

    def without(self, _tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
        """Goes back as if r were 1."""
        self._r = values[0]
        return g

    def terms(self, terms: list[Term], _chunk: Chunk) -> list[Term]:
        r, e = rows_of(self._r, terms[0].left)
        others = r.new_zeros(len(r), 2 * r.shape[1])
        factor, off = torch.cat([others + 1, r], 1), torch.cat([others, e], 1)

        def changed(term: Term) -> Term:
            if term.parameter not in self._of:
                return term
            v, error, u = term.left.v, term.left.e, term.left.u
            return replace(term, left=Number(v * factor, error * factor + (v * off).abs(), u))

        return [changed(term) for term in terms]


def _without_r_before(terms: list[Term], chunk: Chunk) -> list[Term]:
    """The terms of the second product with h in place of r ⊙ h."""
    own = torch.where(chunk.inside.unsqueeze(-1), chunk.before, 0).flatten(0, 1)

    def changed(term: Term) -> Term:
        if term.parameter != "weight_hh" or term.right is None or not term.right.e.dim():
            return term
        v: Tensor = own.to(term.right.v.dtype)
        return replace(term, right=Number(v, torch.zeros((), dtype=v.dtype), term.right.u))

    return [changed(term) for term in terms]


class _WithCandidate:
    """A tape on which tanh gives n, whatever its argument."""

    def __init__(self, tape: Tape, n: Any) -> None:
        self._tape, self._n = tape, n

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._tape, operation)

    def tanh(self, s: Node) -> Node:
        return self._tape.applied("tanh", s, self._n)


@functools.cache
def _as_the_other(before: bool) -> Cell:
    """A cell that computes one of the two forms forwards, and goes back as the other."""
    forms = VARIANTS["gru", "reset before"], CELLS["gru"]
    forward, back = forms if before else forms[::-1]

    def step(tape: Tape, wx: Node, h: Node) -> dict[str, Node]:
        n = forward.step(tape.a, wx.value, h.value)["n"]
        made: dict[str, Node] = back.step(_WithCandidate(tape, n), wx, h)
        return made

    return replace(back, step=step)
