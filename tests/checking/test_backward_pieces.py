"""A long run whose gradients are checked in pieces: the same answer as in one, and a wrong one at its own step."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch

from rnnspect.arithmetic.tape import Tape
from rnnspect.checking import backward_pieces
from rnnspect.checking.backward import check_backward
from rnnspect.checking.check import CheckTerms
from rnnspect.checking.pieces_joined import joined
from rnnspect.engines.torch import TorchEngine
from rnnspect.judging.backward import judge, screened
from rnnspect.judging.backward.stack import BackwardJudged, StateFinding
from rnnspect.judging.finding import Finding
from rnnspect.judging.verdict import Point
from rnnspect.network.gradients import EngineGradients
from rnnspect.network.losses import loss_of
from rnnspect.network.memory import steps_of_a_piece_back
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared, prepare

pytestmark = pytest.mark.usefixtures("no_causes")

STEPS, PIECE = 300, 128


def prepared(cell: str, engine: Any = None) -> Prepared:
    spec = Spec(cell=cell, input_size=5, hidden_size=7, batch_first=False)
    x = torch.randn(STEPS, 2, 5, generator=torch.Generator().manual_seed(0))
    made = prepare(spec, x, *["randn"] * len(spec.cell_type.states))
    return replace(made, engine=engine or TorchEngine())


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward_pieces, "steps_of_a_piece_back", lambda _spec, _batch: PIECE)


@pytest.mark.each_value_once
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("loss", [None, "sum", "mean", "last", "mse"])
@pytest.mark.usefixtures("pieces")
def test_a_correct_engine_agrees(cell: str, loss: str | None) -> None:
    made = prepared(cell)
    chosen = loss and loss_of("last" if loss == "mse" else loss, made.spec, made.sequence, "loss")
    if chosen and loss == "mse":
        chosen = replace(chosen, kind="mse", values=torch.zeros(STEPS, 2, 7))
    found = check_backward(made, chosen or None)
    assert found.agrees, (found.reason, found.first)
    assert found.steps == STEPS
    assert any("3 calls" in note for note in found.notes)


class OneWrong(TorchEngine):
    """torch, with the gradient of one gate's pre-activation changed at one step of one item."""

    def __init__(self, step: int) -> None:
        self._step, self._calls = step, 0

    def backward(self, spec: Any, parameters: Any, sequence: Any, upstream: Any) -> EngineGradients:
        given = super().backward(spec, parameters, sequence, upstream)
        self._calls += 1  # from the last piece on
        start = (STEPS - 1) // PIECE * PIECE - (self._calls - 1) * PIECE
        if start <= self._step < start + sequence.steps:
            assert given.x is not None
            given.x[self._step - start, 1, 5 + 3] *= 1.01
        return given


@pytest.mark.parametrize("step", [290, 200, 127, 0])
@pytest.mark.usefixtures("pieces")
def test_a_wrong_gradient_is_found_at_its_step(step: int) -> None:
    found = check_backward(prepared("gru", OneWrong(step)))
    assert found.first is not None
    assert (found.first.quantity, found.first.step, found.first.batch, found.first.unit) == ("grad.r_pre", step, 1, 3)
    assert any("found in steps" in note for note in found.notes)


@pytest.mark.usefixtures("pieces")
def test_values_of_a_layer_that_cannot_be_told_are_not_made_up_for_by_those_above() -> None:
    """Gates that are saturated at most steps: all gradients can be told, and not all values."""
    spec = Spec(cell="gru", input_size=5, hidden_size=7, num_layers=2, batch_first=False)
    x = torch.randn(STEPS, 2, 5, generator=torch.Generator().manual_seed(0))
    made = replace(prepare(spec, x, "randn"), engine=TorchEngine())
    found = check_backward(
        replace(made, parameters={**made.parameters, "weight_ih_l0": 200 * made.parameters["weight_ih_l0"]})
    )
    assert (found.verdict, found.backward) == ("cannot tell", False)
    assert str(found.reason).startswith("layer 0 forward: this input cannot reveal an error of 0.01 in gate r")


@pytest.mark.usefixtures("pieces")
def test_a_wrong_value_is_found_at_its_step() -> None:
    class Wrong(TorchEngine):
        def run(self, spec: Any, parameters: Any, sequence: Any) -> Any:
            ran = super().run(spec, parameters, sequence)
            if sequence.steps < PIECE:  # the last piece
                ran.layers[0, "forward"][4, 0, 2] += 0.1
            return ran

    found = check_backward(prepared("lstm", Wrong()), terms=CheckTerms(explain=0))
    assert found.first is not None
    assert (found.backward, found.first.step) == (False, 260)


def test_a_piece_is_smaller_for_a_wider_network() -> None:
    """So many steps that what is kept of them is about 128 MB, however long the run is."""
    narrow, wide = (Spec(cell="lstm", input_size=8, hidden_size=size) for size in (64, 512))
    assert 64 <= steps_of_a_piece_back(wide, 1) < steps_of_a_piece_back(narrow, 1) < 2**14
    assert steps_of_a_piece_back(narrow, 1) % 64 == 0


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.usefixtures("pieces")
def test_the_pieces_together_are_the_pass_as_a_whole(cell: str) -> None:
    """dL/dx, with all that comes from the steps behind a piece. 1e-5 of the largest: float32's rounding of 300 steps,
    which fade, times a hundred."""
    seen: list[torch.Tensor] = []

    class Seen(TorchEngine):
        def backward(self, spec: Any, parameters: Any, sequence: Any, upstream: Any) -> EngineGradients:
            given = super().backward(spec, parameters, sequence, upstream)
            assert given.x is not None
            seen.insert(0, given.x[..., :5])
            return given

    made = prepared(cell, Seen())
    loss = loss_of("sum", made.spec, made.sequence, "loss")
    assert check_backward(made, loss).agrees
    upstream = loss.of(torch.ones(STEPS, 2, 7), made.sequence)[1]
    whole = TorchEngine().backward(made.spec, made.parameters, made.sequence, upstream).x
    assert whole is not None
    assert len(seen) == 3
    assert float((torch.cat(seen) - whole).abs().max()) < 1e-5 * float(whole.abs().max())


@pytest.mark.parametrize("kept", [0, 2**30])
@pytest.mark.usefixtures("pieces")
def test_no_tape_waits_for_the_collector_of_circles(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tape of a piece holds megabytes; `kept` is how much of the pass forwards is kept for going back."""
    tapes, made = weakref.WeakSet[Tape](), Tape.__init__

    def seen(self: Tape, *given: Any, **named: Any) -> None:
        made(self, *given, **named)
        if self.seen:  # it goes back
            tapes.add(self)

    monkeypatch.setattr(Tape, "__init__", seen)
    for module in (judge, screened):
        monkeypatch.setattr(module, "_KEPT", kept)
    whole = prepared("lstm")
    gc.disable()
    try:
        assert check_backward(whole).agrees
        assert list(tapes) == []
    finally:
        gc.enable()


@pytest.mark.parametrize("from_the_end", [True, False])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_of_two_wrong_pieces_the_first_is_the_one_met_first_going_back(direction: str, from_the_end: bool) -> None:
    def piece(step: int, ratio: float) -> BackwardJudged:
        point = Point("grad.h", 0, direction, step, 0, 0, 0.0, 1.0, 1 / ratio, ratio)
        at, finding = (0, direction), Finding(1, 1, resolution=torch.ones(1, 1))
        return BackwardJudged({at: finding}, {}, {at: [StateFinding(point, point)]}, {}, {})

    first, second = (50, 10) if from_the_end else (10, 50)
    (both,) = joined(piece(first, 2.0), piece(second, 3.0), from_the_end).states[0, direction]
    assert both.first is not None
    assert both.first.step == (50 if direction == "forward" else 10)
    assert both.worst.step == second
