"""Activation functions other than sigmoid and tanh, and approximations of the two."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from rnnspect.causes.interface import Cause
from rnnspect.cells.functions import RELU, SIGMOID, TANH, Activation
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
    for kind, how in (("nearest", "the nearest"), ("interpolated", "interpolated"))
}
"""How tanh is approximated: its function, and that of σ, which is ½ + ½ tanh(x / 2) unless σ has an approximation of
its own."""


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
    usual, alone, called = assumed.functions, assumed.cell.name == "rnn", assumed.cell.functions
    candidates = [name for name in called if name in (("phi",) if alone else ("tanh", "squash"))]
    of_tanh = [name for name in candidates if getattr(usual, name) == TANH]
    of_sigmoid = [] if "sigmoid" not in called or usual.sigmoid != SIGMOID else ["sigmoid"]
    choices = {"tanh": (of_tanh, "tanh is"), "sigmoid": (of_sigmoid, "σ is")}
    if of_tanh and of_sigmoid:
        choices["both"] = of_tanh + of_sigmoid, "σ and tanh are"
    for how, (tanh, sigmoid) in _APPROXIMATED.items():
        for function, (names, said) in choices.items():
            if names:
                made: dict[str, Any] = {name: sigmoid if name == "sigmoid" else tanh for name in names}
                yield Cause(
                    "activation-approximated",
                    f"{said} approximated: {how}",
                    "Use the exact functions, or check against a model that has the approximated ones.",
                    functools.partial(Assumption.with_functions, **made),
                    {"function": function, "how": how},
                )
