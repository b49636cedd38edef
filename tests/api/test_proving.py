"""assert_agrees passes for what the equations give, and its failure is the report."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect
from rnnspect import Spec, SpecError, assert_agrees
from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.views.notebook import failure
from tests.marks import sampled
from tests.views import results as exact

MODULES = [
    nn.RNN(4, 6, batch_first=True),
    nn.LSTM(4, 6, 2, bidirectional=True),
    nn.GRU(4, 6, 3, batch_first=True),
    nn.LSTM(4, 6).double(),
]


@pytest.mark.each_value_once
@pytest.mark.parametrize("module", MODULES, ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_a_module_agrees_with_the_equations(module: nn.RNNBase, batched: bool):
    x = torch.randn(*((3, 7, 4) if batched else (7, 4)), dtype=module.weight_ih_l0.dtype)
    assert_agrees(module, x)
    output, final = module(x)
    assert_agrees(module, x, output)
    assert_agrees(module, x, (output, final))
    h_n, *c_n = final if isinstance(final, tuple) else (final,)
    recorded = {"output": output, "h_n": h_n} | ({"c_n": c_n[0]} if c_n else {})
    assert_agrees(module, x, recorded)
    assert_agrees(module, x.numpy(), {name: tensor.detach().numpy() for name, tensor in recorded.items()})


def test_a_spec_agrees():
    assert_agrees(Spec(cell="gru", input_size=3, hidden_size=4), "randn:20")


@pytest.mark.slow
def test_states_and_lengths():
    module = nn.LSTM(4, 6, batch_first=True, bidirectional=True)
    x, h0, c0 = torch.randn(3, 7, 4), torch.randn(2, 3, 6), torch.randn(2, 3, 6)
    assert_agrees(module, x, module(x, (h0, c0))[0], h0=h0, c0=c0)
    with pytest.raises(AssertionError, match="step 0"):
        assert_agrees(module, x, module(x, (h0, c0))[0], h0=h0)
    packed = nn.utils.rnn.pack_padded_sequence(x, [7, 5, 2], batch_first=True)
    output, _ = nn.utils.rnn.pad_packed_sequence(module(packed, (h0, c0))[0], batch_first=True)
    assert_agrees(module, x, output, h0=h0, c0=c0, lengths=[7, 5, 2])
    output = output.masked_fill(torch.arange(7)[None, :, None] >= torch.tensor([7, 5, 2])[:, None, None], torch.nan)
    assert_agrees(module, x, output, h0=h0, c0=c0, lengths=[7, 5, 2])


@pytest.mark.slow
def test_the_failure_is_the_report():
    module, x = nn.GRU(4, 6, batch_first=True), torch.randn(3, 7, 4)
    output = module(x)[0].detach().clone()
    output[2, 5, 1] += 1e-3
    with pytest.raises(AssertionError) as failure:
        assert_agrees(module, x, output)
    text = str(failure.value)
    headline = text.splitlines()[0]
    assert headline.startswith("differ: h of layer 0 forward, step 5, batch item 2, unit 1: expected ")
    expected, got = map(float, re.findall(r"-?\d\.[\de-]+", headline))
    assert (expected, got) == pytest.approx((float(output[2, 5, 1]) - 1e-3, float(output[2, 5, 1])), abs=0.5e-3)
    assert "✗ DIFFER  recording does not match this GRU (7 of 126 values wrong)" in text
    assert "\x1b" not in text


def test_a_wrong_module_fails_without_a_recording():
    class Wrong(nn.GRU):
        def forward(self, *given: Any) -> Any:
            output, state = super().forward(*given)
            return output * 1.001, state

    with pytest.raises(AssertionError, match="differ"):
        assert_agrees(Wrong(4, 6), torch.randn(7, 2, 4))


def test_what_cannot_be_told_fails():
    module = nn.LSTM(4, 6)
    with torch.no_grad():
        module.bias_ih_l0.fill_(-30)
    with pytest.raises(AssertionError, match="CANNOT TELL"):
        assert_agrees(module, torch.randn(7, 2, 4))


def test_a_recording_in_fewer_digits():
    module, x = nn.GRU(4, 6, batch_first=True), torch.randn(3, 50, 4)
    output = module(x)[0].detach()
    assert_agrees(module, x, output.numpy().round(5))
    assert_agrees(module, x, output.double())


def _tf32(v: torch.Tensor) -> torch.Tensor:
    return ((v.float().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32).double()


def test_another_arithmetic():
    """Products of operands rounded as TF32 ones are explained by no float32 arithmetic."""
    module, x = nn.RNN(64, 32, batch_first=True), torch.randn(3, 20, 64) / 4
    w_ih, w_hh, b_ih, b_hh = (p.detach().double() for p in module.parameters())
    h, steps = torch.zeros(3, 32, dtype=torch.float64), []
    for row in x.unbind(1):
        h = torch.tanh(_tf32(row) @ _tf32(w_ih).T + b_ih + _tf32(h) @ _tf32(w_hh).T + b_hh).float().double()
        steps.append(h)
    output = torch.stack(steps, 1).float()
    with pytest.raises(AssertionError, match="--arithmetic tf32"):
        assert_agrees(module, x, output)
    assert_agrees(module, x, output, arithmetic="tf32")
    with pytest.raises(rnnspect.InputError, match="did you mean 'tf32'"):
        assert_agrees(module, x, output, arithmetic="tf3")


def test_what_does_not_fit_is_no_failed_assertion():
    with pytest.raises(rnnspect.SequenceError, match="output has"):
        assert_agrees(nn.GRU(4, 6), torch.randn(7, 2, 4), np.zeros((3, 2, 6)))
    with pytest.raises(SpecError):
        assert_agrees(nn.Linear(4, 6), torch.randn(7, 2, 4))


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 5)
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.cell = nn.LSTMCell(6, 3)

    def forward(self, x: torch.Tensor, state: Any = None) -> Any:
        return self.cell(self.rnn(self.embed(x))[0][:, -1], state)[0]


@pytest.mark.usefixtures("no_causes")
def test_each_call_in_a_model_must_agree():
    model, x = Tagger(), torch.randn(3, 7, 4)
    state = torch.randn(3, 3), torch.randn(3, 3)
    assert_agrees(model, (x, state))
    assert_agrees(model, (x.numpy(), state))
    model.rnn.register_forward_hook(lambda _module, _given, found: (found[0] * 1.001, found[1]))
    with pytest.raises(AssertionError) as failure:
        assert_agrees(model, (x, state))
    text = str(failure.value)
    assert text.startswith("differ: rnn, call 0: h of layer 0 forward, step 0, unit 0: expected ")
    assert "rnn (GRU), call 0: differ" in text
    assert "cell (LSTMCell), call 0: agree" in text
    assert "First    h of layer 0 forward, step 0" in text


@pytest.mark.usefixtures("no_causes")
def test_gradients_must_agree():
    torch.manual_seed(0)
    module, x, target = nn.GRU(4, 6, batch_first=True), torch.randn(3, 7, 4), torch.randn(3, 7, 6)
    assert_agrees(module, x, backward=True)
    assert_agrees(module, x, backward=True, loss=target)
    assert_agrees(nn.GRUCell(4, 6), torch.randn(3, 4), h0=torch.randn(3, 6), backward=True)
    (module(x)[0] * target).sum().backward()
    recorded = {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    assert_agrees(module, x, recorded, backward=True, loss=target)
    with pytest.raises(AssertionError, match=r"^differ: dL/dweight_ih_l0"):
        assert_agrees(module, x, {name: 2 * g for name, g in recorded.items()}, backward=True, loss=target)
    with pytest.raises(rnnspect.InputError, match="a loss is for gradients"):
        assert_agrees(module, x, loss=target)


def test_gradients_of_a_module_in_a_model_must_agree():
    model = Tagger()
    assert_agrees(model, torch.randn(3, 7, 4), backward=True, module="rnn", loss="last")
    with pytest.raises(rnnspect.InputError, match="a module is for gradients"):
        assert_agrees(model, torch.randn(3, 7, 4), module="rnn")


@pytest.mark.parametrize("cell", sampled([nn.RNNCell(4, 6), nn.LSTMCell(4, 6), nn.GRUCell(4, 6)], 3), ids=str)
def test_a_cell_agrees(cell: nn.RNNCellBase):
    x, h0 = torch.randn(3, 4), torch.randn(3, 6)
    c0 = torch.randn(3, 6) if isinstance(cell, nn.LSTMCell) else None
    assert_agrees(cell, x, h0=h0, c0=c0)
    assert_agrees(cell, x.numpy(), h0=h0.tolist(), c0=c0)

    def spoilt(_module: Any, _given: Any, found: Any) -> Any:
        return (found[0] + 0.001, found[1]) if isinstance(found, tuple) else found + 0.001

    hook = cell.register_forward_hook(spoilt)
    with pytest.raises(AssertionError, match="differ"):
        assert_agrees(cell, x, h0=h0, c0=c0)
    hook.remove()


@pytest.mark.parametrize("model", [nn.GRU(4, 3), nn.Sequential(nn.GRU(4, 3))], ids=["module", "model"])
def test_arguments_that_say_nothing_are_refused_where_the_check_would_agree(model: nn.Module):
    x = torch.randn(9, 4)
    with pytest.raises(rnnspect.InputError, match="how a recording was kept, and there is none"):
        rnnspect.check(model, x, recorded_as="float16")
    with pytest.raises(rnnspect.InputError, match=r"explain='3'; expected a number of seconds"):
        rnnspect.check(model, x, explain="3")  # type: ignore[call-overload]


@pytest.mark.parametrize("given", [{"recorded": 0}, {"lengths": [3]}, {"arithmetic": "tf32"}, {"h0": 0}])
def test_what_a_model_cannot_be_given(given: dict[str, Any]):
    with pytest.raises(rnnspect.InputError, match=r"rnnspect\.watch\(model\)"):
        assert_agrees(Tagger(), torch.randn(3, 7, 4), **given)


def test_a_model_without_x_or_that_fails_or_that_calls_nothing():
    with pytest.raises(rnnspect.InputError, match="a model needs an input"):
        assert_agrees(Tagger())
    with pytest.raises(rnnspect.InputError, match="running the model failed"):
        assert_agrees(Tagger(), torch.randn(3, 7, 5))

    class Idle(Tagger):
        def forward(self, x: torch.Tensor) -> Any:
            return x

    with pytest.raises(rnnspect.InputError, match="called no nn"):
        assert_agrees(Idle(), torch.randn(3, 7, 4))


def test_a_call_that_could_not_be_read_is_said_in_the_first_line():
    seen = WatchedCalls(("rnn",), 0)
    seen._add("rnn", "GRU", (3, 4), False, "its numbers did not fit into memory=…")
    assert failure(seen).splitlines()[0] == "cannot tell: rnn, call 0: its numbers did not fit into memory=…"


@pytest.mark.parametrize(
    ("expected", "got", "said"),
    [
        (0.0284817, -0.0253947, "expected 0.0285, got -0.0254"),
        (0.028481734, 0.028481741, "expected 0.02848173, got 0.02848174"),
        (1.0, float("nan"), "expected 1, got nan"),
        (1.0, 1.0, "expected 1, got 1"),
    ],
)
def test_both_numbers_have_the_digits_that_tell_them_apart(expected: float, got: float, said: str):
    verdict = exact.differ()
    first = replace(verdict.first, manual=expected, engine=got)
    headline = failure(replace(verdict, first=first)).splitlines()[0]
    assert headline == f"differ: h of layer 0 forward, unit 3: {said}"


class Empty(nn.LSTM):
    """Python takes what has a length of 0 for False."""

    def __len__(self) -> int:
        return 0

    def forward(self, x: Any, hx: Any = None) -> Any:
        output, state = super().forward(x, hx)
        return 2 * output, state


@pytest.mark.parametrize("backward", [False, True])
def test_a_live_module_runs_itself_though_it_be_false(backward: bool):
    assert rnnspect.check(Empty(3, 4), torch.randn(9, 3), backward=backward, explain=0).verdict == "differ"


@pytest.mark.parametrize("backward", [False, True])
def test_what_torch_cannot_run_under_autocast_is_told(backward: bool):
    with torch.autocast("cpu", torch.float16):
        try:
            nn.LSTM(5, 7)(torch.randn(4, 5))
        except RuntimeError:
            with pytest.raises(rnnspect.EngineError, match="check the module outside of torch"):
                rnnspect.check(nn.LSTM(5, 7), torch.randn(4, 5), backward=backward)
        else:
            assert rnnspect.check(nn.LSTM(5, 7), torch.randn(4, 5), backward=backward).verdict != "differ"


@pytest.mark.parametrize("module", [nn.LSTM(3, 4), nn.LSTMCell(3, 4), nn.GRU(3, 4)], ids=str)
def test_parameters_of_several_dtypes_are_told(module: Any):
    name = next(name for name, _ in module.named_parameters() if name.startswith("weight_hh"))
    values = getattr(module, name)
    values.data = values.data.double()
    x = torch.randn(6, 3)
    for call in (rnnspect.check, rnnspect.trace, functools.partial(rnnspect.check, backward=True)):
        with pytest.raises(rnnspect.EngineError, match="with all its parameters and x in one dtype"):
            call(module, x)
    with pytest.raises(rnnspect.WeightsError, match=r"several dtypes: weight_hh_l0 is float64, the others float32"):
        rnnspect.gradients(module, x)


def test_a_module_of_another_kind_is_told_by_its_whole_name():
    """A quantised LSTM is called LSTM, too."""
    named = type("LSTM", (nn.Module,), {"__module__": "quantised.rnn"})
    with pytest.raises(SpecError, match=r"got an object of type quantised\.rnn\.LSTM; expected a Spec"):
        rnnspect.check(named(), torch.randn(4, 3))


@pytest.mark.parametrize("backward", [False, True])
def test_a_check_computes_where_its_numbers_are(backward: bool):
    """torch.set_default_device may name another device, or none that has numbers."""
    module = nn.GRU(3, 4)
    with torch.device("meta"):
        assert rnnspect.check(module, backward=backward, explain=0).verdict == "agree"
        assert rnnspect.check(Spec(cell="lstm", input="randn:8"), backward=backward).verdict == "agree"


class OutputAlone(nn.LSTM):
    def forward(self, x: Any, hx: Any = None) -> Any:
        return super().forward(x, hx)[0]


@pytest.mark.parametrize("backward", [False, True])
def test_a_module_that_returns_something_else_is_told(backward: bool):
    module, x = OutputAlone(3, 4), torch.randn(6, 2, 3)
    with pytest.raises(rnnspect.EngineError, match=r"returns Tensor, where torch\.nn returns \(output, states\)"):
        rnnspect.check(module, x, backward=backward)
    assert rnnspect.check(module, x, recorded=module(x)).agrees


class LastOutput(nn.LSTM):
    def forward(self, x: Any, hx: Any = None) -> Any:
        output, states = super().forward(x, hx)
        return output[-1], states


class LastLayer(nn.LSTM):
    def forward(self, x: Any, hx: Any = None) -> Any:
        output, (h_n, c_n) = super().forward(x, hx)
        return output, (h_n[-1], c_n[-1])


class Summed(nn.GRU):
    def forward(self, x: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(x, hx)
        return sum(output.chunk(2, -1)), h_n


class TurnedRound(nn.RNN):
    def forward(self, x: Any, hx: Any = None) -> Any:
        return super().forward(x.transpose(0, 1), hx)


class Stateless(nn.GRU):
    def forward(self, x: Any) -> Any:  # type: ignore[override]
        return super().forward(x)


class OutputAndState(nn.GRUCell):
    def forward(self, x: Any, hx: Any = None) -> Any:
        h = super().forward(x, hx)
        return h, h


class OutputAndStates(nn.LSTMCell):
    def forward(self, x: Any, hx: Any = None) -> Any:
        h, c = super().forward(x, hx)
        return h, (h, c)


UNLIKE = {
    "last output": (LastOutput(3, 4), "it returned the shapes (2, 4), (1, 2, 4), (1, 2, 4), where torch.nn.LSTM "),
    "last layer": (LastLayer(3, 4, 2), "returns (6, 2, 4), (2, 2, 4), (2, 2, 4); instead of deriving from nn.LSTM"),
    "summed": (
        Summed(3, 4, bidirectional=True),
        "the shapes (6, 2, 4), (2, 2, 4), where torch.nn.GRU returns (6,",
    ),
    "turned round": (
        TurnedRound(3, 4),
        "it fails on x of the shape (6, 2, 3) and states like torch.nn's: Run",
    ),
    "stateless": (Stateless(3, 4), "it fails on x of the shape (6, 2, 3) and states like torch.nn's: TypeError"),
    "h twice": (OutputAndState(3, 4), "it returned the shapes (2, 4), (2, 4), where torch.nn.GRUCell returns (2, 4);"),
    "nested": (OutputAndStates(3, 4), "it returned the shapes (2, 4), tuple, where torch.nn.LSTMCell returns"),
}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(("module", "said"), UNLIKE.values(), ids=UNLIKE)
def test_a_module_that_returns_other_shapes_is_told(module: Any, said: str, backward: bool):
    x = torch.randn(6, 2, 3)
    with pytest.raises(rnnspect.EngineError, match=re.escape(said)):
        rnnspect.check(module, x, backward=backward)


def test_a_hook_that_changes_the_shape_is_told():
    module = nn.LSTM(3, 4)
    module.register_forward_hook(lambda _module, _given, out: (out[0][-1], out[1]))
    with pytest.raises(rnnspect.EngineError, match="check it without its hooks; or check what it gave"):
        rnnspect.check(module, torch.randn(6, 2, 3))


def test_packed_sequences_of_other_lengths_are_told():
    class Cut(nn.GRU):
        def forward(self, x: Any, hx: Any = None) -> Any:
            output, h_n = super().forward(x, hx)
            return nn.utils.rnn.pack_padded_sequence(nn.utils.rnn.pad_packed_sequence(output)[0], [4, 3]), h_n

    with pytest.raises(rnnspect.EngineError, match=re.escape("it returned the lengths (4, 3) for those of x, (6, 3)")):
        rnnspect.check(Cut(3, 4), torch.randn(6, 2, 3), lengths=[6, 3])


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_what_a_cell_returns_is_a_recording(kind: str, batch: tuple[int, ...]):
    torch.manual_seed(0)
    cell, x = getattr(nn, kind)(3, 4), torch.randn(*batch, 3)
    h, c = torch.randn(*batch, 4), torch.randn(*batch, 4)
    given = {"h0": h, "c0": c} if kind == "LSTMCell" else {"h0": h}
    right = cell(x, (h, c) if kind == "LSTMCell" else h)
    wrong = tuple(2 * v for v in right) if kind == "LSTMCell" else 2 * right
    assert rnnspect.check(cell, x, recorded=right, **given).verdict != "differ"
    assert rnnspect.check(cell, x, recorded=wrong, explain=0, **given).verdict == "differ"


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_says_what_writes_it():
    """torch.save does not."""
    program = torch.export.export(nn.LSTM(3, 4), (torch.randn(5, 2, 3),))
    for source in (program, program.module()):
        with pytest.raises(SpecError, match=r"torch.export.save\(program, 'model.pt2'\), and check that file"):
            rnnspect.check(source, torch.randn(5, 2, 3))  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_a_scripted_module_says_how_it_is_checked():
    scripted: Any = torch.jit.script(nn.LSTM(3, 4))
    with pytest.raises(SpecError, match=r"with what it gave, recorded=made\(x\); or save it and check the file"):
        rnnspect.check(scripted, torch.randn(5, 3))


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_a_scripted_function_says_what_it_takes() -> None:
    """By its schema; Python's signature of it is (*args, **kwargs)."""

    def step(x_t: torch.Tensor, h: torch.Tensor, weight_ih: torch.Tensor, weight_hh: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x_t @ weight_ih.t() + h @ weight_hh.t())

    scripted: Any = torch.jit.script(step)
    assert rnnspect.check(Spec(cell="rnn", bias=False, input="randn:9"), engine=scripted).agrees
