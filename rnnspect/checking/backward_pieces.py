"""A check of the gradients of a long run in pieces: forwards with the states at the edges kept, then from the last
piece back, each with the gradients of the state that the piece behind it gave. Nothing else is kept of a piece."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field, replace
from typing import TypeVar

from torch import Tensor

from rnnspect.checking.check import judge_recording
from rnnspect.checking.exposed import exposed_layers
from rnnspect.engines.interface import Engine, GoesBack, Holding, InPieces
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.stack import BackwardJudged, judge_backward
from rnnspect.judging.backward.sums import SumFinding
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import Declared, declared_by
from rnnspect.judging.finding import Deviation, Finding, Progress, combine, silent
from rnnspect.judging.verdict import Point, Verdict
from rnnspect.network.device import plain_defaults
from rnnspect.network.drawing import draw_normal, generator_of
from rnnspect.network.gradients import Upstream
from rnnspect.network.losses import Loss
from rnnspect.network.memory import steps_of_a_piece_back
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.tracing.prepare import Prepared

Nearest = TypeVar("Nearest", Point, SumFinding)


def piece_back(prepared: Prepared, loss: Loss | None) -> int | None:
    """How many steps a piece has; None where the run is checked as a whole.

    It goes in pieces where it is long, one layer read forwards without lengths, on the CPU; where the engine can do
    that; and where the loss needs no output.
    """
    spec, sequence, engine = prepared.spec, prepared.sequence, prepared.engine
    if not isinstance(engine, InPieces) or engine.piece is None or isinstance(engine, Holding):
        return None
    if spec.num_layers > 1 or spec.directions != ("forward",) or sequence.lengths is not None:
        return None
    if sequence.x.device.type != "cpu" or (loss is not None and loss.needs_output):
        return None
    count = steps_of_a_piece_back(spec, sequence.batch)
    return count if count < sequence.steps else None


@dataclass
class CheckInPieces:
    """The check of one run. `engine` is the prepared one, that goes back."""

    prepared: Prepared
    engine: GoesBack
    loss: Loss | None
    declared: Declared | None
    count: int
    progress: Progress = silent
    explain: float | None = None
    _info: EngineInfo | None = None
    _begins: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    """h and c before each piece."""

    def forwards(self) -> Verdict:
        """The verdict on the values: the first that differs; `cannot tell` only where no piece could."""
        sequence, found = self.prepared.sequence, []
        h, c = sequence.h0, sequence.c0
        for start in range(0, sequence.steps, self.count):
            self._begins.append((h, c))
            piece = replace(self.prepared, sequence=self._piece(start))
            engine: Engine = self.prepared.engine
            ran = engine.run(piece.spec, piece.parameters, piece.sequence)
            self._info = ran.engine
            verdict = judge_recording(piece, ran, self.declared, silent, self.explain).verdict
            if verdict.verdict == "differ":
                return _moved_verdict(verdict, start)
            found.append(verdict)
            self.progress(None, piece.sequence.steps // 2)
            assert ran.h_n is not None
            h, c = ran.h_n.clone(), None if ran.c_n is None else ran.c_n.clone()
        return next((one for one in found if one.agrees), found[-1])

    def backwards(self) -> Verdict:
        """The verdict on the gradients, once `forwards` has run. What is behind the first wrong piece is not looked
        at."""
        spec, sequence, parameters = self.prepared.spec, self.prepared.sequence, self.prepared.parameters
        pieces = list(enumerate(range(0, sequence.steps, self.count)))
        total: BackwardJudged | None = None
        assert self._info is not None
        last: dict[str, Tensor] = {}
        for n, start in reversed(pieces):
            part = self._piece(start)
            upstream = Upstream(self._loss(n, start, part), last.get("h"), last.get("c"))
            layers = exposed_layers(self.engine, spec, parameters, part, upstream, [part.x])
            last = dict(layers[0].states)
            with plain_defaults():
                held_to = self.declared or declared_by(self._info)
                case = BackwardCase(spec, parameters, part, self._info, layers, held_to)
                judged = _moved(judge_backward(case), start, sequence.steps)
                total = judged if total is None else _joined(total, judged)
                verdict = backward_verdict(replace(case, sequence=sequence), total)
            gc.collect()  # values of a pass refer to each other, and would stay until Python looks for such circles
            self.progress(None, part.steps - part.steps // 2)
            if verdict.verdict == "differ":
                where = f"found in steps {start}–{start + part.steps - 1}; what is before them was not looked at"
                return replace(verdict, notes=(where, self._said(len(pieces))))
        return replace(verdict, notes=(self._said(len(pieces)),))

    def _said(self, calls: int) -> str:
        return (
            f"{self.engine.name} went back in {calls:,} calls of {self.count:,} steps, each with the gradients "
            "of the state that the call behind it gave; the sums of the parameters' gradients are those of each call"
        )

    def _piece(self, start: int) -> Sequence:
        sequence, n = self.prepared.sequence, start // self.count
        h, c = self._begins[n]
        return replace(sequence, x=sequence.x[start : start + self.count], h0=h, c0=c)

    def _loss(self, n: int, start: int, part: Sequence) -> Tensor:
        """dL/d output of one piece. Drawn, each piece has a seed of its own."""
        spec, whole, loss = self.prepared.spec, self.prepared.sequence, self.loss
        shape = (part.steps, part.batch, spec.output_size)
        if loss is None:
            drawn = draw_normal(shape, generator_of(spec.with_changes(seed=(spec.seed + n) % 2**64)))
            return drawn.to(part.x)
        if loss.values is not None:
            return loss.values[start : start + part.steps].to(part.x)
        ones = part.x.new_ones(shape)
        if loss.kind == "mean":
            return ones / (whole.steps * whole.batch * spec.output_size)
        if loss.kind == "last":
            ones[: None if start + part.steps < whole.steps else -1] = 0
        return ones


def _moved(judged: BackwardJudged, start: int, total: int) -> BackwardJudged:
    """What was found in a piece that begins at a step, with the places that it has in the run."""

    def of(found: Finding) -> Finding:
        behind = total - start - found.steps

        def at(seen: Deviation | None) -> Deviation | None:
            return seen and replace(seen, order=seen.order + behind, step=seen.step + start)

        over = found.over
        if over is not None:
            over = replace(over, first_step=over.first_step + start, last_step=over.last_step + start)
        return replace(found, first=at(found.first), worst=at(found.worst), over=over)

    gates = {place: of(one) for place, one in judged.gates.items()}
    return replace(judged, gates=gates, x={layer: of(one) for layer, one in judged.x.items()})


def _joined(behind: BackwardJudged, piece: BackwardJudged) -> BackwardJudged:
    """Of a state's gradient, and of each parameter's, what is nearest to its bound in any piece."""
    gates = {at: combine(one, piece.gates[at]) for at, one in behind.gates.items()}
    x = {layer: combine(one, piece.x[layer]) for layer, one in behind.x.items()}
    states = {at: _nearer(ones, piece.states[at]) for at, ones in behind.states.items()}
    parameters = {at: _nearer(ones, piece.parameters[at]) for at, ones in behind.parameters.items()}
    return BackwardJudged(gates, x, states, parameters, piece.readings)


def _nearer(behind: list[Nearest], piece: list[Nearest]) -> list[Nearest]:
    return [max(pair, key=lambda one: one.ratio) for pair in zip(behind, piece, strict=True)]


def _moved_verdict(verdict: Verdict, start: int) -> Verdict:
    first, worst = (seen and replace(seen, step=seen.step + start) for seen in (verdict.first, verdict.worst))
    note = f"found in the piece that begins at step {start}; what is behind it was not looked at"
    return replace(verdict, first=first, worst=worst, notes=(*verdict.notes, note))
