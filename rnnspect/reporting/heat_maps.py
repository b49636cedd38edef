"""One layer and direction of one batch item, painted chunk by chunk: bounded memory, however long the run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.evaluation import Floats
from rnnspect.arithmetic.expression import Expression
from rnnspect.arithmetic.recorder import equations_of, input_projection_of
from rnnspect.cells.functions import KINDS
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.finding import Progress
from rnnspect.judging.judge import Judge
from rnnspect.judging.layer import ComparedChunk
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.tensors import differences
from rnnspect.reporting.data import Derivable, LayerReport
from rnnspect.reporting.downsampling import Picture, blank
from rnnspect.reporting.keeping import Frame, Keeper, KeptSteps
from rnnspect.tracing.gradient_reach import FLAT

_EDGE = math.sqrt(1 - FLAT)
"""|tanh| where its slope 1 − tanh² is `FLAT`; σ(x) is (1 + tanh(x/2)) / 2."""
_SOFT_EDGE = 1 - math.sqrt(FLAT)
"""|softsign| where its slope (1 − |softsign|)² is `FLAT`."""


@dataclass(frozen=True)
class Saturation:
    """When a unit counts as saturated: at most `low` or at least `high`, which `words` say."""

    words: str
    low: float
    high: float

    def share(self, values: Floats) -> Floats:
        """Of (steps, units) the share of units at each step: (steps, 1)."""
        with np.errstate(invalid="ignore"):
            share: Floats = ((values <= self.low) | (values >= self.high)).mean(1, keepdims=True)
        return share


_GATE = Saturation("at most 0.026 or at least 0.974", (1 - _EDGE) / 2, (1 + _EDGE) / 2)
_SIGNED = Saturation("at least 0.949 in size", -_EDGE, _EDGE)
_SHUT = Saturation("0 or less", 0.0, np.inf)
_ENDS = Saturation("0 or 1", 0.0, 1.0)
_SOFT = Saturation("at least 0.684 in size", -_SOFT_EDGE, _SOFT_EDGE)
_KINDS = {"sigmoid": _GATE, "hard_sigmoid": _ENDS, "tanh": _SIGNED, "softsign": _SOFT}


def painted(case: Case, run: LayerRun, place: tuple[int, str], frame: Frame, progress: Progress) -> LayerReport:
    """One layer and direction: the quantities as a check computes them, each step from what the engine gave at the
    step before, and beside them what the engine showed."""
    (layer, direction), spec, seen = place, case.spec, case.observation
    p = LayerParameters.of(case.parameters, layer, direction, case.spec)
    u = case.declared.over(p.terms, seen.kept_of((layer, direction, "h")))
    judge = Judge(spec.cell_type, p, u, spec.nonlinearity_of(direction))
    of_layer = spec, case.parameters, layer, direction
    derivable = Derivable(equations_of(*of_layer), input_projection_of(*of_layer), case.parameters)
    saturated, shown = saturations(spec.cell_type.gates, derivable.equations), seen.layers.get(place, {})
    canvas = _Canvas(frame, judge.layer.wide.parameters, shown)
    keeper = Keeper(frame, shown)
    for compared in judge.compared_chunks(run, frame.item):
        part = KeptSteps(compared, run.reverse, frame)
        if not part.count:
            break
        keeper.keep(compared, part)
        canvas.curve("norm of h", part.start, _norm(part.of(compared.q["h"].v)))
        if "h" in shown:
            canvas.curve("norm of h, engine", part.start, _norm(part.of(compared.after)))
        for gate, one in saturated.items():
            canvas.curve(f"saturated {gate}", part.start, one.share(part.of(compared.q[gate].v)))
        if not frame.whole:
            canvas.paint(compared, part)
        progress(None, part.count)
    derived = dict.fromkeys(derived_maps(spec.cell_type.quantities, shown))
    return LayerReport(
        layer=layer,
        direction=direction,
        maps=derived if frame.whole else {name: canvas.maps[name] for name in derived},
        curves=canvas.curves,
        saturated={gate: one.words for gate, one in saturated.items()},
        derivable=derivable,
        kept=keeper.kept(),
    )


def derived_maps(quantities: tuple[str, ...], shown: Mapping[str, Tensor]) -> Iterator[tuple[str, str]]:
    """What there is to see of a layer: each quantity, and what is shown of it."""
    for name in ("x", "input_projection", *quantities):
        yield name, "equations"
        if name in shown:
            yield from ((name, "engine"), (name, "difference"))
        if name == "h" and name in shown:
            yield name, "ratio"


class _Canvas:
    """The pictures of a layer by name."""

    def __init__(self, frame: Frame, p: LayerParameters, shown: Mapping[str, Tensor]) -> None:
        self._frame, self._p, self._shown = frame, p, shown
        self.maps: dict[tuple[str, str], Picture] = {}
        self.curves: dict[str, Picture] = {}

    def paint(self, compared: ComparedChunk, part: KeptSteps) -> None:
        """Adds the steps of a chunk to every picture of a quantity."""
        x, start = part.of(compared.chunk.x), part.start
        self._map("x", "equations", start, x)
        projected = linear(torch.from_numpy(x), self._p.weight_ih, self._p.bias_ih).numpy()
        self._map("input_projection", "equations", start, projected)
        for name, values in compared.q.items():
            self._map(name, "equations", start, manual := part.of(values.v))
            if name in self._shown:
                engine = part.shown(self._shown[name])
                self._map(name, "engine", start, engine)
                apart = differences(torch.from_numpy(manual), torch.from_numpy(engine))
                self._map(name, "difference", start, apart.numpy())
            if name == "h" and name in self._shown:
                self._map(name, "ratio", start, part.of(compared.ratio))

    def curve(self, name: str, start: int, values: Floats) -> None:
        self.curves.setdefault(name, self._blank(values)).paint(start, values)

    def _map(self, quantity: str, shown: str, start: int, values: Floats) -> None:
        self.maps.setdefault((quantity, shown), self._blank(values)).paint(start, values)

    def _blank(self, values: Floats) -> Picture:
        return blank(self._frame.length, values.shape[1], self._frame.cells)


def _norm(values: Floats) -> Floats:
    norms: Floats = np.linalg.norm(values, axis=1, keepdims=True)
    return norms


def saturations(gates: tuple[str, ...], equations: dict[str, Expression]) -> dict[str, Saturation]:
    """When a unit of each gate counts as saturated, by the gate's function: a relu and its like where they give 0. A
    gate without such a function never does."""
    made = {gate: equations[gate] for gate in gates}
    # A gate that is computed from another one, f = 1 − i, saturates as that does.
    found = {gate: _GATE if one.is_rest else _KINDS.get(one.kind) for gate, one in made.items()}
    found |= {gate: _SHUT for gate, one in made.items() if one.kind in KINDS and not found[gate]}
    return {gate: one for gate, one in found.items() if one}
