"""Stacks, both directions, lengths and losses of the output in pieces: the same gradients, the same answer and the same
first wrong address as in one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from rnnspect.arithmetic.unroll import output_of, unroll
from rnnspect.checking import backward_pieces
from rnnspect.checking.backward import check_backward
from rnnspect.checking.backward_pieces import CheckInPieces
from rnnspect.checking.check import CheckTerms
from rnnspect.engines.torch import TorchEngine
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.losses import Loss, drawn_with, loss_of
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared, prepare
from tests.marks import sampled

STEPS, PIECE, UNITS, WIDTH = 150, 64, 4, 5
SHAPES: dict[str, dict[str, Any]] = {
    "stack": {"cell": "gru", "num_layers": 3},
    "both": {"cell": "lstm", "bidirectional": True},
    "stack of both": {"cell": "lstm", "num_layers": 2, "bidirectional": True},
    "lengths": {"cell": "gru", "lengths": [150, 20, 128, 64, 65]},
    "lengths of both": {"cell": "lstm", "lengths": [150, 20, 128, 64, 65], "bidirectional": True, "num_layers": 2},
    "projected": {"cell": "lstm", "proj_size": 3, "num_layers": 2, "bidirectional": True},
    "float64": {"cell": "rnn", "num_layers": 2, "bidirectional": True, "dtype": "float64"},
}


def prepared(shape: dict[str, Any], engine: Any = None) -> Prepared:
    spec = Spec(input_size=WIDTH, hidden_size=UNITS, batch_first=False, **shape)
    batch = len(shape.get("lengths", [0, 0]))
    x = torch.randn(STEPS, batch, WIDTH, generator=torch.Generator().manual_seed(0), dtype=getattr(torch, spec.dtype))
    made = prepare(spec, x, *["randn"] * len(spec.cell_type.states))
    return replace(made, engine=engine or TorchEngine())


def losses(made: Prepared, name: str) -> Loss:
    """By name, or with numbers for each output."""
    if name == "of final states":
        name = drawn_with(f"{state}_n" for state in made.spec.cell_type.states)
        return loss_of(name, made.spec, made.sequence, "loss")
    if name in ("sum", "mean", "last"):
        return loss_of(name, made.spec, made.sequence, "loss")
    shape = (STEPS, made.sequence.batch, made.spec.output_size * made.spec.num_directions)
    return Loss(name, name, torch.randn(shape, generator=torch.Generator().manual_seed(1)))


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward_pieces, "steps_of_a_piece_back", lambda _spec, _batch: PIECE)


def together(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[int, list[Any]], dict[str, torch.Tensor]]:
    """Filled with the pieces of each layer and dL/dx of them, and with the sums of the gradients of the parameters."""
    parts: dict[int, list[Any]] = {}
    sums: dict[str, torch.Tensor] = {}
    judged = CheckInPieces._judged

    def seeing(self: CheckInPieces, piece: Any, seen: Any, layer: int, total: Any) -> Any:
        parts.setdefault(layer, []).append((piece, seen.grad_x.clone()))
        for name, values in seen.parameters.items():
            sums[name] = sums.get(name, 0) + values.double()
        return judged(self, piece, seen, layer, total)

    monkeypatch.setattr(CheckInPieces, "_judged", seeing)
    return parts, sums


@pytest.mark.each_value_once
@pytest.mark.parametrize("shape", sampled(SHAPES, 2))
@pytest.mark.parametrize("kind", ["sum", "mean", "last", "given", "mse", "of final states"])
@pytest.mark.usefixtures("pieces")
def test_the_pieces_together_are_the_pass_as_a_whole(shape: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """dL/dx and the parameters' gradients. Of the largest: float32's rounding, 2⁻²⁴, of 150 steps in two layers, and in
    float64 2⁻⁵³, times a hundred."""
    made = prepared(SHAPES[shape])
    loss = losses(made, kind)
    parts, sums = together(monkeypatch)
    found = check_backward(made, loss)
    assert found.agrees, (found.reason, found.first)
    assert any(" calls" in note for note in found.notes)
    engine, eps = TorchEngine(), torch.finfo(made.sequence.x.dtype).eps
    output = engine.run(made.spec, made.parameters, made.sequence).output
    assert output is not None
    whole = engine.backward(made.spec, made.parameters, made.sequence, loss.of(output, made.sequence)[1])
    assert whole.x is not None
    x = torch.zeros_like(whole.x)
    for piece, values in parts[0]:
        piece.write(values, x)
    assert len(parts[0]) == 3
    assert float((x - whole.x).abs().max()) < 100 * eps * float(whole.x.abs().max())
    assert sums.keys() == whole.parameters.keys()
    for name, values in whole.parameters.items():
        assert float((sums[name] - values).abs().max()) < 100 * eps * float(values.abs().max()), name


@pytest.mark.parametrize("shape", sampled(SHAPES, 6))
def test_as_many_gradients_are_judged_as_in_one_piece(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepared(SHAPES[shape])
    loss = losses(made, "mse")
    one = check_backward(made, loss)
    monkeypatch.setattr(backward_pieces, "steps_of_a_piece_back", lambda _spec, _batch: PIECE)
    several = check_backward(made, loss)
    assert (one.verdict, one.values, one.steps, one.items) == ("agree", several.values, several.steps, several.items)
    assert several.agrees
    assert [(r.layer, r.direction, r.gate) for r in several.resolution] == [
        (r.layer, r.direction, r.gate) for r in one.resolution
    ]


class OneWrong(TorchEngine):
    """torch, with the gradient of a gate's pre-activation changed in one layer and direction, at one step of one item:
    where the layer receives this x. `beside` is an engine that is changed so in place of torch."""

    beside: TorchEngine | None = None

    def __init__(self, made: Prepared, at: tuple[int, str], step: int, item: int, gate_unit: int) -> None:
        layer, direction = at
        self._width = made.spec.layer_input_size(layer)
        x = made.sequence.x
        if layer:
            every = unroll(made.spec, made.parameters, made.sequence)
            x = output_of([one.quantities["h"] for one in every if one.layer == layer - 1], made.sequence)
        self._x = x[step, item]
        packed = len(made.spec.cell_type.gates) * UNITS
        self._column = self._width + made.spec.directions.index(direction) * packed + gate_unit

    def backward(self, spec: Any, parameters: Any, sequence: Any, upstream: Upstream) -> EngineGradients:
        given = (self.beside or super()).backward(spec, parameters, sequence, upstream)
        if spec.num_layers == 1 and spec.input_size > self._column:
            assert given.x is not None
            near = (sequence.x[..., : self._width] - self._x).abs().amax(-1) < 1e-5
            values = given.x[..., self._column]
            values[near] = values[near] * 1.5 + 1e-3
        return given


class Turned(TorchEngine):
    """torch, reading x from its last step to its first: what a layer alone in reverse computes."""

    def run(self, spec: Any, parameters: Any, sequence: Any) -> Any:
        forward, own = spec.with_changes(reverse=False), {name[: -len("_reverse")]: p for name, p in parameters.items()}
        ran = super().run(forward, own, replace(sequence, x=sequence.x.flip(0)))
        layers = {(layer, "reverse"): h.flip(0) for (layer, _), h in ran.layers.items()}
        return replace(ran, output=ran.output.flip(0), layers=layers)

    def backward(self, spec: Any, parameters: Any, sequence: Any, upstream: Upstream) -> EngineGradients:
        forward, own = spec.with_changes(reverse=False), {name[: -len("_reverse")]: p for name, p in parameters.items()}
        turned = replace(upstream, output=upstream.output.flip(0))
        given = super().backward(forward, own, replace(sequence, x=sequence.x.flip(0)), turned)
        assert given.x is not None
        assert given.output is not None
        named = {f"{name}_reverse": values for name, values in given.parameters.items()}
        return replace(given, x=given.x.flip(0), output=given.output.flip(0), parameters=named)


@pytest.mark.parametrize("kind", ["last", "mse"])
@pytest.mark.usefixtures("pieces")
def test_in_reverse_alone_the_first_piece_is_the_last(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepared({"cell": "lstm", "reverse": True, "num_layers": 2}, Turned())
    loss = losses(made, kind)
    parts, _ = together(monkeypatch)
    found = check_backward(made, loss)
    assert found.agrees, (found.reason, found.first)
    assert [piece.start for piece, _ in parts[0]] == [0, 64, 128]
    output = Turned().run(made.spec, made.parameters, made.sequence).output
    whole = Turned().backward(made.spec, made.parameters, made.sequence, loss.of(output, made.sequence)[1])
    assert whole.x is not None
    x = torch.cat([values for _, values in parts[0]])
    near = 100 * torch.finfo(x.dtype).eps  # as above
    assert float((x - whole.x).abs().max()) < near * float(whole.x.abs().max())


PLANTED = [
    ("stack", (2, "forward"), 140, 1),
    ("stack", (1, "forward"), 63, 0),
    ("stack", (0, "forward"), 0, 1),
    ("both", (0, "reverse"), 64, 1),
    ("both", (0, "forward"), 5, 0),
    ("stack of both", (1, "reverse"), 149, 0),
    ("stack of both", (0, "forward"), 100, 1),
    ("lengths", (0, "forward"), 19, 1),
    ("lengths", (0, "forward"), 64, 4),
    ("lengths of both", (1, "reverse"), 127, 2),
    ("lengths of both", (0, "reverse"), 64, 4),
    ("lengths of both", (0, "forward"), 10, 3),
]


@pytest.mark.parametrize(("shape", "at", "step", "item"), sampled(PLANTED, 6))
def test_a_wrong_gradient_has_the_same_address_as_in_one_piece(
    shape: str, at: tuple[int, str], step: int, item: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepared(SHAPES[shape])
    wrong = replace(made, engine=OneWrong(made, at, step, item, UNITS + 1))
    loss = losses(made, "given")
    one = check_backward(wrong, loss, terms=CheckTerms(explain=0))
    monkeypatch.setattr(backward_pieces, "steps_of_a_piece_back", lambda _spec, _batch: PIECE)
    several = check_backward(wrong, loss, terms=CheckTerms(explain=0))
    assert one.first is not None
    assert several.first is not None
    assert (one.first.at, one.first.step, one.first.batch, one.first.unit) == (at, step, item, 1)
    assert several.first.address == one.first.address
    assert several.first.engine == pytest.approx(one.first.engine, rel=1e-4)  # roundings of 150 steps
    assert f"of layer {at[0]} {at[1]}, step {step}" in several.first.address
    assert any("not checked" in note for note in several.notes) == (at[0] > 0 or not made.spec.bidirectional)


@pytest.mark.slow
def test_of_two_directions_the_first_is_that_which_going_back_meets_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reverse direction goes back from the first step: step 149 is its last."""
    made = prepared(SHAPES["both"])
    wrong = OneWrong(made, (0, "forward"), 100, 1, UNITS + 1)
    wrong.beside = OneWrong(made, (0, "reverse"), 149, 0, UNITS + 1)
    one = check_backward(replace(made, engine=wrong), terms=CheckTerms(explain=0))
    monkeypatch.setattr(backward_pieces, "steps_of_a_piece_back", lambda _spec, _batch: PIECE)
    several = check_backward(replace(made, engine=wrong), terms=CheckTerms(explain=0))
    assert one.first is not None
    assert several.first is not None
    assert several.first.address == one.first.address
    assert (one.first.at, one.first.step) == ((0, "forward"), 100)


@pytest.mark.usefixtures("pieces")
def test_a_known_mistake_is_found_in_a_piece() -> None:
    class Doubled(TorchEngine):
        def backward(self, spec: Any, parameters: Any, sequence: Any, upstream: Upstream) -> EngineGradients:
            given = super().backward(spec, parameters, sequence, upstream)
            twice = {name: 2 * values for name, values in given.parameters.items()}
            return replace(given, parameters=twice)

    found = check_backward(prepared(SHAPES["stack of both"], Doubled()))
    assert found.verdict == "differ"
    assert found.causes, found.notes
    assert all("layer 1" in place for cause in found.causes for place in cause.scope)


@pytest.mark.usefixtures("pieces")
def test_a_wrong_value_of_an_upper_layer_is_found_at_its_place() -> None:
    class Wrong(TorchEngine):
        def run(self, spec: Any, parameters: Any, sequence: Any) -> Any:
            ran = super().run(spec, parameters, sequence)
            if spec.input_size == 2 * UNITS and 1 < sequence.steps < PIECE:  # layer 1, the last piece
                ran.layers[0, "reverse"][4, -1, 2] += 0.1
            return ran

    found = check_backward(prepared(SHAPES["lengths of both"], Wrong()), terms=CheckTerms(explain=0))
    assert found.first is not None
    assert (found.backward, found.first.at, found.first.step) == (False, (1, "reverse"), 132)
    assert (found.first.batch, found.steps, found.items) == (0, STEPS, 5)
    assert found.pattern is None or "layer 0" not in found.pattern
