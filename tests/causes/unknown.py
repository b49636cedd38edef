"""Changes that no known mistake makes: of numbers, of functions, of what a layer goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.causes.functions import Array, sigmoid
from tests.causes.mistakes import Setting
from tests.causes.planted import Planted

if TYPE_CHECKING:
    import rnnspect

WHAT = ("parameter", "x", "h0", "function", "recording")
WHERE = ("one", "a row", "a column", "some", "all")
KEPT = ("every layer", "output", "output and final states")


@dataclass(frozen=True)
class Unknown:
    """One change, of a size between what nobody sees and what nobody overlooks."""

    setting: Setting
    seed: int
    what: str
    size: float
    where: str
    kept: str

    def recorded(self) -> tuple[Planted, Mapping[str, Any]]:
        """The network as it was meant, and what a run with the change in it recorded."""
        rng, planted = np.random.default_rng(self.seed), Planted(self.setting, self.seed)
        assert planted.spec  # of the numbers as they are
        given, flags = planted.given, {}

        def moved(values: Array) -> Array:
            at = chosen(self.where, values.shape, rng)
            return values + (self.size * rng.standard_normal(values.shape) * at).astype(np.float32)

        match self.what:
            case "parameter":
                name = str(rng.choice(sorted(planted.net.parameters)))
                planted.net.parameters[name] = moved(planted.net.parameters[name])
            case "x":
                planted.given = replace(given, x=moved(given.x))
            case "h0":
                planted.given = replace(given, h0=moved(given.h0))
            case "function":
                flags = _function(self.where, self.size)
        run = planted.run(flags)
        planted.given = given
        if self.what == "recording":
            run["output"] = moved(run["output"])
        kept = {name: value for name, value in run.items() if self.kept == "every layer" or "." not in name}
        return planted, {"output": run["output"]} if self.kept == "output" else kept

    def check(self) -> rnnspect.Verdict:
        planted, recorded = self.recorded()
        return planted.check(recorded)


def chosen(where: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Which of the numbers of an array are moved."""
    found = np.zeros(shape, bool)
    match where:
        case "one":
            found.flat[rng.integers(found.size)] = True
        case "a row":
            found[rng.integers(len(found))] = True
        case "a column":
            found[..., rng.integers(shape[-1])] = True
        case "some":
            found = rng.random(shape) < 0.3
        case _:
            found[:] = True
    return found


def _function(where: str, size: float) -> dict[str, Any]:
    """An activation that is off in one of several ways."""
    e = np.float32(size)
    match where:
        case "one":
            return {"tanh": lambda v: np.tanh(v * (1 + e))}
        case "a row":
            return {"tanh": lambda v: np.tanh(v) * (1 - e)}
        case "a column":
            return {"tanh": lambda v: np.tanh(v + e)}
        case "some":
            return {"sigma": lambda v: sigmoid(v * (1 + e)), "tanh": lambda v: np.tanh(v * (1 + e))}
    return {"tanh": lambda v: np.tanh(v) + e * v * np.exp(-v * v)}


def unknown(seed: int) -> Unknown:
    rng = np.random.default_rng([seed, 1])
    setting = Setting(
        str(rng.choice(["rnn", "gru", "gru-before", "lstm"])),
        int(rng.integers(1, 4)),
        int(rng.integers(1, 3)),
        steps=int(rng.choice([7, 40])),
    )
    where = str(rng.choice(WHERE))
    what, kept = str(rng.choice(WHAT)), str(rng.choice(KEPT))
    return Unknown(setting, int(rng.integers(2**31)), what, float(10 ** rng.uniform(-5.5, 0)), where, kept)
