"""The nonlinear functions of a layer, as plain data: what σ, tanh and φ stand for, and whether their input is clipped.

Names, meanings and default values of α and β are ONNX's (operators RNN, LSTM and GRU, attributes activations,
activation_alpha, activation_beta and clip).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_FORM = re.compile(r"([A-Za-z_]+)\s*(?:\(([^()]*)\))?")


@dataclass(frozen=True)
class Kind:
    """A function: its equation in x, and the default values of its α and β, where it has them."""

    equation: str
    numbers: dict[str, float]


KINDS: dict[str, Kind] = {
    "sigmoid": Kind("1 / (1 + exp(−x))", {}),
    "tanh": Kind("tanh(x)", {}),
    "relu": Kind("max(0, x)", {}),
    "affine": Kind("α x + β", {"alpha": 1.0, "beta": 0.0}),
    "leaky_relu": Kind("x if x ≥ 0, else α x", {"alpha": 0.01}),
    "thresholded_relu": Kind("x if x > α, else 0", {"alpha": 1.0}),
    "scaled_tanh": Kind("α tanh(β x)", {"alpha": 1.0, "beta": 1.0}),
    "hard_sigmoid": Kind("min(max(α x + β, 0), 1)", {"alpha": 0.2, "beta": 0.5}),
    "elu": Kind("x if x ≥ 0, else α (exp(x) − 1)", {"alpha": 1.0}),
    "softsign": Kind("x / (1 + |x|)", {}),
    "softplus": Kind("log(1 + exp(x))", {}),
}

FIXED: dict[str, Kind] = {
    "relu": KINDS["relu"],
    "softplus": KINDS["softplus"],
    "exp": Kind("exp(x)", {}),
    "log": Kind("log(x)", {}),
    "silu": Kind("x / (1 + exp(−x))", {}),
    "reciprocal": Kind("1 / x", {}),
    "cos": Kind("cos(x)", {}),
    "sin": Kind("sin(x)", {}),
    "elu": KINDS["elu"],
    "hard_sigmoid": Kind("min(max(x / 6 + ½, 0), 1)", {"alpha": 1 / 6, "beta": 0.5}),
}
"""What the lines of a cell may call beside σ, tanh and φ, as `a.exp(v)`: no spec puts another function in its place.
Their α and β are PyTorch's."""

APPROXIMATIONS: dict[str, Kind] = {
    "hard_tanh": Kind("min(max(x, −1), 1)", {}),
    "softsign_sigmoid": Kind("½ + ½ α x / (1 + |α x|)", {"alpha": 1.0}),
    "rational_tanh": Kind("x (27 + x²) / (27 + 9 x²), cut to ± 1", {}),
    "rational_sigmoid": Kind("½ + ½ rational_tanh(x / 2)", {}),
    "plan_sigmoid": Kind("PLAN, four straight lines", {}),
    "plan_tanh": Kind("2 plan_sigmoid(2 x) − 1", {}),
    "nearest_tanh": Kind("the nearest of α values from −8 to 8", {"alpha": 256.0}),
    "nearest_sigmoid": Kind("the nearest of α values from −8 to 8", {"alpha": 256.0}),
    "floored_tanh": Kind("the one below of α values from −8 to 8", {"alpha": 256.0}),
    "floored_sigmoid": Kind("the one below of α values from −8 to 8", {"alpha": 256.0}),
    "interpolated_tanh": Kind("a line between the nearest two of α values from −8 to 8", {"alpha": 256.0}),
    "interpolated_sigmoid": Kind("a line between the nearest two of α values from −8 to 8", {"alpha": 256.0}),
}
"""What is shipped in place of tanh and σ; no spec can choose it (`arithmetic/activations.py`)."""


@dataclass(frozen=True)
class Activation:
    """One function: its name in `KINDS` or `APPROXIMATIONS`, and α and β where it has them."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def is_gate(self) -> bool:
        """Whether every value is in [0, 1]."""
        return self.name.endswith("sigmoid")

    def __str__(self) -> str:
        """As in a spec: hard_sigmoid(0.2, 0.5)."""
        numbers = [f"{getattr(self, number):.9g}" for number in (FIXED | KINDS | APPROXIMATIONS)[self.name].numbers]
        return self.name + (f"({', '.join(numbers)})" if numbers else "")


CHOSEN = ("sigmoid", "tanh", "squash", "phi")
"""The fields of `Functions`: what a spec may put another function in place of."""
SIGMOID, TANH, RELU = Activation("sigmoid"), Activation("tanh"), Activation("relu")


@dataclass(frozen=True)
class Functions:
    """What the equations of one layer and direction call σ, tanh (of a candidate), tanh (of a cell state) and φ."""

    sigmoid: Activation = SIGMOID
    tanh: Activation = TANH
    squash: Activation = TANH
    phi: Activation = TANH
    clip: float | None = None
    """The input of each of them is limited to ± this."""
    clips_squash: bool = True
    """Whether that of a cell state's function is too, as ONNX's text says."""
    constants: tuple[tuple[str, float], ...] = ()
    """The numbers of the spec that the cell's equations name, by their keys."""

    def named(self, name: str) -> Activation:
        """The function that a cell's lines call so: one of `CHOSEN` or of `FIXED`."""
        found: Activation = getattr(self, name) if name in CHOSEN else Activation(name, **FIXED[name].numbers)
        return found

    def clip_of(self, name: str) -> float | None:
        """What limits the input of the function called so; nothing does of those that are `FIXED`."""
        return self.clip if name in CHOSEN and (self.clips_squash or name != "squash") else None

    def constant(self, name: str) -> float:
        """The number of that name in the equations."""
        return dict(self.constants)[name]

    @property
    def are_usual(self) -> bool:
        return self in _USUAL


_USUAL = (Functions(), Functions(phi=RELU))

Nonlinearity = str | Functions
"""tanh or relu, which is what φ is where all else is as usual; or all functions."""


def functions_of(nonlinearity: Nonlinearity) -> Functions:
    return nonlinearity if isinstance(nonlinearity, Functions) else Functions(phi=Activation(nonlinearity))


def parse(text: str) -> Activation | None:
    """The function that a text such as tanh or leaky_relu(0.1) names; None where it names none."""
    match = _FORM.fullmatch(text.strip())
    if match is None or match[1] not in KINDS:
        return None
    numbers = KINDS[match[1]].numbers
    try:
        said = [float(part) for part in match[2].split(",")] if match[2] and match[2].strip() else []
    except ValueError:
        return None
    if len(said) > len(numbers) or not all(map(math.isfinite, said)):
        return None
    return Activation(match[1], **(numbers | dict(zip(numbers, said, strict=False))))
