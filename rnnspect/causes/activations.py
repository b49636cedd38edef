"""Another function than σ or tanh."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnnspect.causes.interface import Cause
from rnnspect.cells.functions import RELU, SIGMOID, TANH, Activation, functions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnspect.judging.reading import Reading

_HARD = {
    "0.2 x + 0.5": (Activation("hard_sigmoid", 0.2, 0.5), "Keras before version 3, and ONNX"),
    "x / 6 + 0.5": (Activation("hard_sigmoid", 1 / 6, 0.5), "PyTorch and Keras 3"),
}


def causes(reading: Reading) -> Iterator[Cause]:
    usual = functions_of(reading.nonlinearity)
    if reading.cell.name == "rnn":
        other = TANH if usual.phi == RELU else RELU
        yield Cause(
            "activation-relu",
            f"φ is {other}, not {usual.phi}",
            f"Set nonlinearity: {other}, or change the engine's.",
            functools.partial(replace, nonlinearity=other.name),
        )
        return
    if usual.sigmoid == SIGMOID:
        for formula, (hard, who) in _HARD.items():
            yield Cause(
                "hard-sigmoid",
                f"the gates are hard sigmoids, {formula} cut to 0 … 1, as {who} define it",
                "Set recurrent_activation='sigmoid', or state the activations in the spec.",
                functools.partial(_with, sigmoid=hard),
                {"formula": formula},
            )
    if usual.tanh == TANH:
        of: dict[str, Any] = {"tanh": RELU, "squash": RELU} if reading.cell.has_cell_state else {"tanh": RELU}
        yield Cause(
            "activation-relu",
            "relu stands where the equations have tanh",
            "Set activation='tanh', or state the activations in the spec.",
            functools.partial(_with, **of),
        )


def _with(reading: Reading, **functions: Any) -> Reading:
    return replace(reading, nonlinearity=replace(functions_of(reading.nonlinearity), **functions))
