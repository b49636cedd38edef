"""Where a cell multiplies two numbers, the gradient of each has the other one as a factor. That factor is missing, or
is another number."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from rnnspect.arithmetic.bounded_values import Number, Product
from rnnspect.arithmetic.tape import Changes, Tape
from rnnspect.causes.backward.interface import BackwardCause, Seen, as_it_is, of_edges
from rnnspect.causes.backward.known.slopes import applied, c_before
from rnnspect.network.parameters import LayerParameters

Factor = Callable[[Tape, tuple[Any, ...]], Any]
"""From the tape and the values of an edge to the factor of its gradient."""
Row = tuple[str, str, Changes]
"""Whose gradient it is, what the mistake is, and the edges on which it is made."""


def causes(seen: Seen) -> Iterator[BackwardCause]:
    cell = seen.assumed.cell
    without_bias = [] if cell.name != "gru" or cell.mixes else _without_bias(seen.assumed.p)
    for of, how, changes in (*_rows(cell.name), *without_bias):
        if "f" not in of or "f" in cell.gates:
            yield of_edges(
                "grad-factor-left-out" if how.startswith("without") else "grad-factor-wrong",
                f"the gradient of {_SAID.get(of, of)} is computed {how}",
                f"Use {_RIGHT[of]}.",
                changes,
                of=of,
                how=how,
            )


_SAID = {
    "c": "c through h",
    "h": "h of the step before, past the gates,",
    "i and g": "i and of g",
    "n and h": "n, and of h past the gates,",
    "n, h and z": "n, of z, and of h past the gates",
}
_RIGHT = {
    "i": "dL/di = dL/dc' ⊙ g",
    "g": "dL/dg = dL/dc' ⊙ i",
    "i and g": "dL/di = dL/dc' ⊙ g, and dL/dg = dL/dc' ⊙ i",
    "f": "dL/df = dL/dc' ⊙ c",
    "o": "dL/do = dL/dh' ⊙ tanh(c')",
    "c": "o ⊙ tanh′(c') ⊙ dL/dh'",
    "n": "dL/dn = dL/dh' ⊙ (1 − z)",
    "h": "z ⊙ dL/dh'",
    "n and h": "dL/dn = dL/dh' ⊙ (1 − z), and z ⊙ dL/dh' for h",
    "n, h and z": "h' = (1 − z) ⊙ n + z ⊙ h in the backward pass, too",
    "z": "dL/dz = dL/dh' ⊙ (h − n)",
    "r": "as its factor what r multiplies: W_hn h + b_hn, or h where r comes before the product",
}


def _rows(cell: str) -> tuple[Row, ...]:
    left, right = functools.partial(_in, "times-left"), functools.partial(_in, "times-right")
    if cell == "lstm":
        return (
            ("i", "without g", left("tanh")),
            ("g", "without i", right("tanh")),
            ("i and g", "with their factors swapped", {**left("tanh", _left), **right("tanh", _right)}),
            ("i", "with i in place of g", left("tanh", _left)),
            ("g", "with g in place of i", right("tanh", _right)),
            ("f", "without c", {"carry-f": as_it_is}),
            ("o", "with c' in place of tanh(c')", left("squash", _argument)),
            ("o", "with tanh(c) in place of tanh(c')", left("squash", _of_c_before)),
            ("o", "without tanh(c')", left("squash")),
            ("c", "without o", right("squash")),
        )
    if cell != "gru":
        return ()
    n, h, z = {"lerp-n": _with(_left)}, {"lerp-h": _with(_rest)}, {"lerp-z": _with(_new_less_old)}
    return (
        ("n", "with z in place of 1 − z", n),
        ("h", "with 1 − z in place of z", h),
        ("n and h", "with z and 1 − z swapped", n | h),
        ("n, h and z", "as if h' were z ⊙ n + (1 − z) ⊙ h", n | h | z),
        ("n", "without 1 − z", {"lerp-n": as_it_is}),
        ("h", "without z", {"lerp-h": as_it_is}),
        ("z", "without h − n", {"lerp-z": as_it_is}),
        ("z", "with h in place of h − n", {"lerp-z": _with(_right)}),
        ("z", "with −n in place of h − n", {"lerp-z": _with(_less_new)}),
        ("z", "with h' − n in place of h − n", {"lerp-z": _with(_after_less_new)}),
        ("r", "without what it multiplies", left("")),
        ("r", "with h in place of W_hn h + b_hn", left("", _h)),
    )


def _in(edge: str, function: str, factor: Factor | None = None) -> Changes:
    """On the edges of products whose right operand this function gave; with None there is no factor."""

    def change(tape: Tape, g: Any, values: tuple[Any, ...]) -> Any:
        one, other, (by, _) = values
        if by != function:
            return tape.times(g, other if edge == "times-left" else one)
        return g if factor is None else tape.times(g, factor(tape, values))

    return {edge: change}


def _without_bias(p: LayerParameters) -> Iterator[Row]:
    """Of a GRU whose reset comes after the product."""
    if p.bias_hh is not None:
        of_n = p.bias_hh[2 * len(p.bias_hh) // 3 :]

        def product(_tape: Tape, values: tuple[Any, ...]) -> Any:
            whole = values[1].number if isinstance(values[1], Product) else values[1]
            if not isinstance(whole, Number):
                return whole - of_n.double().numpy()
            v = whole.v - of_n.to(whole.v.dtype)
            return Number(v, whole.e + v.abs() * whole.u.stored, whole.u)

        yield "r", "with W_hn h in place of W_hn h + b_hn", _in("times-left", "", product)


def _with(factor: Factor) -> Callable[[Tape, Any, tuple[Any, ...]], Any]:
    return lambda tape, g, values: tape.times(g, factor(tape, values))


def _left(_tape: Tape, values: tuple[Any, ...]) -> Any:
    return values[0]


def _right(_tape: Tape, values: tuple[Any, ...]) -> Any:
    return values[1]


def _argument(_tape: Tape, values: tuple[Any, ...]) -> Any:
    """The argument of the function that gave the right operand."""
    return values[2][1]


def _of_c_before(tape: Tape, _values: tuple[Any, ...]) -> Any:
    """What the function gives for the cell state before the step."""
    return applied(tape, "squash", c_before(tape))


def _h(tape: Tape, _values: tuple[Any, ...]) -> Any:
    """The h that W_hh was multiplied with."""
    return tape.products[0][1].value


def _rest(tape: Tape, values: tuple[Any, ...]) -> Any:
    return tape.a.rest(values[0])


def _new_less_old(tape: Tape, values: tuple[Any, ...]) -> Any:
    new, old, _ = values
    return tape.a.minus(new, old)


def _less_new(tape: Tape, values: tuple[Any, ...]) -> Any:
    return tape.a.negative(values[0])


def _after_less_new(tape: Tape, values: tuple[Any, ...]) -> Any:
    new, _, after = values
    return tape.a.minus(after, new)
