"""What the library takes beside a spec and a stack: whole models, cells, packed sequences, (h0, c0), a callable engine.
Each is held against what torch itself gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

import rnnspect
from rnnspect import InputError, Spec, SpecError
from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.judging.verdict import Verdict
from rnnspect.network.shapes import ModelShapes

pytestmark = pytest.mark.usefixtures("no_causes")


class Tagger(nn.Module):
    """An embedding, a stack, and a cell that is called step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 5)
        self.rnn = nn.LSTM(5, 4, 2, batch_first=True)
        self.cell = nn.GRUCell(4, 3)
        self.unused = nn.RNN(2, 2)

    def forward(self, tokens: Tensor, h: Any = None) -> Any:
        y, _ = self.rnn(self.embed(tokens))
        for step in y.unbind(1):
            h = self.cell(step, h)
        return h


@pytest.fixture
def tagger() -> Tagger:
    return Tagger().eval()


@torch.no_grad()
def test_a_trace_of_a_model_is_that_of_its_module_on_what_it_received(tagger: Tagger):
    tokens = torch.randint(30, (2, 7))
    whole = rnnspect.trace(tagger, tokens)
    alone = rnnspect.trace(tagger.rnn, tagger.embed(tokens))
    assert torch.equal(whole.output.engine, tagger.rnn(tagger.embed(tokens))[0])
    for ours, other in zip(whole.layers, alone.layers, strict=True):
        assert torch.equal(ours.engine["h"], other.engine["h"])
        assert all(torch.equal(ours.quantities[name], other.quantities[name]) for name in ours.quantities)
    assert "this is rnn (LSTM); choose another with module=…: 'cell', 'unused'" in whole.notes
    assert torch.equal(rnnspect.trace(tagger, tokens.numpy()).output.engine, whole.output.engine)


@torch.no_grad()
def test_another_module_is_named_and_a_cell_is_shown_through_its_calls(tagger: Tagger):
    tokens, begun = torch.randint(30, (2, 7)), torch.randn(2, 3)
    found = rnnspect.trace(tagger, (tokens, begun), module="c*")
    assert (found.steps, found.batch, found.spec.cell) == (7, 2, "gru")
    assert torch.equal(found.h0[0], begun)
    assert torch.equal(found.h_n.engine[0], tagger(tokens, begun))
    derived = rnnspect.derive(tagger, (tokens, begun), module="cell", step=6, unit=1, batch_index=1)
    assert derived.engine_value == tagger(tokens, begun)[1, 1].item()
    assert derived.ratio is not None
    assert derived.ratio <= 1


def test_calls_of_a_cell_that_begin_anew_are_no_run():
    class Anew(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(4, 3)

        def forward(self, x: Tensor) -> Any:
            h = self.cell(x[1], self.cell(x[0]))
            return self.cell(x[2]) + h

    found = rnnspect.trace(Anew(), torch.randn(3, 2, 4))
    assert found.steps == 2
    assert "this is cell (GRUCell), its first 2 calls as 2 steps" in found.notes


def test_without_x_one_is_drawn_for_the_first_layer(tagger: Tagger):
    found = rnnspect.trace(tagger)
    assert any(
        "randint:20:30 with the shape (2, 20) was drawn for the model's first layer" in note for note in found.notes
    )
    one = rnnspect.trace(tagger, "randint:9:30")  # one sequence alone fails in this model
    assert (one.steps, one.batch) == (9, 2)


SCRIPTED = {
    "scripted": torch.jit.script,
    "frozen": lambda module: torch.jit.freeze(torch.jit.script(module.eval())),
    "traced": lambda module: torch.jit.trace(module, torch.zeros(2, 5)),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
@pytest.mark.parametrize("first", [nn.Linear(5, 8), nn.ReLU()], ids=["wider", "as wide"])
@pytest.mark.parametrize("made", SCRIPTED.values(), ids=SCRIPTED)
def test_a_part_that_takes_no_hooks_and_has_no_mode_is_passed_over(made: Any, first: nn.Module):
    model = nn.Sequential(made(first), nn.GRU(8, 4))
    model.train()
    found = rnnspect.trace(model)
    assert "drawn for the model's first layer that is neither scripted nor traced, 1 (GRU(8, 4))" in found.notes[-1]
    assert found.steps == 20
    assert rnnspect.trace(model, "randn:6").steps == 6
    assert rnnspect.check(model, torch.randn(20, 2, 5 if isinstance(first, nn.Linear) else 8)).agrees
    assert model[1].training


def test_a_report_of_a_model_judges_it(tagger: Tagger, tmp_path):
    made = rnnspect.report(tagger, torch.randint(30, (2, 7)), path=tmp_path / "report.html")
    assert made.verdict.agrees
    assert made.command is None
    tagger.rnn.register_forward_hook(lambda _module, _given, out: (out[0] * 1.001, out[1]))
    assert rnnspect.report(tagger, torch.randint(30, (2, 7)), path=tmp_path / "report.html").verdict.verdict == "differ"


def test_check_of_a_model_is_a_verdict_of_one_call_and_all_calls_of_several(tagger: Tagger):
    one = rnnspect.check(nn.Sequential(nn.Linear(4, 3), nn.GRU(3, 5)), torch.randn(9, 2, 4))
    assert isinstance(one, Verdict)
    assert one.agrees
    many = rnnspect.check(tagger, torch.randint(30, (2, 7)))
    assert isinstance(many, WatchedCalls)
    assert many.agrees
    assert repr(many) == "<WatchedCalls 8 calls of 2 modules: rnn, cell>"
    assert "cell (GRUCell), call 6: agree" in str(many)
    tagger.cell.register_forward_hook(lambda _module, _given, out: out + 0.01)
    spoilt = rnnspect.check(tagger, torch.randint(30, (2, 7)))
    assert (spoilt.verdict, spoilt.agrees) == ("differ", False)


def test_shapes_of_a_model_and_of_a_cell(tagger: Tagger):
    found = rnnspect.shapes(tagger)
    assert isinstance(found, ModelShapes)
    assert found.total == sum(parameter.numel() for parameter in tagger.parameters())
    assert found.recurrent["rnn"] == rnnspect.shapes(tagger.rnn)
    assert "Embedding(30, 5)" in found._repr_mimebundle_()["text/plain"]
    cell = rnnspect.shapes(nn.LSTMCell(4, 3))
    own = {name: tuple(parameter.shape) for name, parameter in nn.LSTMCell(4, 3).named_parameters()}
    assert {parameter.name: parameter.shape for parameter in cell.parameters} == own
    assert (cell.module, cell.input.shape, cell.output.shape) == ("LSTMCell(4, 3)", ("B", 4), ("B", 3))
    assert cell.c_n is not None
    meta = rnnspect.shapes(nn.Sequential(nn.LSTM(4, 3, device="meta"), nn.LazyLinear(3)))
    assert isinstance(meta, ModelShapes)
    assert list(meta.recurrent) == ["0"]


CELLS = [nn.RNNCell(3, 4), nn.RNNCell(3, 4, nonlinearity="relu"), nn.LSTMCell(3, 4), nn.GRUCell(3, 4, bias=False)]


@pytest.mark.parametrize("cell", CELLS, ids=str)
@torch.no_grad()
def test_a_cell_is_one_step_or_a_loop(cell: nn.RNNCellBase):
    states = torch.randn(2, 5, 4)
    given: Any = (states[0], states[1]) if isinstance(cell, nn.LSTMCell) else states[0]
    x = torch.randn(6, 5, 3)
    one = rnnspect.trace(cell, x[0], given)
    out = cell(x[0], given)
    h = out[0] if isinstance(out, tuple) else out
    assert torch.equal(one.h_n.engine[0], h)
    assert one.max_abs_difference < 1e-6  # |h| < 10 and some ten roundings of 6e-8 each
    for step in x[1:]:
        out = cell(step, out)
    loop = rnnspect.trace(cell, x, given)
    assert torch.equal(loop.h_n.engine[0], out[0] if isinstance(out, tuple) else out)
    assert loop.steps == 6
    alone = rnnspect.trace(cell, x[0, 0].numpy(), tuple(s[0] for s in given) if isinstance(given, tuple) else given[0])
    assert not alone.batched
    # one item is multiplied by other kernels than five
    assert torch.allclose(alone.h_n.engine[0, 0], h[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_check_of_a_cell_draws_or_takes_a_sequence(cell: nn.RNNCellBase):
    assert rnnspect.check(cell).agrees
    assert rnnspect.check(cell, "randn:40").agrees

    class Spoilt(type(cell)):  # type: ignore[misc]
        def forward(self, *given: Any) -> Any:
            out = super().forward(*given)
            return (out[0] + 0.01, out[1]) if isinstance(out, tuple) else out + 0.01

    wrong = Spoilt(3, 4, bias=cell.bias)
    assert rnnspect.check(wrong, "randn:40").verdict == "differ"


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("is_sorted", [True, False])
@torch.no_grad()
def test_a_packed_sequence_is_a_batch_with_lengths(batch_first: bool, is_sorted: bool):
    module = nn.LSTM(3, 4, 2, batch_first=batch_first, bidirectional=True)
    lengths = [6, 4, 3] if is_sorted else [3, 6, 4]
    packed = pack_sequence([torch.randn(length, 3) for length in lengths], enforce_sorted=is_sorted)
    state = torch.randn(4, 3, 4), torch.randn(4, 3, 4)
    y, (h_n, c_n) = module(packed, state)
    found = rnnspect.trace(module, packed, state)
    assert found.lengths == tuple(lengths)
    assert torch.equal(found.output.engine, pad_packed_sequence(y, batch_first=True)[0])
    assert torch.equal(found.h_n.engine, h_n)
    assert found.c_n is not None
    assert torch.equal(found.c_n.engine, c_n)
    assert rnnspect.check(module, packed, state).agrees
    spec = Spec(cell="lstm", input_size=3, hidden_size=4, batch_first=batch_first)
    assert rnnspect.trace(spec, packed).lengths == tuple(lengths)


def test_a_packed_sequence_goes_into_a_model_as_it_is():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4)

        def forward(self, packed: Any) -> Any:
            return self.rnn(packed)

    packed = pack_padded_sequence(torch.randn(5, 2, 3), [5, 2])
    assert rnnspect.trace(Model(), packed).lengths == (5, 2)


def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
    return torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)


def without_a_bias(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any) -> Any:
    return torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T)


class Mine(nn.Module):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> Any:
        return self.rnn(x, h)


def test_a_callable_is_an_engine(tmp_path):
    spec = Spec(input="randn:30", h0="randn")
    assert rnnspect.check(spec, engine=step).agrees
    assert rnnspect.check(spec, engine=without_a_bias).verdict == "differ"
    assert rnnspect.check(spec, engine=Mine).agrees
    mine = Mine(5, 2)
    before = mine.rnn.weight_ih_l0.detach().clone()
    assert rnnspect.check(spec, engine=mine).agrees
    assert torch.equal(mine.rnn.weight_ih_l0, before), "the object is copied, and stays as it was"
    assert rnnspect.check(nn.RNN(5, 2, batch_first=True), "randn:30", engine=step).agrees
    assert rnnspect.report(spec, path=tmp_path / "r.html", engine=step).verdict.engine.name == "step"
    derived = rnnspect.derive(spec, engine=step, step=3, unit=1)
    assert derived.engine.name == "step"


def test_a_callable_that_knows_no_torch_takes_numpy():
    code = "import numpy as np\ndef step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):\n    assert type(x_t) is "
    code += "np.ndarray\n    return np.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)\n"
    made: dict[str, Any] = {"__name__": "nowhere"}
    exec(code, made)
    assert rnnspect.check(Spec(input="randn:30"), engine=made["step"]).agrees


REFUSED = {
    "a class": (lambda: rnnspect.trace(nn.LSTM, "randn:3"), "the class LSTM", "pass an object, such as LSTM(…)"),
    "no recurrent module": (lambda: rnnspect.check(nn.Linear(3, 2), "randn:3"), "nn.modules.linear", "a model that"),
    "a function": (lambda: rnnspect.shapes(len), "builtin_function_or_method", "a Spec, torch.nn.RNN"),
    "an engine": (lambda: rnnspect.check(Spec(), engine=3), "the engine is a int", "a function or class"),
    "(h0, c0) of a GRU": (
        lambda: rnnspect.trace(nn.GRU(3, 4), "randn:3", (torch.zeros(1, 4), torch.zeros(1, 4))),
        "a tuple of 2, and cell gru has no cell state",
        "a tensor or an array",
    ),
    "c0 twice": (
        lambda: rnnspect.trace(nn.LSTM(3, 4), "randn:3", (np.zeros((1, 4)), np.zeros((1, 4))), np.zeros((1, 4))),
        "c0 is given twice",
        "h0 and c0 separately",
    ),
    "lengths twice": (
        lambda: rnnspect.trace(nn.GRU(3, 4), pack_sequence([torch.zeros(2, 3)]), lengths=[2]),
        "a packed sequence has its own lengths",
        "leave lengths out",
    ),
    "a cell takes no packed sequence": (
        lambda: rnnspect.trace(nn.GRUCell(3, 4), pack_sequence([torch.zeros(2, 3)])),
        "a cell takes no packed sequence",
        "pass x (step, batch, feature) and lengths",
    ),
    "a cell on four axes": (lambda: rnnspect.trace(nn.GRUCell(3, 4), np.zeros((1, 1, 1, 3))), "(1, 1, 1, 3)", "(batch"),
    "a state of a model": (lambda: rnnspect.trace(Tagger(), [[1]], [[1.0]]), "h0 is for a Spec", "as a tuple x"),
    "a run of a model": (lambda: rnnspect.check(Tagger(), [[1]], recorded=[[1.0]]), "recorded is", "its rnn or unused"),
    "an engine of a model": (lambda: rnnspect.check(Tagger(), [[1]], engine=step), "engine is for a Spec", "not for a"),
    "a module of a stack": (lambda: rnnspect.trace(nn.GRU(3, 4), "randn:3", module="x"), "not for a GRU", "leave"),
    "no such module": (lambda: rnnspect.trace(Tagger(), [[1]], module="rn"), "no module 'rn'", "did you mean 'rnn'"),
    "never called": (lambda: rnnspect.trace(Tagger(), [[1]], module="unused"), "was never called", "Tagger"),
    "no index": (lambda: rnnspect.check(Tagger(), [[0.5]]), "got float32 numbers", "randint:20:30"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "found", "allowed"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_says_what_it_got_and_what_to_pass(call: Any, found: str, allowed: str):
    with pytest.raises(InputError) as raised:
        call()
    assert found in str(raised.value)
    assert allowed in str(raised.value)


def test_a_model_that_calls_none_is_no_answer():
    class Idle(Tagger):
        def forward(self, tokens: Tensor, h: Any = None) -> Any:
            return tokens

    with pytest.raises(InputError, match="called no nn"):
        rnnspect.check(Idle(), [[1]])
    with pytest.raises(SpecError):
        rnnspect.check(nn.Linear(3, 2))
