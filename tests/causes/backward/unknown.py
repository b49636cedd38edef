"""Passes backwards that are off in a way that no known mistake makes: they go back over other numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from rnnspect import Spec, Verdict
from rnnspect.network.gradients import Upstream
from rnnspect.network.sequence import Sequence
from tests.causes.backward.drawn import Loops, Plan, checked, prepared_of
from tests.causes.backward.test_recorded import recorded_of
from tests.causes.unknown import WHERE, chosen

WHAT = ("parameter", "x", "h0", "upstream", "h_n", "result")
FORWARDS = ("output", "h_n", "c_n")


@dataclass(frozen=True)
class Unknown:
    """What is off by numbers of this size, when the loops go back: a parameter, x, h0, what comes from the loss, or a
    gradient that is given."""

    plan: Plan
    what: str
    where: str
    size: float

    def check(self) -> Verdict:
        return checked(self.plan, {}, _Off(self))

    def check_results(self) -> Verdict:
        """Of gradients that were recorded, without those of gates."""
        return recorded_of(*prepared_of(self.plan, {}, _Off(self)))


class _Off(Loops):
    def __init__(self, change: Unknown) -> None:
        super().__init__(change.plan, {})
        self._change = change

    def _passed(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream | None
    ) -> dict[str, Tensor]:
        right = super()._passed(spec, parameters, sequence, upstream)
        if upstream is None:
            return right
        rng = np.random.default_rng(self._plan.seed)
        match self._change.what:
            case "parameter":
                name = str(rng.choice(sorted(parameters)))
                parameters = {**parameters, name: self._moved(parameters[name], rng)}
            case "x":
                sequence = replace(sequence, x=self._moved(sequence.x, rng))
            case "h0":
                sequence = replace(sequence, h0=self._moved(sequence.h0, rng))
            case "upstream":
                upstream = replace(upstream, output=self._moved(upstream.output, rng))
            case "h_n" if upstream.h_n is not None:
                upstream = replace(upstream, h_n=self._moved(upstream.h_n, rng))
        found = super()._passed(spec, parameters, sequence, upstream)
        if self._change.what == "result":
            name = str(rng.choice([name for name in found if name not in FORWARDS]))
            found[name] = self._moved(found[name], rng)
        return found | {name: right[name] for name in FORWARDS if name in right}

    def _moved(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        at = chosen(self._change.where, tuple(values.shape), rng)
        moved = self._change.size * rng.standard_normal(values.shape) * at
        return values + torch.from_numpy(moved).to(values.dtype)


def unknown(seed: int) -> Unknown:
    rng = np.random.default_rng(seed)
    kind, dtype = (str(rng.choice(some)) for some in (["rnn", "gru", "gru-before", "lstm"], ["float32", "float64"]))
    plan = Plan(
        seed, kind, dtype, int(rng.integers(1, 3)), int(rng.integers(1, 3)),
        steps=int(rng.choice([4, 9, 20])), batch=int(rng.choice([1, 3])), lengths=bool(rng.random() < 0.3),
        relu=kind == "rnn" and bool(rng.random() < 0.3), finals=bool(rng.random() < 0.7),
    )  # fmt: skip
    small = 1e-8 if dtype == "float64" and rng.random() < 0.5 else 1.0
    return Unknown(plan, str(rng.choice(WHAT)), str(rng.choice(WHERE)), float(10 ** rng.uniform(-6, 0)) * small)
