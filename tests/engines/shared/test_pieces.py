"""A run in pieces: what is called, with which state, what is told of it; and that nothing else comes out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from rnnspect import Spec, check
from rnnspect.checking.check import judge_recording
from rnnspect.engines.shared import pieces
from rnnspect.engines.shared.pieces import SplitEngine
from rnnspect.errors import EngineError, InputError
from rnnspect.network.recording import EngineInfo, Recording
from rnnspect.network.split import Split
from rnnspect.network.tensors import max_abs_difference
from rnnspect.tracing.prepare import prepare
from tests.engines.test_engines import NAMES, find

SHAPES = {"one": (1, 3, 4, 1), "odd": (7, 5, 33, 2), "wide": (3, 8, 64, 1)}
"""Batch, input_size, hidden_size, layers. Rows of 7 · 33 numbers begin on no cache line."""


def prepared(cell: str = "lstm", shape: str = "one", **more):
    batch, width, hidden, layers = SHAPES[shape]
    sizes = {"input_size": width, "hidden_size": hidden, "num_layers": layers, "batch": batch}
    states = {"h0": "randn"} | ({"c0": "randn"} if cell == "lstm" else {})
    return prepare(Spec(**{"cell": cell, "input": "randn:300", **sizes, **states, **more}))


class Counting:
    """Its h is the sum of all x so far, in whole numbers, which are exact however they are cut."""

    name = "counting"
    piece: int | None = 128
    apart = 0.0

    def __init__(self) -> None:
        self.calls: list[tuple[int, float]] = []

    def run(self, spec, parameters, sequence):
        del parameters
        self.calls.append((sequence.steps, float(sequence.h0[0, 0, 0])))
        h = sequence.h0[:1] + sequence.x.cumsum(0)
        info = EngineInfo(self.name, "", "cpu", spec.dtype)
        return Recording(info, h, h[-1:], None, {(0, "forward"): h}, self.apart, notes=("its own note",))


def counted(engine: Counting, **more):
    spec = Spec(**{"cell": "rnn", "input_size": 2, "hidden_size": 2, "input": "ones:300", "dtype": "float64", **more})
    told: list[int] = []
    return replace(prepare(spec), engine=engine).run(told.append), told


def test_each_piece_begins_with_the_state_that_the_one_before_ended_with():
    engine = Counting()
    ran, told = counted(engine)
    assert engine.calls == [(128, 0.0), (128, 128.0), (44, 256.0)]
    assert told == [128, 128, 44]
    assert ran.output is not None
    assert ran.output[:, 0, 0].tolist() == list(range(1, 301))
    assert ran.h_n is not None
    assert ran.h_n[0, 0].tolist() == [300, 300]
    assert ran.layers[0, "forward"] is ran.output
    said = "counting ran in 3 calls of 128 steps, with the state carried from call to call"
    assert ran.notes == ("its own note", said)


@pytest.mark.parametrize(
    "more",
    [{"bidirectional": True}, {"reverse": True}, {"batch": 2, "lengths": [300, 7]}, {"input": "ones:128"}],
    ids=str,
)
def test_what_cannot_be_cut_is_one_call(more):
    engine = Counting()
    ran, told = counted(engine, **more)
    assert len(engine.calls) == 1
    assert ran.notes == ("its own note",)
    assert sum(told) == (128 if "input" in more else 300) * (2 if "bidirectional" in more else 1)


def test_an_engine_that_does_not_say_so_is_called_once():
    engine = Counting()
    engine.piece = None
    counted(engine)
    assert [steps for steps, _ in engine.calls] == [300]


def test_a_stack_that_gives_other_bits_than_its_layers_is_one_call():
    """Its pieces would begin with the states of the stack, which are not those of the layers."""
    engine = Counting()
    engine.apart = 1e-9
    ran, _ = counted(engine)
    assert [steps for steps, _ in engine.calls] == [128, 300]
    assert ran.notes == ("its own note",)


def test_a_wide_network_goes_in_shorter_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "WORKSPACE", 1 << 16)
    engine = Counting()
    counted(engine, hidden_size=2, batch=20)
    assert [steps for steps, _ in engine.calls] == [64, 64, 64, 64, 44]  # 2^16 / (20 · 8 · 8) is below 64


@pytest.mark.each_value_once
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_torch_gives_the_same_numbers_in_pieces(monkeypatch, cell, shape):
    """Within 32 roundings of numbers below 1: which sum a product takes is the processor's affair."""
    one = prepared(cell, shape)
    whole = one.engine.run(one.spec, one.parameters, one.sequence)
    monkeypatch.setattr(type(one.engine), "piece", 64)
    ran = one.run()
    assert "torch ran in 5 calls of 64 steps" in ran.notes[-1]
    assert ran.layers.keys() == whole.layers.keys()
    pairs = [(ran.output, whole.output), (ran.h_n, whole.h_n)]
    pairs += [(ran.c_n, whole.c_n)] if cell == "lstm" else []
    pairs += [(ran.layers[place], whole.layers[place]) for place in whole.layers]
    for ours, theirs in pairs:
        assert max_abs_difference(ours, theirs) <= 32 * 2**-24 * (8 if cell == "lstm" else 1)  # c is below 8
    assert judge_recording(one, ran).verdict.agrees


def test_a_check_says_that_the_engine_ran_in_pieces():
    verdict = check(Spec(cell="lstm", input="randn:20000"))
    assert verdict.agrees
    said = "torch ran in 2 calls of 16,384 steps, with the state carried from call to call"
    assert said in verdict.notes
    assert verdict.steps == 20_000


@pytest.mark.campaign
@pytest.mark.filterwarnings("ignore")  # whatever a framework warns of is not ours
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["torch", *NAMES])
def test_the_same_bits(monkeypatch, name, dtype):
    """What `InPieces` promises, of each engine that says so."""
    engine = find(name)
    if getattr(engine, "piece", None) is None:
        pytest.skip(f"skipped: {name} is called once")
    ran = 0
    for cell, shape in itertools.product(("rnn", "lstm", "gru"), SHAPES):
        one = replace(prepared(cell, shape, dtype=dtype), engine=engine)
        monkeypatch.setattr(type(engine), "piece", 1 << 20)
        try:
            whole = one.run()
        except EngineError:  # the engine has no such cell or dtype, which other tests hold
            continue
        monkeypatch.setattr(type(engine), "piece", 64)
        cut = one.run()
        ran += 1
        assert cut.output is not None
        assert whole.output is not None
        assert len(cut.notes) == len(whole.notes) + 1
        assert torch.equal(cut.output, whole.output), (cell, shape)
    if not ran:
        pytest.skip(f"skipped: {name} runs no {dtype}")


@pytest.mark.parametrize("split", [Split(1), Split(7), Split(4, 1), Split(2, 3)])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_it_gives_what_one_call_gives(cell: str, split: Split) -> None:
    """Bit for bit in float64, once it is rounded to float32: what a call sums in another order is far below that."""
    spec = Spec(cell=cell, num_layers=2, input="randn:9", batch=3, h0="randn", dtype="float64")
    made = prepare(spec)
    whole, parts = made.run(), replace(made, engine=SplitEngine(made.engine, split)).run()
    for name in ("output", "h_n", *(["c_n"] if cell == "lstm" else [])):
        assert torch.equal(getattr(whole, name).float(), getattr(parts, name).float())
    for at, h in whole.layers.items():
        assert torch.equal(h.float(), parts.layers[at].float())
    assert f"in {len(split.calls(9))} calls" in parts.notes[-1]


def test_cell_states_that_every_call_shows_are_put_together() -> None:
    class Showing(Counting):
        def run(self, spec, parameters, sequence):
            ran = super().run(spec, parameters, sequence)
            assert ran.output is not None
            return replace(ran, cell_states={(0, "forward"): ran.output + 0.5})

    spec = Spec(cell="rnn", input_size=2, hidden_size=2, input="ones:9", dtype="float64")
    ran = replace(prepare(spec), engine=SplitEngine(Showing(), Split(4))).run()
    assert torch.equal(ran.cell_states[0, "forward"], ran.layers[0, "forward"] + 0.5)


def test_what_has_no_state_to_carry_is_refused() -> None:
    for keys in ({"bidirectional": True}, {"batch": 2, "lengths": [5, 3]}):
        made = prepare(Spec(cell="gru", input="randn:5", **keys))
        with pytest.raises(EngineError, match="in several calls"):
            SplitEngine(made.engine, Split(2)).run(made.spec, made.parameters, made.sequence)


def test_a_split_lies_inside_of_the_sequence() -> None:
    made = prepare(Spec(cell="gru", input="randn:5"))
    with pytest.raises(InputError, match="a split at step 5 of 5 steps; expected 1 to 4"):
        SplitEngine(made.engine, Split(5)).run(made.spec, made.parameters, made.sequence)
