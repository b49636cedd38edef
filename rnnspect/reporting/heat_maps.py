"""One layer and direction of one batch item, painted chunk by chunk: bounded memory, however long the run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspect.arithmetic.expression import Expression, equations_of, given_of
from rnnspect.cells.functions import KINDS
from rnnspect.judging.case import Case
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.finding import Progress
from rnnspect.judging.judge import Judge
from rnnspect.judging.layer import ComparedChunk
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.tensors import differences
from rnnspect.reporting.data import Derivable, EngineBeside, LayerReport
from rnnspect.reporting.deriving import cell_state_before
from rnnspect.reporting.downsampling import Picture, blank

Array = npt.NDArray[np.float64]

NEAR = 0.05
"""A gate's unit counts as saturated when it is at most this far from its limit."""


@dataclass(frozen=True)
class Frame:
    """What a report shows of a run: an item of the batch, its number of steps, the steps whose derivations are kept,
    and how many cells a picture may have."""

    item: int
    length: int
    kept: tuple[int, ...]
    cells: int


@dataclass(frozen=True)
class Saturation:
    """When a unit counts as saturated: at most `low` or at least `high`, which `words` say."""

    words: str
    low: float
    high: float

    def share(self, values: Array) -> Array:
        """Of (steps, units) the share of units at each step: (steps, 1)."""
        with np.errstate(invalid="ignore"):
            share: Array = ((values <= self.low) | (values >= self.high)).mean(1, keepdims=True)
        return share


_GATE = Saturation(f"at most {NEAR} or at least {1 - NEAR}", NEAR, 1 - NEAR)
_SIGNED = Saturation(f"at least {1 - NEAR} in size", NEAR - 1, 1 - NEAR)
_SHUT = Saturation("0 or less", 0.0, np.inf)
_KINDS = {"sigmoid": _GATE, "hard_sigmoid": _GATE, "tanh": _SIGNED, "softsign": _SIGNED}


def painted(case: Case, run: LayerRun, place: tuple[int, str], frame: Frame, progress: Progress) -> LayerReport:
    """One layer and direction: the quantities as a check computes them, each step from what the engine gave at the
    step before, and beside them what the engine showed."""
    (layer, direction), spec, seen = place, case.spec, case.observation
    p = LayerParameters.of(case.parameters, layer, direction)
    u = case.declared.over(p.terms, seen.kept_of((layer, direction, "h")))
    judge = Judge(spec.cell_type, p, u, spec.nonlinearity_of(direction))
    wide = judge.layer.wide.parameters
    equations = equations_of(spec.cell_type, case.parameters, layer, direction, spec.nonlinearity_of(direction))
    canvas = _Canvas(frame)
    given: dict[int, dict[str, Array]] = {}
    beside: dict[int, tuple[Array, Array]] = {}
    saturated, shown = saturations(spec.cell_type.gates, equations), seen.layers.get(place, {})
    for compared in judge.compared_chunks(run, frame.item):
        part = _Part(compared, run.reverse, frame)
        if not part.count:
            break
        x, engine = part.of(compared.chunk.x), part.of(compared.after)
        canvas.map("x", "equations", part.start, x)
        projected = linear(torch.from_numpy(x), wide.weight_ih, wide.bias_ih).numpy()
        canvas.map("input_projection", "equations", part.start, projected)
        canvas.curve("norm of h", part.start, _norm(part.of(compared.q["h"].v)))
        for name, values in compared.q.items():
            canvas.map(name, "equations", part.start, manual := part.of(values.v))
            if name == "h" and run.h_error is None:
                canvas.beside(name, part.start, manual, engine)
                canvas.map(name, "ratio", part.start, part.of(compared.ratio))
                canvas.curve("norm of h, engine", part.start, _norm(engine))
            elif name in shown:
                canvas.beside(name, part.start, manual, shown[name][part.steps, frame.item].double().numpy())
        for gate, one in saturated.items():
            canvas.curve(f"saturated {gate}", part.start, one.share(part.of(compared.q[gate].v)))
        for step in set(frame.kept).intersection(range(part.start, part.start + part.count)):
            n = part.order(step)
            given[step] = given_of(compared.chunk.x[n, 0], compared.chunk.before[n, 0], cell_state_before(compared, n))
            beside[step] = compared.after[n, 0].double().numpy(), compared.bound[n, 0].double().numpy(force=True).copy()
        progress(None, part.count)
    stacked = [np.stack([beside[step][at] for step in sorted(beside)]) for at in (0, 1)]
    return LayerReport(
        layer=layer,
        direction=direction,
        maps=canvas.maps,
        curves=canvas.curves,
        saturated={gate: one.words for gate, one in saturated.items()},
        derivable=Derivable(equations, case.parameters, dict(sorted(given.items()))),
        beside=EngineBeside(*stacked) if run.h_error is None else None,
    )


class _Part:
    """The steps of a chunk by their index in the input, without those beyond the item's length."""

    def __init__(self, compared: ComparedChunk, reverse: bool, frame: Frame) -> None:
        chunk, self._reverse = compared.chunk, reverse
        self.count = max(min(len(chunk.x), frame.length - chunk.start), 0)
        self.start = frame.length - chunk.start - self.count if reverse else chunk.start
        self.steps = slice(self.start, self.start + self.count)

    def of(self, values: Tensor) -> Array:
        """(steps, 1, units) in processing order as (n, units) by step of the input."""
        mine = values[: self.count, 0]
        return (mine.flip(0) if self._reverse else mine).double().numpy()

    def order(self, step: int) -> int:
        """Where a step is in the chunk."""
        return self.start + self.count - 1 - step if self._reverse else step - self.start


class _Canvas:
    """The pictures of a layer by name, in the order in which they are begun."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.maps: dict[tuple[str, str], Picture] = {}
        self.curves: dict[str, Picture] = {}

    def map(self, quantity: str, shown: str, start: int, values: Array) -> None:
        self.maps.setdefault((quantity, shown), self._blank(values)).paint(start, values)

    def curve(self, name: str, start: int, values: Array) -> None:
        self.curves.setdefault(name, self._blank(values)).paint(start, values)

    def beside(self, name: str, start: int, manual: Array, engine: Array) -> None:
        """The engine's numbers, and how far they are from the equations'."""
        self.map(name, "engine", start, engine)
        apart = differences(torch.from_numpy(manual), torch.from_numpy(engine))
        self.map(name, "difference", start, apart.numpy())

    def _blank(self, values: Array) -> Picture:
        return blank(self._frame.length, values.shape[1], self._frame.cells)


def _norm(values: Array) -> Array:
    norms: Array = np.linalg.norm(values, axis=1, keepdims=True)
    return norms


def saturations(gates: tuple[str, ...], equations: dict[str, Expression]) -> dict[str, Saturation]:
    """When a unit of each gate counts as saturated, by the gate's function: a relu and its like where they give 0."""
    made = {gate: equations[gate].kind for gate in gates}
    # A gate that is computed from another one, f = 1 − i, saturates as that does.
    return {gate: _KINDS.get(kind, _SHUT) if kind in KINDS else _GATE for gate, kind in made.items()}
