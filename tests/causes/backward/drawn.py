"""Drawn networks with a pass backwards of the loops, as an engine that a check runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspect import Spec, Verdict
from rnnspect.checking.backward import judge_gradients
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.parameters import parameters_of
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.prepare import Prepared
from tests.causes.backward.loops import Flags, Given, Net, passed


@dataclass(frozen=True)
class Plan:
    """What is drawn from a seed."""

    seed: int
    kind: str = "lstm"
    dtype: str = "float32"
    layers: int = 1
    directions: int = 1
    steps: int = 9
    batch: int = 3
    units: int = 5
    features: int = 4
    lengths: bool = False
    relu: bool = False
    hard: bool = False
    finals: bool = True
    dropout: float = 0.0

    @property
    def spec(self) -> Spec:
        data: dict[str, Any] = {"cell": self.kind.removesuffix("-before"), "input_size": self.features}
        data |= {"hidden_size": self.units, "num_layers": self.layers, "bidirectional": self.directions == 2}
        data |= {"dtype": self.dtype}
        if self.kind == "gru-before":
            data["reset"] = "before"
        if self.relu:
            data["nonlinearity"] = "relu"
        if self.hard:
            data["activations"] = ["hard_sigmoid(0.2,0.5)", "tanh", *["tanh"] * (self.kind == "lstm")]
        return Spec(**data)


class Loops:
    """An engine of numpy loops, with mistakes in it."""

    name = "loops"

    def __init__(self, plan: Plan, mistakes: Flags) -> None:
        self._plan, self._mistakes = plan, mistakes

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        found = self._passed(spec, parameters, sequence, None)
        return Recording(self._info(), found["output"], found["h_n"], found.get("c_n"), {}, 0.0)

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        found = self._passed(spec, parameters, sequence, upstream)
        own = {name: found[name] for name in parameters}
        forwards = found["output"], found["h_n"], found.get("c_n")
        parts = *forwards, found["x"], found["h0"], found.get("c0"), own
        received = {layer: g for layer in range(1, spec.num_layers) if (g := found.get(f"x_l{layer}")) is not None}
        return EngineGradients(self._info(), *parts, inputs=received)

    def _info(self) -> EngineInfo:
        return EngineInfo(self.name, "", "cpu", self._plan.dtype)

    def _passed(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream | None
    ) -> dict[str, Tensor]:
        plan, h0 = self._plan, sequence.h0.numpy()
        net = Net(
            plan.kind, spec.num_layers, plan.directions, {name: p.numpy() for name, p in parameters.items()},
            plan.relu, plan.hard, plan.dropout * (spec.num_layers > 1),
        )  # fmt: skip
        zeros = np.zeros((*sequence.x.shape[:2], spec.hidden_size * plan.directions), h0.dtype)
        if upstream is None:
            dy, dh_n, dc_n = zeros, np.zeros_like(h0), np.zeros_like(h0)
        else:
            dh_n, dc_n = (np.zeros_like(h0) if g is None else g.numpy() for g in (upstream.h_n, upstream.c_n))
            dy = upstream.output.numpy()
        c0 = h0 if sequence.c0 is None else sequence.c0.numpy()
        given = Given(sequence.x.numpy(), h0, c0, dy, dh_n, dc_n, sequence.lengths)
        found = passed(net, given, self._mistakes)
        return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}


def prepared_of(plan: Plan, mistakes: Flags, engine: Any = None) -> tuple[Prepared, Upstream]:
    """Parameters, states and what comes from the loss are drawn; none of them is zero but beyond an item's end."""
    rng, spec = np.random.default_rng(plan.seed), plan.spec

    def drawn(*shape: int, size: float = 1.0) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape) * size).to(getattr(torch, plan.dtype))

    parameters = {one.name: drawn(*one.shape, size=0.6) for one in parameters_of(spec)}
    rows = plan.layers * plan.directions
    lengths = None
    if plan.lengths:
        lengths = (*tuple(int(n) for n in rng.integers(1, plan.steps + 1, plan.batch - 1)), plan.steps)
    h0, c0 = (drawn(rows, plan.batch, plan.units) for _ in range(2))
    sequence = Sequence(
        drawn(plan.steps, plan.batch, plan.features), h0, c0 if plan.kind == "lstm" else None, lengths, batched=True
    )
    output = drawn(plan.steps, plan.batch, plan.units * plan.directions)
    if (valid := sequence.valid()) is not None:
        output = torch.where(valid[..., None], output, 0)
    dh_n, dc_n = (drawn(rows, plan.batch, plan.units) if plan.finals else None for _ in range(2))
    upstream = Upstream(output, dh_n, dc_n if plan.kind == "lstm" else None)
    return Prepared(spec, parameters, sequence, engine or Loops(plan, mistakes)), upstream


def checked(plan: Plan, mistakes: Flags, engine: Any = None) -> Verdict:
    prepared, upstream = prepared_of(plan, mistakes, engine)
    return judge_gradients(prepared, upstream)
