"""An LSTM whose projection is in another place, run by a plain loop, is told so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import rnnspect
from rnnspect import Spec
from tests.marks import sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Out = Callable[[Array, Array, Array], Array]

OUT: dict[str, Out] = {
    "right": lambda o, c, w: (o * np.tanh(c)) @ w.T,
    "tanh after it as well": lambda o, c, w: np.tanh((o * np.tanh(c)) @ w.T),
    "tanh after it": lambda o, c, w: np.tanh((o * c) @ w.T),
    "left out": lambda o, c, w: (o * np.tanh(c))[:, : len(w)],
    "as in × out": lambda o, c, w: (o * np.tanh(c)) @ np.frombuffer(w.tobytes(), w.dtype).reshape(-1, len(w)),
    "from in × out": lambda o, c, w: (
        (o * np.tanh(c)) @ np.frombuffer(w.T.tobytes(), w.dtype).reshape(w.shape).T  # tobytes writes rows, C order
    ),
}
"""h of the output gate (B, H), the cell state and W_hr (P, H)."""


def sigmoid(v: Array) -> Array:
    return np.float32(1) / (np.float32(1) + np.exp(-v))


class Projected:
    def __init__(self, sizes: tuple[int, int, int], layers: int, seed: int = 0) -> None:
        rng, (inputs, hidden, units) = np.random.default_rng(seed), sizes
        self.layers, self.x = [], rng.standard_normal((6, 3, inputs)).astype(np.float32)
        for at in range(layers):
            shapes = {
                "weight_ih": (4 * hidden, units if at else inputs), "weight_hh": (4 * hidden, units),
                "bias_ih": (4 * hidden,), "bias_hh": (4 * hidden,), "weight_hr": (units, hidden),
            }  # fmt: skip
            drawn = {name: rng.uniform(-0.6, 0.6, shape).astype(np.float32) for name, shape in shapes.items()}
            self.layers.append(drawn)
        self.spec = Spec(
            cell="lstm", input_size=inputs, hidden_size=hidden, proj_size=units, num_layers=layers, batch_first=False,
            weights={f"{n}_l{at}": v.tolist() for at, p in enumerate(self.layers) for n, v in p.items()},
        )  # fmt: skip

    def run(self, hows: list[str]) -> list[Array]:
        """h (T, B, P) of each layer."""
        x, every = self.x, []
        for p, how in zip(self.layers, hows, strict=True):
            batch, (units, hidden) = x.shape[1], p["weight_hr"].shape
            h, c = np.zeros((batch, units), np.float32), np.zeros((batch, hidden), np.float32)
            out = []
            for row in x:
                s = row @ p["weight_ih"].T + p["bias_ih"] + h @ p["weight_hh"].T + p["bias_hh"]
                i, f, g, o = np.split(s, 4, -1)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = OUT[how](sigmoid(o), c, p["weight_hr"])
                out.append(h)
            every.append(x := np.stack(out))
        return every

    def check(self, *hows: str, whole: bool = False) -> rnnspect.Verdict:
        every = self.run(list(hows))
        recorded: Any = {f"l{at}.forward.h": h.transpose(1, 0, 2).copy() for at, h in enumerate(every)}
        return rnnspect.check(self.spec, self.x, recorded=every[-1] if whole else recorded)


@pytest.mark.each_value_once
@pytest.mark.parametrize("how", sampled([how for how in OUT if how != "right"], 4))
@pytest.mark.parametrize(
    ("sizes", "layers", "whole"), [((3, 5, 2), 1, False), ((3, 5, 2), 2, True), ((20, 32, 16), 2, False)]
)
def test_a_misplaced_projection_is_named(how: str, sizes: tuple[int, int, int], layers: int, whole: bool) -> None:
    verdict = Projected(sizes, layers).check(*[how] * layers, whole=whole)
    assert verdict.verdict == "differ"
    names = [(cause.name, cause.parameters.get("how")) for cause in verdict.causes]
    assert names, verdict.pattern
    assert names[0] == ("kernel-reshaped" if "in × out" in how else "projection-misplaced", how)
    assert verdict.causes[0].worst_ratio_after <= 1
    assert verdict.causes[0].left == ()


@pytest.mark.parametrize("layers", [1, 2])
def test_a_right_projection_agrees(layers: int) -> None:
    verdict = Projected((3, 5, 2), layers).check(*["right"] * layers)
    assert verdict.agrees
    assert verdict.causes == ()


@pytest.mark.slow
def test_a_changed_weight_of_the_projection_is_no_known_mistake() -> None:
    projected = Projected((3, 5, 2), 1)
    projected.layers[0]["weight_hr"][1, 2] += np.float32(0.25)
    verdict = projected.check("right")
    assert verdict.verdict == "differ"
    assert verdict.causes == ()
