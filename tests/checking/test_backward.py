"""A check of gradients as it is called: correct engines agree, and one wrong gradient is found where it is."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect import engines
from rnnspect.checking.backward import check_backward, judge_gradients, judge_recorded_backward
from rnnspect.checking.check import CheckTerms
from rnnspect.cli import main
from rnnspect.engines.interface import GoesBack
from rnnspect.engines.torch import TorchEngine
from rnnspect.errors import EngineError, InputError, SequenceError
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.losses import loss_of
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared, prepare
from rnnspect.views.check import report_text
from tests.marks import sampled

NETWORKS: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "lstm", "proj_size": 3, "num_layers": 2},
    {"cell": "lstm", "bidirectional": True, "num_layers": 2, "lengths": [30, 4, 16]},
    {"cell": "gru", "bidirectional": True, "num_layers": 2},
    {"cell": "rnn", "nonlinearity": "relu", "bias": False},
]


def prepared(dtype: str = "float32", engine: Any = "torch", **options: Any) -> Prepared:
    spec = Spec(input_size=5, hidden_size=7, dtype=dtype, batch_first=False, **options)
    x = torch.randn(30, 3, 5, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    made = prepare(spec, x, *["randn"] * len(spec.cell_type.states))
    return replace(made, engine=engines.find(engine) if isinstance(engine, str) else engine)


@pytest.mark.each_value_once
@pytest.mark.parametrize("options", NETWORKS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_torchs_own_kernels_agree(options: dict[str, Any], dtype: str) -> None:
    """In bfloat16 a projection leaves gates unseen going forwards, which is said."""
    found = check_backward(prepared(dtype, **options))
    assert found.verdict == ("cannot tell" if dtype == "bfloat16" and "proj_size" in options else "agree"), found.reason


@pytest.mark.parametrize("engine", ["torch-cell", "flax", "equinox", "keras"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_other_engines_agree(engine: str, cell: str) -> None:
    try:
        made = prepared(engine=engine, cell=cell)
    except EngineError as error:
        pytest.skip(str(error))
    if engine == "flax" and cell == "gru":  # it has no b_hn, so that its values differ from these weights'
        made.parameters["bias_hh_l0"].zero_()
    found = check_backward(made)
    assert found.agrees, (found.reason, found.first)


class Changed(TorchEngine):
    """torch, with one of its gradients changed in a pass that has G·H more features."""

    def __init__(self, change: Any, width: int = 5) -> None:
        self._change, self._width = change, width

    def backward(self, spec: Any, parameters: Any, sequence: Any, upstream: Any) -> EngineGradients:
        given = super().backward(spec, parameters, sequence, upstream)
        return self._change(given) if sequence.x.shape[2] > self._width else given  # type: ignore[no-any-return]


@pytest.mark.usefixtures("no_causes")
def test_one_wrong_gradient_is_found_where_it_is() -> None:
    """One gate's, one step's, one unit's: the first wrong one going back, and no other layer's or step's."""

    def change(given: EngineGradients) -> EngineGradients:
        assert given.x is not None
        given.x[11, 2, 5 + 7 * 1 + 3] *= 1.001  # gate f of unit 3
        return given

    found = check_backward(prepared(engine=Changed(change), cell="lstm"))
    assert found.verdict == "differ"
    assert found.first is not None
    assert (found.first.quantity, found.first.step, found.first.batch, found.first.unit) == ("grad.f_pre", 11, 2, 3)
    assert found.first.address == "dL/d pre-activation of f of layer 0 forward, step 11, batch item 2, unit 3"
    assert found.backward


@pytest.mark.usefixtures("no_causes")
def test_one_wrong_entry_of_a_parameters_gradient_is_named() -> None:
    def change(given: EngineGradients) -> EngineGradients:
        given.parameters["weight_hh_l0"][3, 1] *= 1.01
        return given

    found = check_backward(prepared(engine=Changed(change), cell="gru"))
    assert found.first is not None
    assert found.first.quantity == "grad.weight_hh_l0[3,1]"
    assert found.pattern == "1 of 147 entries of dL/dweight_hh_l0"


@pytest.mark.usefixtures("no_causes")
def test_the_first_wrong_entry_is_the_first_in_order_and_not_the_worst() -> None:
    def change(given: EngineGradients) -> EngineGradients:
        weight = given.parameters["weight_hh_l0"]
        weight[2, 5] += 0.1 * weight.abs().max()
        weight[3, 1] += weight.abs().max()
        return given

    found = check_backward(prepared(engine=Changed(change), cell="gru"))
    assert found.first is not None
    assert found.worst is not None
    assert found.first.quantity == "grad.weight_hh_l0[2,5]"
    assert found.worst.quantity == "grad.weight_hh_l0[3,1]"
    assert found.worst.ratio > found.first.ratio > 1


@pytest.mark.usefixtures("no_causes")
def test_the_first_wrong_gradient_of_a_state_is_that_of_the_first_item() -> None:
    def change(given: EngineGradients) -> EngineGradients:
        assert given.h0 is not None
        given.h0[0, 1, 4] += 0.1 * given.h0.abs().max()
        given.h0[0, 2, 0] += given.h0.abs().max()
        return given

    found = check_backward(prepared(engine=Changed(change), cell="gru"))
    assert found.first is not None
    assert found.worst is not None
    assert (found.first.quantity, found.first.batch, found.first.unit) == ("grad.h0", 1, 4)
    assert (found.worst.quantity, found.worst.batch, found.worst.unit) == ("grad.h0", 2, 0)


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize(
    ("name", "first", "worst", "said"),
    [
        ("weight_hh_l0", (2, 5), (3, 1), "dL/dweight_hh_l0[2,5]"),
        ("h0", (0, 1, 4), (0, 2, 0), "dL/dh0 of layer 0 forward, batch item 1, unit 4"),
        ("x", (20, 1, 3), (20, 2, 0), "dL/dx of layer 0 forward, step 20, batch item 1, unit 3"),
        ("x", (20, 1, 3), (4, 0, 0), "dL/dx of layer 0 forward, step 20, batch item 1, unit 3"),
    ],
)
def test_the_first_wrong_recorded_gradient_is_the_first_in_order(
    name: str, first: tuple[int, ...], worst: tuple[int, ...], said: str
) -> None:
    made, arrays = recorded_run({"cell": "gru"})
    wrong = arrays[f"grad.{name}"].clone()
    largest = wrong.abs().max()
    wrong[first] += 0.1 * largest
    wrong[worst] += largest
    found = judge_recorded_backward(made, arrays | {f"grad.{name}": wrong})
    assert found.first is not None
    assert found.worst is not None
    assert found.first.address == said
    assert found.worst.ratio > found.first.ratio > 1


@pytest.mark.usefixtures("no_causes")
def test_values_that_differ_are_told_before_gradients() -> None:
    class Wrong(TorchEngine):
        def run(self, spec: Any, parameters: Any, sequence: Any) -> Any:
            ran = super().run(spec, parameters, sequence)
            ran.layers[0, "forward"][4, 0, 2] += 0.1
            return ran

    found = check_backward(prepared(engine=Wrong(), cell="lstm"), terms=CheckTerms(explain=0))
    assert found.verdict == "differ"
    assert not found.backward
    assert "the gradients were not checked: the values differ already" in found.notes


def test_padding_that_has_a_gradient_is_wrong() -> None:
    def change(given: EngineGradients) -> EngineGradients:
        assert given.x is not None
        given.x[20, 1, 8] = 1e-30  # the item ends at step 4
        return given

    found = check_backward(prepared(engine=Changed(change), cell="gru", lengths=[30, 4, 16]))
    assert found.first is not None
    assert (found.first.step, found.first.batch, found.first.manual) == (20, 1, 0.0)


def test_an_engine_that_cannot_go_back_says_so() -> None:
    with pytest.raises(EngineError, match="has no backward pass"):
        check_backward(prepared(engine=NoGradients(), cell="lstm"))
    assert not isinstance(NoGradients(), GoesBack)


class NoGradients:
    name = "forwards"

    def run(self, spec: Any, parameters: Any, sequence: Any) -> Any:
        return TorchEngine().run(spec, parameters, sequence)


def recorded_run(options: dict[str, Any], of: str = "mean") -> tuple[Prepared, dict[str, Any]]:
    made = prepared(**options)
    loss = loss_of(of, made.spec, made.sequence, "loss")
    output = made.run().output
    assert output is not None
    _, upstream = loss.of(output, made.sequence)
    given = TorchEngine().backward(made.spec, made.parameters, made.sequence, upstream)
    arrays: dict[str, Any] = {"output": output, "grad.output": upstream.output, "grad.x": given.x, "grad.h0": given.h0}
    return made, arrays | {f"grad.{name}": g for name, g in given.parameters.items()}


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("options", sampled(NETWORKS, 3), ids=str)
def test_recorded_gradients_agree_and_a_wrong_one_is_found(options: dict[str, Any]) -> None:
    made, arrays = recorded_run(options)
    assert judge_recorded_backward(made, arrays).agrees
    wrong = arrays["grad.weight_hh_l0"].clone()
    at = divmod(int(wrong.abs().argmax()), wrong.shape[1])
    wrong[at] *= 1.01
    found = judge_recorded_backward(made, arrays | {"grad.weight_hh_l0": wrong})
    assert found.first is not None
    assert found.first.quantity == f"grad.weight_hh_l0[{at[0]},{at[1]}]"
    assert found.pattern == f"1 of {wrong.numel()} entries of dL/dweight_hh_l0"


def test_recorded_gradients_say_which_errors_would_be_seen() -> None:
    """A unit that is off by twice as much as is said is found: the engine's own error is at most its limit."""
    made, arrays = recorded_run({"cell": "gru", "num_layers": 2})
    found = judge_recorded_backward(made, arrays)
    assert found.agrees
    lines = {(one.gate, one.layer): one for one in found.resolution}
    assert {name for name, _ in lines} == {name for name in arrays if name.startswith("grad.")} - {"grad.output"}
    assert all(one.is_result and 0 < one.finest <= one.median <= one.coarsest < 0.01 for one in lines.values())
    one = lines["grad.weight_hh_l1", 1]
    wrong = arrays["grad.weight_hh_l1"].clone()
    wrong[one.coarsest_unit] *= 1 + 2 * one.coarsest
    told = judge_recorded_backward(made, arrays | {"grad.weight_hh_l1": wrong}, terms=CheckTerms(explain=0))
    assert told.first is not None
    assert (told.first.layer, told.first.unit) == (1, one.coarsest_unit)
    said, worst = report_text(found), max(one.coarsest for one in lines.values())
    assert f"relative errors in a result of {worst:.1e} and more" in said
    assert "dL/dh0, layer 1 forward" in said


@pytest.mark.slow
def test_recorded_zeros_are_told_for_what_they_are() -> None:
    made, arrays = recorded_run({"cell": "gru"})
    zeros = {name: torch.zeros_like(g) for name, g in arrays.items() if name.startswith("grad.")}
    del zeros["grad.output"]
    found = judge_recorded_backward(made, arrays | zeros, terms=CheckTerms(explain=0))
    assert found.verdict == "differ"
    assert "every recorded gradient is zero" in found.notes[-1]
    del zeros["grad.x"], zeros["grad.h0"]
    found = judge_recorded_backward(made, arrays | zeros, terms=CheckTerms(explain=0))
    assert found.verdict == "differ"
    assert "zero_grad() came after backward()" in found.notes[-1]


def test_the_gate_whose_gradient_is_zero_by_the_loss_is_named() -> None:
    """Of the last step alone the reverse direction has its first step, whose c before it is zero."""
    made = prepared(cell="lstm", bidirectional=True)
    made = replace(made, sequence=replace(made.sequence, c0=torch.zeros(2, 3, 7)))
    found = check_backward(made, loss_of("last", made.spec, made.sequence, "loss"))
    assert found.verdict == "cannot tell"
    assert "layer 0 reverse: in 7 of 7 units the gradient of f could be wrong by 1 % unseen" in str(found.reason)


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loss_of_nothing_is_no_overflow(recorded: bool, dtype: str) -> None:
    made, arrays = recorded_run({"cell": "gru", "dtype": dtype})
    nothing = loss_of(torch.zeros_like(arrays["output"]), made.spec, made.sequence, "loss")
    zeros = {name: torch.zeros_like(g) for name, g in arrays.items() if name.startswith("grad.")}
    found = judge_recorded_backward(made, zeros) if recorded else check_backward(made, nothing)
    assert found.verdict == "cannot tell"
    assert "dL/d output is zero everywhere, so that every gradient is zero" in str(found.reason)
    of_another = judge_recorded_backward(made, arrays, nothing)
    assert of_another.verdict == "cannot tell"
    assert "of another loss" in str(of_another.reason)


def test_recorded_gradients_in_few_decimals_are_no_wrong_ones() -> None:
    made, arrays = recorded_run({"cell": "gru"})
    rounded = {name: np.round(values.numpy(), 4) for name, values in arrays.items() if name != "grad.output"}
    found = judge_recorded_backward(made, rounded | {"grad.output": arrays["grad.output"]})
    assert found.verdict != "differ", found.first


@pytest.mark.slow
@pytest.mark.each_value_once
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("names", [("output",), ("grad.output",), ("output", "grad.output"), None], ids=str)
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("loss", ["mean", "drawn"])
def test_what_stands_beside_recorded_gradients_may_be_rounded(cell: str, loss: str, names: Any) -> None:
    """Equal numbers, as those of a mean, are all off by the same: 1/630 in 4 decimals by 1.3e-5 at every step."""
    made, arrays = recorded_run({"cell": cell, "num_layers": 2}, loss)
    rounded = {name: np.round(g.numpy(), 4) if names is None or name in names else g for name, g in arrays.items()}
    found = judge_recorded_backward(made, rounded)
    assert found.verdict != "differ", found.first
    wrong = judge_recorded_backward(made, rounded | {"grad.weight_hh_l1": 1.5 * rounded["grad.weight_hh_l1"]})
    assert wrong.verdict == "differ"
    assert str(wrong.pattern).endswith("dL/dweight_hh_l1")


@pytest.mark.usefixtures("no_causes")
def test_the_gradient_of_a_final_state_may_be_rounded() -> None:
    made, arrays = recorded_run({"cell": "gru"}, "drawn")
    g = torch.randn(1, 3, 7, generator=torch.Generator().manual_seed(1))
    upstream = Upstream(arrays["grad.output"], g)
    given = TorchEngine().backward(made.spec, made.parameters, made.sequence, upstream)
    arrays |= {"grad.h_n": g, "grad.x": given.x, "grad.h0": given.h0}
    arrays |= {f"grad.{name}": one for name, one in given.parameters.items()}
    assert judge_recorded_backward(made, arrays).agrees
    found = judge_recorded_backward(made, arrays | {"grad.h_n": np.round(g.numpy(), 3)})
    assert found.agrees, found.first
    wrong = judge_recorded_backward(made, arrays | {"grad.h_n": np.round(1.01 * g.numpy(), 3)})
    assert wrong.verdict == "differ"


@pytest.mark.usefixtures("no_causes")
def test_a_recording_without_what_went_in_asks_for_the_loss() -> None:
    made, arrays = recorded_run({"cell": "gru"})
    del arrays["grad.output"]
    with pytest.raises(SequenceError, match="--loss"):
        judge_recorded_backward(made, arrays)
    assert judge_recorded_backward(made, arrays, loss_of("mean", made.spec, made.sequence, "loss")).agrees
    assert judge_recorded_backward(made, arrays, loss_of("sum", made.spec, made.sequence, "loss")).verdict == "differ"


@pytest.mark.slow
def test_live_modules_and_their_grad_stay(tmp_path: Path) -> None:
    module = torch.nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True)
    found = rnnspect.check(module, torch.randn(2, 20, 4), backward=True)
    assert found.agrees
    assert all(parameter.grad is None for parameter in module.parameters())
    assert rnnspect.check(module, backward=True, loss="mean").agrees
    found = rnnspect.check(torch.nn.Sequential(module), torch.randn(2, 20, 4), backward=True)
    assert found.agrees
    assert "this is 0 (LSTM)" in found.notes
    with pytest.raises(InputError, match="check its module"):
        rnnspect.check(torch.nn.Sequential(module), torch.randn(2, 20, 4), recorded={}, backward=True)
    with pytest.raises(InputError, match="backward=True"):
        rnnspect.check(module, torch.randn(2, 20, 4), loss="sum")


BY_HAND = """
import numpy as np

def backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):
    hs, h = [], h0[0]
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ weight_ih_l0.T + bias_ih_l0 + h @ weight_hh_l0.T + bias_hh_l0)
        hs.append(h)
    dx, dh = np.zeros_like(x), np.zeros_like(h)
    dw, du, db = np.zeros_like(weight_ih_l0), np.zeros_like(weight_hh_l0), np.zeros_like(bias_ih_l0)
    for t in reversed(range(x.shape[1])):
        ds = (grad_output[:, t] + dh) * (1 - hs[t] ** 2)
        dx[:, t], dh = ds @ weight_ih_l0, ds @ {W}
        before = hs[t - 1] if t else h0[0]
        dw += ds.T @ x[:, t]; du += ds.T @ before; db += ds.sum(0)
    return {{"x": dx, "h0": dh[None], "weight_ih_l0": dw, "weight_hh_l0": du, "bias_ih_l0": db, "bias_hh_l0": db}}
"""


def test_a_pass_backwards_by_hand_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows no values of its own: those are estimated."""
    monkeypatch.setenv("COLUMNS", "400")
    mine = tmp_path / "mine.py"
    command = ["check", "--cell", "rnn", "--hidden-size", "4", "--input", "randn:30", "--backward"]
    command += ["--engine", f"{mine}:backward"]
    mine.write_text(BY_HAND.format(W="weight_hh_l0"))
    assert main(command) == 0
    assert "mine.py:backward's gradients match this RNN" in capsys.readouterr().out.replace("\n", " ")
    mine.write_text(BY_HAND.format(W="weight_hh_l0.T"))
    assert main([*command, "-f", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "differ"
    assert found["backward"] is True
    assert found["first"]["quantity"] == "grad.h_pre"
    assert found["first"]["step"] == 28  # the last step but one: the last has nothing behind it
    assert main(command) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "[grad-weight_hh-not-transposed]" in shown
    then = shlex.split(shown.partition("Next ")[2].partition(" Network ")[0])[1:]
    assert then[0] == "derive"
    assert then[-2:] == ["--loss", "drawn"]
    assert main([*then, "-f", "json"]) == 0
    derived = json.loads(capsys.readouterr().out)
    assert derived["point"]["step"] == 28
    assert derived["point"]["manual"] == pytest.approx(found["first"]["manual"], rel=1e-4)  # float32's h, and float64's


def test_the_command_after_recorded_gradients_takes_what_went_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    network, file = ["--cell", "rnn", "--hidden-size", "4", "--input", "randn:12"], tmp_path / "g.npz"
    assert main(["trace", *network, "--backward", "--loss", "last", "-o", str(file)]) == 0
    arrays = dict(np.load(file))
    arrays["grad.weight_hh_l0"] = 2 * arrays["grad.weight_hh_l0"]
    np.savez(file, **arrays)
    assert main(["check", *network, "--backward", "--recorded", str(file)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    then = shlex.split(shown.partition("Next ")[2].partition(" Network ")[0])[1:]
    assert then[-1] == str(file)
    assert main(then) == 0
    assert "dL/dweight_hh_l0[" in capsys.readouterr().out


def test_a_live_model_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    model = f"{Path(__file__).parents[2] / 'examples' / 'tagger.py'}:build"
    assert main(["check", model, "--input", "randn:6", "--batch", "2", "--backward"]) == 0
    said = capsys.readouterr()
    assert "gradients match this" in said.out
    assert "choose another with --module" in said.err


def test_a_trace_writes_what_a_check_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = ["--cell", "gru", "--num-layers", "2", "--bidirectional", "--input", "randn:20"]
    file = str(tmp_path / "run.npz")
    assert main(["trace", *network, "--backward", "-o", file]) == 0
    assert main(["check", *network, "--backward", "--recorded", file]) == 0
    assert main(["check", *network, "--loss", "sum"]) == 2
    assert "add --backward" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["torch", "torch-cell"])
def test_a_constant_input_repeats_its_roundings_and_agrees(engine: str) -> None:
    """A sum over 2,000 equal terms errs by more than roundings that cancel: without the second look 73 of 128 entries
    of torch's own dL/dbias_ih are called wrong."""
    made = prepare(Spec(cell="lstm", hidden_size=32), "ones:2000")
    loss = loss_of("sum", made.spec, made.sequence, "loss")
    assert check_backward(replace(made, engine=engines.find(engine)), loss).agrees


def test_what_overflows_a_half_type_cannot_be_told() -> None:
    """A relu without end in float16: its h is infinite after some steps, and then not a number."""
    made = prepare(Spec(cell="rnn", nonlinearity="relu", hidden_size=3, dtype="float16"), "ones:60")
    for name, values in made.parameters.items():
        values.fill_(1.5 if name.startswith("weight") else 0.5)
    found = judge_gradients(made, terms=CheckTerms(explain=0))
    assert found.verdict == "cannot tell"
    assert "overflow float16" in str(found.reason)


def test_a_unit_that_is_dead_tells_nothing_of_its_gate() -> None:
    made = prepare(Spec(cell="rnn", nonlinearity="relu"), "zeros:40")
    found = check_backward(made)
    assert max(line.coarsest for line in found.resolution) == float("inf")


STACK = """
import torch


def stack(x, state, {names}):
    given = dict(locals())
    lstm = torch.nn.LSTM(3, 4, 2, batch_first=True)
    own = {{name: given[name] for name, _ in lstm.named_parameters()}}
    own["weight_hh_l1"] = own["weight_hh_l1"]{detached}
    return torch.func.functional_call(lstm, own, (x, state))
"""


@pytest.mark.parametrize(("detached", "answer"), [("", "agree"), (".detach()", "differ")])
def test_a_stack_that_runs_only_as_it_is_is_checked_by_its_results(tmp_path: Path, detached: str, answer: str) -> None:
    """It asks for the parameters of both layers by name, so that no layer of it can be run alone."""
    ends = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    names = ", ".join(f"{name}_l{layer}" for layer in range(2) for name in ends)
    (tmp_path / "mine.py").write_text(STACK.format(names=names, detached=detached))
    spec = rnnspect.Spec(cell="lstm", input_size=3, hidden_size=4, num_layers=2)
    found = rnnspect.check(spec, "randn:12", engine=f"{tmp_path}/mine.py:stack", backward=True, explain=0)
    assert found.verdict == answer
    assert any("must run each layer alone, with more features of x, and it does not" in note for note in found.notes)
    if found.first is not None:
        assert found.first.quantity.startswith("grad.weight_hh_l1")


class XWrong:
    """torch's own gradients, but dL/dx is half of what it should be."""

    def __init__(self) -> None:
        self._torch = TorchEngine()
        self.name = "half of dx"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def backward(self, *given: Any) -> EngineGradients:
        found = self._torch.backward(*given)
        assert found.x is not None
        return replace(found, x=found.x * 0.7)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_where_dx_alone_is_wrong_no_gate_is_blamed(cell: str) -> None:
    """Gates are seen through dL/dx, and seem to be wrong, too."""
    found = check_backward(replace(prepared(cell=cell), engine=XWrong()), terms=CheckTerms(explain=0))
    assert found.verdict == "differ"
    assert found.first is not None
    assert found.first.quantity == "grad.x"
    assert found.pattern == "dL/dx"
    assert any("all other gradients are right" in note for note in found.notes)


def test_an_arithmetic_that_tells_too_little_is_named_by_itself() -> None:
    """And not float32, in which its numbers are given."""
    torch.manual_seed(1)
    module, x = torch.nn.LSTM(5, 8, batch_first=True), torch.randn(3, 16, 5)
    g = torch.randn(3, 16, 8)
    module(x)[0].backward(g)
    arrays = {f"grad.{name}": p.grad for name, p in module.named_parameters()} | {"grad.output": g}
    found = rnnspect.check(module, x, recorded=arrays, backward=True, arithmetic="bfloat16")
    assert found.verdict == "cannot tell"
    assert str(found.reason).endswith("use fewer steps, or a wider dtype than bfloat16")
