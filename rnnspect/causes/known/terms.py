"""Mistakes in the sums and products of a cell of one's own: a factor or a term is left out, a sign is wrong, or a gate
or a step size is 1."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from rnnspect.causes.interface import Cause
from rnnspect.causes.known._line_forms import (
    WHOLE,
    Form,
    Operation,
    cause_of,
    changed,
    operations,
    second,
    taken_as_one,
    with_cell,
)
from rnnspect.causes.known._misplaced_decays import unused_gates
from rnnspect.causes.known.forms._parted_cell import in_parts
from rnnspect.causes.known.forms._parted_values import NOTHING
from rnnspect.judging.assumption import Assumption

_SHARES = ("sigmoid", "hard_sigmoid", "softplus")
"""Functions that make gates and step sizes."""
_LONG = 40
"""At most so many characters of a line are repeated in an answer."""
_SIGNS = {"plus": "+", "minus": "-", "times": "*"}
_FACTOR, _TERM, _SIGN = "line-factor-left-out", "line-term-left-out", "line-sign"


def causes(assumed: Assumption) -> Iterator[Cause]:
    cell = assumed.cell
    if cell.torch_name or cell.variant:
        return
    in_chunks = in_parts(cell) is not None  # then `carried.py` has what is left out of a decay
    for one in operations(cell):
        for form in _forms(replace(one, states=()) if not in_chunks else one):
            if (made := changed(cell, (one.number,), form)) is not None:
                change = functools.partial(with_cell, cell=made, needs_nothing=form.do in _OF_NOTHING)
                parameters = {"place": one.place, "operation": one.name, "how": form.said}
                unused = unused_gates(change(assumed), made)
                yield cause_of(assumed, one, form, change, parameters=parameters, unused=unused)


def _first(_a: Any, _meant: Any, v: Any, _w: Any) -> Any:
    return v


def _difference(_a: Any, _meant: Any, v: Any, w: Any) -> Any:
    return v - w


def _sum(_a: Any, _meant: Any, v: Any, w: Any) -> Any:
    return v + w


def _negative(a: Any, _meant: Any, v: Any) -> Any:
    return a.constant(NOTHING[0]) * v - v


def _negated(a: Any, meant: Any, v: Any, w: Any) -> Any:
    return _negative(a, meant, meant(v, w))


def _angle(a: Any, meant: Any, p: Any, q: Any, c: Any, v: Any) -> Any:
    return meant(p, a.constant(NOTHING[0]) * q - q, c, v)


_OF_NOTHING = (taken_as_one, _angle, _negative, _negated)
"""Forms that need a constant 0, which the cell is given for them."""


@functools.cache
def _forms(one: Operation) -> tuple[Form, ...]:
    """The other forms in which a sum, a product or a function is tried."""
    if one.name in _SHARES and not one.is_factor:
        return (Form(_FACTOR, f"{_short(one.written, 0) or 'a gate'} is taken as 1", taken_as_one),)
    if one.name == "exp" and all(one.fixed):
        said = "exp is left out, and the minus that goes with it: the value is read as the negative number itself"
        return (Form("line-function-left-out", said, _negative),)
    if one.name == "carry_complex":
        return (Form(_SIGN, "the complex decay turns the other way round: p - i q, not p + i q", _angle),)
    if one.name == "lerp":
        said = "what is mixed with the share {} is added whole, without this factor"
        return tuple(
            Form(_FACTOR, said.format(share), do)
            for (share, do), is_decay in zip(WHOLE.items(), one.states or (False, False), strict=False)
            if not is_decay
        )
    if one.name == "maximum":
        sides = [(_short(one.written, at) or side) for at, side in enumerate(("the left value", "the right value"))]
        return tuple(
            Form("line-function-left-out", f"the maximum is left out: {side} alone is taken", do)
            for side, do in zip(sides, (_first, second), strict=True)
        )
    if one.name not in _SIGNS:
        return ()
    whole = f" {_SIGNS[one.name]} ".join(one.written)
    of = f" of {whole}" if 0 < len(whole) <= _LONG else ""
    left, right = (_short(one.written, at) or side for at, side in enumerate(("the left side", "the right side")))
    if one.name == "times":
        found = [(left, second), (right, _first)]
        factors = tuple(
            Form(_FACTOR, f"the factor {side}{of} is left out", do)
            for (side, do), known in zip(found, one.known, strict=True)
            if not known and not any(one.states)
        )
        # A number of the cell that is −1 may be left out in this place alone.
        return (*factors, Form(_SIGN, f"the product{of} has the other sign", _negated)) if any(one.known) else factors
    left_out: dict[str, Callable[..., Any]] = (
        {left: second} if one.name == "plus" and not (one.known[0] or one.fixed[1]) else {}
    )
    left_out |= {} if one.known[1] or one.fixed[0] else {right: _first}
    other = Form(_SIGN, f"{right}{of} has the other sign", _difference if one.name == "plus" else _sum)
    return (*(Form(_TERM, f"{side}{of} is left out", do) for side, do in left_out.items()), other)


def _short(written: tuple[str, ...], at: int) -> str:
    return written[at] if written and len(written[at]) <= _LONG else ""
