"""Activation functions other than sigmoid and tanh, and approximations of the two."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._operations import with_operations
from rnnspect.causes.known._rounded_values import rounded
from rnnspect.cells.functions import RELU, SIGMOID, TANH, Activation
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption

_SIXTH = "x / 6 + 0.5"
_HARD = {
    "0.2 x + 0.5": (Activation("hard_sigmoid", 0.2, 0.5), "Keras before version 3 and ONNX"),
    _SIXTH: (Activation("hard_sigmoid", 1 / 6, 0.5), "PyTorch and Keras 3"),
}
_IDENTITY = Activation("affine", 1.0, 0.0)
_SOFTSIGN = Activation("softsign")
_APPROXIMATED = {
    "clip(x, −1, 1)": (Activation("hard_tanh"), Activation("hard_sigmoid", 0.25, 0.5)),
    "x / (1 + |x|)": (_SOFTSIGN, Activation("softsign_sigmoid", 1.0)),
    "x / (1 + |x|), its σ of x / 2": (_SOFTSIGN, Activation("softsign_sigmoid", 0.5)),
    "x (27 + x²) / (27 + 9 x²)": (Activation("rational_tanh"), Activation("rational_sigmoid")),
    "PLAN, piecewise linear": (Activation("plan_tanh"), Activation("plan_sigmoid")),
} | {
    f"a table of {entries} entries, {how}": (
        Activation(f"{kind}_tanh", entries),
        Activation(f"{kind}_sigmoid", entries),
    )
    for entries in (256, 1024)
    for kind, how in (("nearest", "the nearest"), ("floored", "the one below"), ("interpolated", "interpolated"))
}
"""How tanh is approximated: its function, and that of σ, which is ½ + ½ tanh(x / 2) unless σ has an approximation of
its own."""

_Approximated = tuple[str, str, str, Callable[[Assumption], Assumption]]
"""How, which functions, what is said of them, and the change."""


def causes(assumed: Assumption) -> Iterator[Cause]:
    yield from _others(assumed)
    yield from _approximated(assumed)
    yield from _left_out(assumed)


def _others(assumed: Assumption) -> Iterator[Cause]:
    usual, called = assumed.functions, assumed.cell.functions
    if "phi" in called:
        other = TANH if usual.phi == RELU else RELU
        yield Cause(
            "activation-relu",
            f"the activation is {other}, not {usual.phi}",
            f"Set nonlinearity: {other} in the spec, or change the engine's activation.",
            functools.partial(Assumption.with_functions, phi=other),
            {"of": "phi"} if len(called) > 1 else {},
        )
    if "sigmoid" in called and usual.sigmoid == SIGMOID:
        fix = "Set recurrent_activation='sigmoid' in the engine, or give its activations in the spec."
        yield from (_hard(formula, fix) for formula in _HARD)
    elif "sigmoid" in called and usual.sigmoid.name == "hard_sigmoid" and usual.sigmoid != _HARD[_SIXTH][0]:
        yield _hard(_SIXTH, "Give that slope in the spec, hard_sigmoid(0.16666667, 0.5), or change the engine's.")
    there = [name for name in ("tanh", "squash") if name in called and getattr(usual, name) == TANH]
    if there:
        of: dict[str, Any] = dict.fromkeys(there, RELU)
        yield Cause(
            "activation-relu",
            "relu is used instead of tanh",
            "Set activation='tanh' in the engine, or give its activations in the spec.",
            functools.partial(Assumption.with_functions, **of),
        )
    for name in there if len(there) > 1 else ():
        words = {"tanh": "the candidate", "squash": "the cell state"}[name]
        one: dict[str, Any] = {name: RELU}
        yield Cause(
            "activation-relu",
            f"relu is used instead of tanh for {words} alone",
            f"Use tanh for {words} in the engine, or give its activations in the spec.",
            functools.partial(Assumption.with_functions, **one),
            {"of": name},
        )


def _hard(formula: str, fix: str) -> Cause:
    hard, who = _HARD[formula]
    said = f"the gates use hard_sigmoid, {formula} clipped to 0 … 1, as in {who}"
    change = functools.partial(Assumption.with_functions, sigmoid=hard)
    return Cause("hard-sigmoid", said, fix, change, {"formula": formula})


def _left_out(assumed: Assumption) -> Iterator[Cause]:
    """A function is left out, in torch's cells. For other cells `lines.py` has this."""
    usual, cell = assumed.functions, assumed.cell
    of = {
        "phi": f"{usual.phi} of the pre-activation",
        "tanh": "tanh of the candidate",
        "squash": "tanh of the cell state",
    }
    called = cell.functions if cell.name in ("rnn", "lstm", "gru") else ()
    there = tuple(name for name in of if name in called and getattr(usual, name) in (TANH, RELU))
    for names in dict.fromkeys([*((name,) for name in there), there] if there else []):
        left_out: dict[str, Any] = dict.fromkeys(names, _IDENTITY)
        said = " and ".join(of[name] for name in names)
        yield Cause(
            "activation-left-out",
            f"{said} {'is' if len(names) == 1 else 'are'} left out",
            "Apply it, or state an activation of affine(1, 0) in the spec, if it is meant.",
            functools.partial(Assumption.with_functions, **left_out),
            {"of": said},
        )


def _approximated(assumed: Assumption) -> Iterator[Cause]:
    fix = "Use the exact functions, or check against a model that has the approximated ones."
    for how, function, said, change in (*_of_formulas(assumed), *_in_half(assumed)):
        parameters = {"function": function, "how": how}
        yield Cause("activation-approximated", f"{said} approximated: {how}", fix, change, parameters)


def _of_formulas(assumed: Assumption) -> Iterator[_Approximated]:
    for function, (names, said) in _replaceable(assumed).items():
        for how, (tanh, sigmoid) in _APPROXIMATED.items():
            made: dict[str, Any] = {name: sigmoid if name == "sigmoid" else tanh for name in names}
            yield how, function, said, functools.partial(Assumption.with_functions, **made)


def _in_half(assumed: Assumption) -> Iterator[_Approximated]:
    """What a function gives is rounded to a half type, as a device's fast one is. Only in torch's cells."""
    if assumed.u != SINGLE or assumed.cell.name not in ("rnn", "gru", "lstm"):
        return
    for function, (names, said) in _replaceable(assumed).items():
        for half in (torch.float16, torch.bfloat16):
            how = f"rounded to {str(half).removeprefix('torch.')}"
            yield how, function, said, functools.partial(_with_half, names=names, half=half)
            if function == "both":
                by_tanh = f"{how}, σ as ½ + ½ tanh(x / 2)"
                yield by_tanh, function, said, functools.partial(_with_half, names=names, half=half, by_tanh=True)


def _with_half(assumed: Assumption, names: tuple[str, ...], half: torch.dtype, by_tanh: bool = False) -> Assumption:
    return replace(assumed, cell=_cell_in_half(assumed.cell, names, half, by_tanh))


@functools.cache
def _cell_in_half(cell: Cell, names: tuple[str, ...], half: torch.dtype, by_tanh: bool) -> Cell:
    """The cell of which some functions give rounded values. It does not count as one of torch's cells."""

    def called(_a: Any, _number: int, operation: str, meant: Any, values: tuple[Any, ...]) -> Any:
        made = meant(*values)
        if operation not in names:
            return made
        shift, scale = (0.5, 0.5) if operation == "sigmoid" and by_tanh else (0.0, 1.0)
        return rounded(made, half, shift, scale)

    return replace(with_operations(cell, called), torch_name="")


def _replaceable(assumed: Assumption) -> dict[str, tuple[tuple[str, ...], str]]:
    """What may be approximated: tanh, σ or both; the functions of the cell that it is, and what is said of it."""
    usual, alone, called = assumed.functions, assumed.cell.name == "rnn", assumed.cell.functions
    candidates = [name for name in called if name in (("phi",) if alone else ("tanh", "squash"))]
    of_tanh = [name for name in candidates if getattr(usual, name) == TANH]
    of_sigmoid = ["sigmoid"] if "sigmoid" in called and usual.sigmoid == SIGMOID else []
    found = {
        "tanh": (tuple(of_tanh), "tanh is"),
        "sigmoid": (tuple(of_sigmoid), "σ is"),
        "both": ((*of_tanh, *of_sigmoid) if of_tanh and of_sigmoid else (), "σ and tanh are"),
    }
    return {function: one for function, one in found.items() if one[0]}
