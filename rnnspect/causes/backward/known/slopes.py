"""The derivative of an activation function: left out, or taken of the wrong argument or function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from rnnspect.arithmetic.bounded_values import Number, Product
from rnnspect.arithmetic.tape import Tape
from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.cells.functions import Activation, functions_of
from rnnspect.judging.backward.case import BackwardAssumption

Slope = Callable[[Tape, str, Any, Any], Any]
"""From the tape, the function, its argument and its result to what the engine uses as its derivative: numbers with
their bound, or arrays of a few runs."""


def causes(seen: Seen) -> Iterator[BackwardCause]:
    assumed = seen.assumed
    functions = functions_of(assumed.nonlinearity)
    for function in assumed.cell.functions:
        f: Activation = functions.named(function)
        gates = [None] if function in ("phi", "squash") else [None, *gates_of(assumed, function)]
        for gate in gates if len(gates) != 2 else gates[:1]:
            for kind, said, slope in (*_mistakes(f), *_of_the_step_before(assumed.cell.name, function, f)):
                yield _cause(assumed, function, f, gate, (kind, said, slope))


def gates_of(assumed: BackwardAssumption, function: str) -> list[int]:
    """The places of the gates that a function makes: tanh the candidate, σ the others."""
    names = [gate for gate in assumed.cell.gates if (gate in ("g", "n")) == (function == "tanh")]
    return [assumed.cell.gates.index(name) for name in names]


def _mistakes(f: Activation) -> Iterator[tuple[str, str, Slope | None]]:
    yield "left out", "is left out", None
    match f.name:
        case "sigmoid":
            yield "of the value", "is taken at σ(s), not at s: σ′(σ(s))", _at_the_value
            yield (
                "of the input",
                "is computed as s (1 − s) from the input s of σ, not from its output",
                _sigmoid_of_input,
            )
            yield "one factor", "is v, without the factor 1 − v", _itself
            yield "the other factor", "is 1 − v, without the factor v", _not_squared
            yield "of tanh", "is that of tanh: 1 − v²", _of_tanh
        case "tanh":
            yield "of the value", "is taken at tanh(s), not at s: 1 − tanh²(tanh(s))", _at_the_value
            yield "of the input", "is computed as 1 − s² from the input s of tanh, not from its output", _tanh_of_input
            yield "not squared", "is 1 − v, without the square", _not_squared
            yield "of σ", "is that of σ: v (1 − v)", _of_sigmoid
        case "hard_sigmoid":
            yield "of σ", "is that of σ: v (1 − v)", _of_sigmoid
            yield (
                "without limits",
                f"is {f.alpha:.3g} also where the function is flat",
                functools.partial(constant, number=f.alpha),
            )
        case "relu":
            yield "of tanh", "is that of tanh: 1 − v²", _of_tanh


def _of_the_step_before(cell: str, function: str, f: Activation) -> Iterator[tuple[str, str, Slope]]:
    """The derivative is taken at the step before, as with a list of states that is off by one."""
    if f.name == "tanh" and (cell, function) == ("rnn", "phi"):
        yield "of the step before", "is that of the step before: 1 − h² with h_{t−1} in place of h_t", _of_h_before
    if f.name == "tanh" and (cell, function) == ("lstm", "squash"):
        yield "of the step before", "is that of the step before: taken at c_{t−1}, not at c_t", _of_c_before


def _cause(
    assumed: BackwardAssumption, function: str, f: Activation, gate: int | None, mistake: tuple[str, str, Slope | None]
) -> BackwardCause:
    kind, said, slope = mistake
    of = {"squash": "c", "phi": "h"}.get(function) or ("the gates" if gate is None else assumed.cell.gates[gate])
    if function == "tanh" and gate is None:
        of = next((name for name in assumed.cell.gates if name in ("g", "n")), "what tanh gives")
    name = {"sigmoid": "σ′"}.get(f.name, f"{f.name}′")
    return BackwardCause(
        "grad-slope-left-out" if slope is None else "grad-slope-wrong",
        f"the derivative {name} of {of} {said}",
        f"Multiply with the derivative: {_right(f)}.",
        functools.partial(
            BackwardAssumption.with_changes,
            changes={function: functools.partial(with_slope, function=function, gate=gate, slope=slope)},
        ),
        {"of": of, "how": kind},
    )


def _right(f: Activation) -> str:
    match f.name:
        case "sigmoid":
            return "σ′(s) = v (1 − v), where v = σ(s)"
        case "tanh":
            return "tanh′(s) = 1 − v², where v = tanh(s)"
        case "relu":
            return "relu′(s) = 1 where s > 0, and 0 elsewhere"
        case "hard_sigmoid":
            return f"{f.alpha:.3g} where the function rises, and 0 where it is flat"
    return f"{f.name}′(s)"


def with_slope(
    tape: Tape, g: Any, values: tuple[Any, ...], function: str, gate: int | None, slope: Slope | None
) -> Any:
    s, v, own = values
    if gate is not None and own != gate:
        return tape.times(g, tape.a.slope(function, s, v))
    return g if slope is None else tape.times(g, slope(tape, function, s, v))


def _at_the_value(tape: Tape, function: str, _s: Any, v: Any) -> Any:
    return tape.a.slope(function, v, applied(tape, function, v))


def applied(tape: Tape, function: str, v: Any) -> Any:
    """The function of v, without changing v: σ and tanh overwrite their argument."""
    copied = Number(v.v.clone(), v.e.expand_as(v.v).clone(), v.u) if isinstance(v, Number) else v.copy()
    return getattr(tape.a, function)(copied)


def c_before(tape: Tape) -> Any:
    """The cell state before each step."""
    assert tape.cell_state is not None
    return tape.a.before(*tape.cell_state)


def _of_h_before(tape: Tape, _function: str, _s: Any, _v: Any) -> Any:
    return _of_tanh(tape, _function, _s, tape.products[0][1].value)


def _of_c_before(tape: Tape, function: str, s: Any, _v: Any) -> Any:
    return _at_the_value(tape, function, s, c_before(tape))


def _sigmoid_of_input(tape: Tape, function: str, s: Any, _v: Any) -> Any:
    return _of_sigmoid(tape, function, s, _number(s))


def _tanh_of_input(tape: Tape, function: str, s: Any, _v: Any) -> Any:
    return _of_tanh(tape, function, s, _number(s))


def _of_sigmoid(tape: Tape, _function: str, _s: Any, v: Any) -> Any:
    return tape.a.times(v, tape.a.minus(_ones(v), v))


def _itself(_tape: Tape, _function: str, _s: Any, v: Any) -> Any:
    return v


def _not_squared(tape: Tape, _function: str, _s: Any, v: Any) -> Any:
    return tape.a.minus(_ones(v), v)


def _of_tanh(tape: Tape, _function: str, _s: Any, v: Any) -> Any:
    return tape.a.minus(_ones(v), tape.a.times(v, v))


def constant(_tape: Tape, _function: str, _s: Any, v: Any, number: float) -> Any:
    """The same number everywhere."""
    if not isinstance(v, Number):
        return np.full_like(v, number)
    each = torch.full_like(v.v, number)
    return Number(each, each.abs() * v.u.stored, v.u)


def _number(s: Any) -> Any:
    return s.number if isinstance(s, Product) else s


def _ones(like: Any) -> Any:
    if not isinstance(like, Number):
        return np.ones_like(like)
    return Number(torch.ones_like(like.v), torch.zeros_like(like.v), like.u)
