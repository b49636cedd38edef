"""A check of the gradients of a long run in pieces: forwards layer by layer with the states at the edges kept, then
back from the top layer down, each piece with the gradients of the states that the pieces behind it gave.

Nothing else is kept of a piece but what the layer above receives. That of many steps lies in a temporary file; on the
way back dL/d of it takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.causes.backward.search import explain_backward
from rnnspect.checking.check import CheckTerms, judge_recording
from rnnspect.checking.exposed import exposed_layer
from rnnspect.checking.pieces import LayerPieces, Piece
from rnnspect.checking.pieces_joined import in_whole, joined, verdict_in_whole
from rnnspect.engines.interface import Engine, GoesBack, Holding, InPieces
from rnnspect.files.on_disk import zeros
from rnnspect.judging.backward.case import BackwardCase, SeenLayer
from rnnspect.judging.backward.stack import BackwardJudged, judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import declared_by
from rnnspect.judging.finding import silent
from rnnspect.judging.verdict import Explained, Verdict
from rnnspect.network.device import plain_defaults
from rnnspect.network.drawing import draw_normal, generator_of
from rnnspect.network.losses import Loss, finals_drawn
from rnnspect.network.memory import steps_of_a_piece_back
from rnnspect.network.recording import EngineInfo
from rnnspect.network.sequence import Sequence
from rnnspect.network.shown import counted
from rnnspect.tracing.prepare import Prepared


def piece_back(prepared: Prepared) -> int | None:
    """How many steps a piece has; None where the run is checked as a whole: it is short, is not on the CPU, or the
    engine cannot run it in pieces."""
    spec, sequence, engine = prepared.spec, prepared.sequence, prepared.engine
    if not isinstance(engine, InPieces) or engine.piece is None or isinstance(engine, Holding):
        return None
    if sequence.x.device.type != "cpu":
        return None
    count = steps_of_a_piece_back(spec, sequence.batch)
    return count if count < sequence.steps else None


@dataclass
class CheckInPieces:
    """The check of one run. `engine` is the prepared one, that goes back."""

    prepared: Prepared
    engine: GoesBack
    loss: Loss | None
    count: int
    """The number of steps of a piece."""
    terms: CheckTerms
    _info: EngineInfo | None = None
    _layers: list[LayerPieces] = field(default_factory=list)
    _outputs: list[Tensor] = field(default_factory=list)
    """The output of each layer (T, B, D·P), as far as it is needed."""
    _why: Explained | None = None

    def forwards(self) -> Verdict:
        """The verdict on the values: the first piece that differs, from the lowest layer up; `cannot tell` only where
        no piece of a layer could be judged."""
        prepared, found = self.prepared, []
        spec, sequence = prepared.spec, prepared.sequence
        needed = spec.num_layers - (not (self.loss and self.loss.needs_output))
        shape, kind = (sequence.steps, sequence.batch, spec.output_width), sequence.x.dtype
        self._outputs = [zeros(shape, kind, "what a layer gives") for _ in range(needed)]
        finals = self.loss.finals if self.loss else finals_drawn(spec, sequence.batch)
        for layer in range(spec.num_layers):
            self._layers.append(LayerPieces(spec, prepared.parameters, sequence, layer, self.count, finals))
            verdict = self._layer_forwards(layer)
            if verdict.verdict == "differ":
                return verdict
            found.append(verdict)
        return next((one for one in found if not one.agrees), found[-1])

    def _layer_forwards(self, layer: int) -> Verdict:
        pieces, found = self._layers[layer], []
        engine: Engine = self.prepared.engine
        whole = {
            "spec": self.prepared.spec,
            "steps": self.prepared.sequence.steps,
            "items": self.prepared.sequence.batch,
        }
        for order, for_good in pieces.runs():
            for at in order:
                piece = pieces.cut(at, self._input(layer))
                ran = engine.run(pieces.spec, pieces.parameters, piece.run)
                pieces.carry(at, (ran.h_n, ran.c_n))
                if not for_good:
                    continue
                self._info = ran.engine
                made = replace(self.prepared, spec=pieces.spec, parameters=pieces.parameters, sequence=piece.run)
                verdict = judge_recording(made, ran, replace(self.terms, progress=silent)).verdict
                found.append(verdict_in_whole(verdict, piece, layer, whole))
                if verdict.verdict == "differ":
                    note = f"found in steps {piece.start}–{piece.stop - 1} of layer {layer}; the steps computed after "
                    note += "them, and the layers above, were not checked"
                    return replace(found[-1], notes=(*found[-1].notes, note))
                if layer < len(self._outputs):
                    assert ran.output is not None
                    piece.write(ran.output, self._outputs[layer])
                self._done(piece, forwards=True)
        return next((one for one in found if one.agrees), found[-1])

    def backwards(self) -> Verdict:
        """The verdict on the gradients, once `forwards` has run. Pieces before the first wrong one, and layers below
        it, are not looked at."""
        total = BackwardJudged()
        for layer in reversed(range(self.prepared.spec.num_layers)):
            total, verdict, where = self._layer_back(layer, total)
            if verdict.verdict == "differ":
                why = self._why or Explained()
                below = f"the layers below layer {layer} were not checked" if layer else None
                notes = (where, below, why.note, self._said())
                found = replace(verdict, causes=why.causes, indistinguishable=why.indistinguishable)
                return replace(found, notes=tuple(filter(None, notes)))
        return replace(verdict, notes=(self._said(),))

    def _layer_back(self, layer: int, total: BackwardJudged) -> tuple[BackwardJudged, Verdict, str | None]:
        """The findings so far with those in one layer; and if only some of its steps were looked at, which."""
        spec, pieces = self.prepared.spec, self._layers[layer]
        for order, for_good in pieces.runs_back():
            for at in order:
                piece = pieces.cut(at, self._input(layer))
                upstream = pieces.upstream(at, self._upstream(layer, at, piece))
                if not for_good:
                    given = self.engine.backward(pieces.spec, pieces.parameters, piece.run, upstream)
                    pieces.carry_back(at, (given.h0, given.c0))
                    continue
                seen = exposed_layer(self.engine, spec, layer, self.prepared.parameters, piece.run, upstream)
                pieces.carry_back(at, seen.states.values())
                total, verdict = self._judged(piece, seen, layer, total)
                if layer:
                    piece.write(seen.grad_x, self._outputs[layer - 1])
                self._done(piece, forwards=False)
                if verdict.verdict == "differ" and not spec.bidirectional:
                    steps = f"steps {piece.start}–{piece.stop - 1}"
                    return total, verdict, f"found in {steps}; the rest of the backward pass was not checked"
        return total, verdict, None

    def _judged(
        self, piece: Piece, seen: SeenLayer, layer: int, total: BackwardJudged
    ) -> tuple[BackwardJudged, Verdict]:
        """The findings so far with those in one piece, and the verdict on all that was looked at. For the first piece
        that differs known mistakes are looked for."""
        spec, whole = self.prepared.spec, self.prepared.sequence
        with plain_defaults():
            case = self._case(self._stacked(piece, layer), (seen,), layer)
            judged = judge_backward(case)
            there = in_whole(judged, piece, self._layers[layer], whole)
            total = joined(total, there, from_the_end=spec.directions == ("forward",))
            verdict = backward_verdict(self._case(whole), total)
            if verdict.verdict == "differ" and self._why is None:
                with self.terms.progress.searching(verdict):
                    self._why = explain_backward(case, judged, self.terms.explain)
        return total, verdict

    def _case(self, sequence: Sequence, layers: tuple[SeenLayer, ...] = (), lowest: int = 0) -> BackwardCase:
        assert self._info is not None
        held_to, prepared = self.terms.declared or declared_by(self._info), self.prepared
        return BackwardCase(prepared.spec, prepared.parameters, sequence, self._info, layers, held_to, lowest)

    def _stacked(self, piece: Piece, layer: int) -> Sequence:
        """The input of a piece, with the states of one layer among those of the whole stack."""
        count, whole, run = self.prepared.spec.num_directions, self.prepared.sequence, piece.run
        rows, each = torch.arange(layer * count, (layer + 1) * count), zip(whole.state, run.state, strict=True)
        states: list[Any] = [every[:, piece.items].index_copy(0, rows, own) for every, own in each]
        return replace(run, **dict(zip(("h0", "c0"), states, strict=False)))

    def _input(self, layer: int) -> Tensor:
        return self._outputs[layer - 1] if layer else self.prepared.sequence.x

    def _upstream(self, layer: int, at: int, piece: Piece) -> Tensor:
        """dL/d output of a piece of a layer: from the layer above, or from the loss. Where it is drawn, each piece has
        a seed of its own."""
        spec, whole, loss = self.prepared.spec, self.prepared.sequence, self.loss
        if layer < spec.num_layers - 1:
            return piece.of(self._outputs[layer])
        shape = piece.run.steps, whole.batch, spec.output_width
        if loss is None:
            drawn = draw_normal(shape, generator_of(spec.with_changes(seed=(spec.seed + at) % 2**64))).to(whole.x)
        else:
            nothing = torch.zeros((), dtype=whole.x.dtype).expand(shape)
            output = self._outputs[layer][piece.start : piece.stop] if loss.needs_output else nothing
            drawn = loss.of_piece(output, whole, piece.start)
        return drawn[:, piece.items]

    def _done(self, piece: Piece, forwards: bool) -> None:
        steps = piece.run.steps * self.prepared.spec.num_directions
        self.terms.progress(None, steps // 2 if forwards else steps - steps // 2)

    def _said(self) -> str:
        calls, stack = len(self._layers[0]), self.prepared.spec.num_layers > 1
        made = counted(calls, "call") + (" a layer" if stack else "")
        return (
            f"{self.engine.name} ran the backward pass in {made} of {counted(self.count, 'step')}, each with the "
            "gradients of the states from the call before; the sums of the parameters' gradients are those of each call"
        )
