"""The library: a live module is as good as a spec, and is left as it was."""

from __future__ import annotations

import ast
import itertools
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspect
from rnnspect import Spec, SpecError, Trace, check, gradients, shapes, trace
from tests.comparison import CELLS, assert_engine_agrees

KINDS = [
    {**cell, "num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": batch_first}
    for cell, layers, both, bias, batch_first in itertools.product(
        CELLS.values(), (1, 2), (False, True), (True, False), (True, False)
    )
]
kinds = pytest.mark.parametrize("keys", KINDS, ids=lambda keys: "-".join(map(str, keys.values())))


def _module(keys: dict[str, Any], **more: Any) -> nn.RNNBase:
    options = {name: value for name, value in keys.items() if name != "cell"}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return getattr(nn, keys["cell"].upper())(5, 4, **options, **more)


def _assert_same(one: Trace, other: Trace) -> None:
    for layer, twin in zip(one.layers, other.layers, strict=True):
        assert list(layer.quantities) == list(twin.quantities)
        for name, values in layer.quantities.items():
            assert torch.equal(values, twin.quantities[name]), name
        assert torch.equal(layer.engine["h"], twin.engine["h"])
    assert torch.equal(one.output.manual, other.output.manual)
    assert torch.equal(one.output.engine, other.output.engine)
    assert torch.equal(one.h_n.engine, other.h_n.engine)


@kinds
def test_a_live_module_is_as_good_as_its_spec(keys: dict[str, Any]):
    """The spec draws, with seed 1, the parameters of the module that was built after manual_seed(1)."""
    torch.manual_seed(2)
    x = torch.randn(3, 2, 5)
    module, spec = _module(keys), Spec(**keys, hidden_size=4)
    _assert_same(trace(module, x), trace(spec, x))
    assert shapes(module).parameters == shapes(spec).parameters


@kinds
def test_the_engine_of_a_live_module_is_that_module(keys: dict[str, Any]):
    torch.manual_seed(2)
    module, x = _module(keys), torch.randn(3, 2, 5)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch's own about projections
        output, final = module(x)
    found = trace(module, x)
    assert torch.equal(found.output.engine, output if module.batch_first else output.transpose(0, 1))
    assert torch.equal(found.h_n.engine, final[0] if isinstance(final, tuple) else final)
    assert_engine_agrees(found)


def test_a_module_is_run_with_its_own_forward():
    class Wrong(nn.LSTM):
        def forward(self, *given: Any) -> Any:
            output, state = super().forward(*given)
            return output + 1, state

    found = trace(Wrong(5, 2), torch.ones(3, 5))
    assert found.max_abs_difference == pytest.approx(1, abs=1e-6)  # float32 numbers near 1


def test_a_subclass_is_a_module_of_its_kind():
    class Mine(nn.LSTM):
        pass

    found = trace(Mine(5, 2), "ramp:3")
    assert found.spec.cell == "lstm"
    assert_engine_agrees(found)


@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_left_as_it_was(training: bool):
    module = nn.LSTM(5, 4, 3, dropout=0.5).train(training)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = trace(module, "randn:7")
    assert_engine_agrees(found)
    assert module.training is training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in module.parameters())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_that_a_run_switches_off_is_told(training: bool, layers: int):
    with warnings.catch_warnings(action="ignore"):  # a layer alone has no dropout, and torch warns of it
        module = nn.GRU(5, 4, layers, dropout=0.5).train(training)
    said = "the module is in train mode; its dropout of 0.5 was switched off for this run"
    results = trace(module, "randn:7"), gradients(module, "randn:7"), check(module, "randn:7")
    for result in (*results, check(module, "randn:7", backward=True)):
        assert (said in result.notes) == (training and layers > 1), result


def test_a_module_is_left_as_it_was_when_it_fails():
    class Fails(nn.RNN):
        def forward(self, *_given: Any) -> Any:
            raise ZeroDivisionError

    module = Fails(5, 2)
    with pytest.raises(rnnspect.EngineError, match="ZeroDivisionError; instead of deriving"):
        trace(module, "ramp:3")
    assert module.training


def test_a_frozen_module_stays_frozen():
    module = nn.GRU(5, 2).requires_grad_(False)
    trace(module, "ramp:3")
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_what_comes_back_does_not_change_when_the_module_learns_on():
    module = nn.RNN(5, 2)
    found = trace(module, "ramp:3")
    before = found.layers[0].quantities["h"].clone()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    assert torch.equal(found.layers[0].quantities["h"], before)


@pytest.mark.parametrize("keys", CELLS.values(), ids=CELLS.keys())
def test_nothing_is_warned_about(keys: dict[str, Any]):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trace(_module(keys, num_layers=2, dropout=0.5), "ramp:3")
        trace(Spec(**keys, hidden_size=4, num_layers=1, dropout=0.5, batch=2, lengths=[1, 3]))
    assert [str(one.message) for one in caught] == []


@pytest.mark.parametrize("batch_first", [True, False])
def test_results_are_batch_step_unit_whatever_batch_first_says(batch_first: bool):
    x = torch.arange(30.0).reshape(2, 3, 5)
    found = trace(Spec(cell="lstm", batch_first=batch_first, bidirectional=True, num_layers=2), x)
    batch, steps = (2, 3) if batch_first else (3, 2)
    assert torch.equal(found.x, x if batch_first else x.transpose(0, 1))
    assert (found.batch, found.steps) == (batch, steps)
    for layer in found.layers:
        for name, values in layer.quantities.items():
            assert values.shape[:2] == (batch, steps), name
        assert layer.engine["h"].shape == (batch, steps, 2)
    assert found.output.manual.shape == found.output.engine.shape == (batch, steps, 4)
    assert found.h_n.manual.shape == found.h_n.engine.shape == (4, batch, 2)
    assert found.c_n is not None
    assert found.c_n.manual.shape == found.c_n.engine.shape == (4, batch, 2)


def test_an_input_without_a_batch_is_a_batch_of_one():
    found = trace(Spec(), torch.ones(3, 5))
    assert (found.batch, found.batched, found.x.shape) == (1, False, (1, 3, 5))
    assert trace(Spec(), torch.ones(1, 3, 5)).batched


def test_lengths_make_a_packed_batch():
    module, x = nn.GRU(5, 2, batch_first=True, bidirectional=True), torch.ones(2, 4, 5)
    found = trace(module, x, lengths=[2, 4])
    assert (found.lengths, found.length(0), found.length(1)) == ((2, 4), 2, 4)
    assert (found.output.manual[0, 2:] == 0).all()
    assert found.layers[0].quantities["h"][0, 2:].isnan().all()
    assert_engine_agrees(found)


def test_states_given_to_a_module_are_used():
    module, x = nn.LSTM(5, 2), torch.ones(3, 5)
    h0, c0 = torch.full((1, 2), 0.5), torch.full((1, 2), -2.0)
    with torch.no_grad():
        expected = module(x, (h0, c0))[0]
    assert torch.equal(trace(module, x, h0, c0).output.engine[0], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_is_the_modules(dtype: torch.dtype):
    found = trace(nn.LSTM(5, 2, dtype=dtype), torch.ones(3, 5))
    assert (found.spec.dtype, found.output.engine.dtype) == (str(dtype).removeprefix("torch."), dtype)
    assert_engine_agrees(found)


def test_a_module_runs_where_it_is(device: str):
    found = trace(nn.GRU(5, 2, device=device), torch.ones(3, 5))
    assert found.engine.device.startswith(device)
    assert_engine_agrees(found)


def test_the_engine_says_what_it_is():
    engine = trace(Spec()).engine
    assert (engine.name, engine.version, engine.device, engine.dtype) == ("torch", torch.__version__, "cpu", "float32")


def test_differences_are_the_largest_of_each_layer_and_of_all():
    class Wrong(nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, state = super().forward(*given)
            return output, state + 3

    found = trace(Wrong(5, 2, dtype=torch.float64), "ramp:3")
    # A wrong final state is no wrong step; float64 numbers near 1.
    assert found.layers[0].max_abs_difference < 1e-12
    assert found.max_abs_difference == pytest.approx(3, abs=1e-12)


def test_a_nan_of_the_engine_alone_is_a_difference():
    class Wrong(nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, state = super().forward(*given)
            output = output.clone()
            output[-1] = torch.nan
            return output, state

    found = trace(Wrong(5, 2), "ramp:3")
    assert found.max_abs_difference != found.max_abs_difference
    assert found.layers[0].max_abs_difference != found.layers[0].max_abs_difference


@pytest.mark.parametrize("where", [0.25, float("nan")])
def test_a_stack_that_is_not_the_sum_of_its_layers_is_told(where: float):
    class Wrong(nn.GRU):
        def forward(self, *given: Any) -> Any:
            output, state = super().forward(*given)
            return output + where, state

    apart = trace(Wrong(5, 2, 2), "ramp:3").stack_difference
    assert apart != apart if where != where else apart == pytest.approx(where, abs=1e-6)  # float32 numbers below 1


def test_a_stack_is_the_sum_of_its_layers():
    assert trace(Spec(cell="lstm", num_layers=3, bidirectional=True, dtype="float64")).stack_difference < 1e-12


OTHERS: dict[str, Any] = {
    "a linear": nn.Linear(5, 2),
    "the base": nn.RNNBase("LSTM", 5, 2),
    "a class": nn.LSTM,
    "nothing": None,
    "a text": "lstm",
    "a mapping": {"cell": "lstm"},
    "a number": 3,
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS.keys())
@pytest.mark.parametrize("call", [shapes, trace])
def test_any_other_object_is_refused(call: Any, other: Any):
    with pytest.raises(SpecError, match=r"expected a Spec, torch\.nn\.RNN, torch\.nn\.GRU, torch\.nn\.LSTM"):
        call(other)


@pytest.mark.parametrize("given", ["model.keras", Path("model.keras")])
def test_who_gives_the_name_of_a_file_is_told_how_to_give_a_file(given: Any):
    said = r"got a text; .*; of a file: Spec\(cell=…, input_size=…, hidden_size=…, weights='model\.keras'\)"
    with pytest.raises(SpecError, match=said):
        check(given)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float8_e4m3fn])
def test_a_module_in_a_dtype_that_is_not_traced(dtype: torch.dtype):
    with pytest.raises(SpecError, match=r"the module has the dtype .*; expected float16, bfloat16, float32, float64"):
        shapes(nn.RNN(5, 2, device="meta", dtype=dtype))


def test_a_module_on_the_meta_device_has_shapes_but_no_numbers():
    module = nn.LSTM(5, 2, device="meta")
    assert shapes(module).total == sum(parameter.numel() for parameter in module.parameters())
    with pytest.raises(rnnspect.DeviceError):
        trace(module, "ramp:3")


def test_every_error_of_the_library_is_one_kind():
    names = ["SpecError", "WeightsError", "SequenceError", "FileError", "DeviceError", "ResourceError"]
    for name in names:
        assert issubclass(getattr(rnnspect, name), rnnspect.InputError)
    assert issubclass(rnnspect.InputError, rnnspect.RnnspectError)
    assert rnnspect.InputError.exit_status == 2


def test_lengths_and_paths_in_any_form(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 4, 5)))
    for lengths in ((4, 2), [np.int64(4), np.int64(2)], np.array([4, 2]), torch.tensor([4, 2])):
        assert trace(Spec(), tmp_path / "x.npy", lengths=lengths).lengths == (4, 2)


def test_weights_as_a_state_dict():
    module = nn.GRU(5, 3, batch_first=True)
    found = trace(Spec(cell="gru", hidden_size=3, weights=dict(module.state_dict())), "ramp:4")
    expected = trace(module, "ramp:4")
    assert torch.equal(found.output.engine, expected.output.engine)


@pytest.mark.usefixtures("no_causes")
def test_check_of_a_module_and_of_what_it_gave():
    module = nn.LSTM(5, 3, 2, batch_first=True)
    x = torch.randn(2, 9, 5)
    assert rnnspect.check(module, x).verdict == "agree"
    with torch.no_grad():
        y, (h_n, c_n) = module(x)
    assert rnnspect.check(module, x, recorded={"output": y, "h_n": h_n, "c_n": c_n}).verdict == "agree"
    y[1, 4, 2] += 0.01
    verdict = rnnspect.check(module, x, recorded=y)
    assert verdict.verdict == "differ"
    assert (verdict.first.layer, verdict.first.step, verdict.first.batch, verdict.first.unit) == (1, 4, 1, 2)


@pytest.mark.parametrize("batch_first", [True, False])
def test_gradients_of_a_live_module_are_those_of_its_spec(batch_first: bool) -> None:
    """With the axes of the module's own output in the loss, and without a trace in its parameters."""
    keys = {"cell": "lstm", "num_layers": 2, "bidirectional": True, "bias": True, "batch_first": batch_first}
    torch.manual_seed(2)
    module, spec = _module(keys), Spec(**keys, hidden_size=4)
    x = torch.randn(3, 2, 5)
    output, _ = module(x)
    loss = torch.randn_like(output)
    found = rnnspect.gradients(module, x, loss=loss)
    other = rnnspect.gradients(spec, x, loss=loss.numpy())
    upstream = loss if batch_first else loss.transpose(0, 1)
    assert torch.equal(found.upstream, upstream)
    for name, pair in found.pairs.items():
        assert torch.equal(pair.manual, other.pairs[name].manual), name
    assert all(one.grad is None for one in module.parameters())
    (output * loss).sum().backward()
    for name, one in module.named_parameters():
        # float32; sums of 6 steps and items, each of some 20 roundings of 6e-8 of numbers near 1
        assert torch.allclose(found.pairs[name].manual, one.grad, rtol=1e-4, atol=1e-5), name


def test_every_public_name_is_there_when_it_is_asked_for() -> None:
    """Types are checked by the same list: `rnnspect` takes all that `rnnspect.api.__all__` names, and nothing else."""
    names = rnnspect.api.__all__
    assert rnnspect.__all__ == names
    assert all(getattr(rnnspect, name) is getattr(rnnspect.api, name) for name in names)
    assert [name for name in dir(rnnspect) if not name.startswith("__")] == sorted(names)
    typed = [
        node for node in ast.walk(ast.parse(Path(rnnspect.__file__).read_text())) if isinstance(node, ast.ImportFrom)
    ]
    assert [node.module for node in typed if node.names[0].name == "*"] == ["rnnspect.api"]
    with pytest.raises(AttributeError, match="nothing"):
        rnnspect.nothing  # noqa: B018


def test_the_library_is_loaded_when_it_is_asked_for() -> None:
    code = "import sys, rnnspect; assert not {'torch', 'numpy', 'pydantic', 'rich'} & {*sys.modules}; rnnspect.Trace"
    code += "; dir(rnnspect); repr(rnnspect.shapes(rnnspect.Spec()))"
    code += "; assert not {'torch', 'numpy', 'rich', 'pandas', 'matplotlib'} & {*sys.modules}"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_help_needs_nothing_that_validates_a_spec() -> None:
    code = "import sys; from rnnspect.cli import main; main(['--help']); sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


class Two(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = torch.nn.GRU(3, 4), torch.nn.LSTM(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.decoder(self.encoder(x)[0])[0]
        return output


@pytest.mark.parametrize(("module", "cell"), [(None, "gru"), ("encoder", "gru"), ("decoder", "lstm")])
def test_gradients_of_one_module_in_a_model(module: str | None, cell: str) -> None:
    found = rnnspect.check(Two(), torch.randn(9, 2, 3), backward=True, module=module)
    assert isinstance(found, rnnspect.Verdict)
    assert (found.verdict, found.spec.cell) == ("agree", cell)


def test_a_module_is_chosen_for_gradients_only() -> None:
    with pytest.raises(rnnspect.InputError, match="module: a module is for gradients; pass backward=True"):
        rnnspect.check(Two(), torch.randn(9, 2, 3), module="decoder")
    with pytest.raises(rnnspect.InputError, match="did you mean 'decoder'"):
        rnnspect.check(Two(), torch.randn(9, 2, 3), backward=True, module="decode")


BEYOND_TORCH = [
    {"cell": "lstm", "peepholes": True}, {"cell": "lstm", "input_forget": True}, {"cell": "lstm", "clip": 0.5},
    {"cell": "gru", "reset": "before"}, {"cell": "gru", "activations": ["hard_sigmoid(0.2, 0.5)", "tanh"]},
]  # fmt: skip


@pytest.mark.parametrize("keys", BEYOND_TORCH, ids=lambda keys: list(keys)[1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trace_of_what_torch_lacks_is_that_of_the_equations(keys: dict[str, Any], dtype: str):
    spec = Spec.model_validate({**keys, "dtype": dtype})
    found = trace(spec, "randn:5")
    assert set(spec.cell_type.quantities) <= set(found.layers[0].quantities)
    assert found.layers[0].engine == {}
    assert any(f"only the equations were computed: {spec.beyond_torch}" in note for note in found.notes)


def test_a_trace_is_beside_the_engine_that_is_named():
    spec = Spec(cell="lstm", num_layers=2)
    found = trace(spec, "randn:5", engine="torch-cell")
    assert found.engine.name == "torch-cell"
    assert found.max_abs_difference < 1e-6
    own = trace(Spec(cell="rnn"), "randn:5", engine=lambda x_t, h: h)
    assert not own.layers[0].engine["h"].any()


def test_a_trace_of_what_torch_lacks_is_beside_onnxruntime():
    pytest.importorskip("onnxruntime")
    found = trace(Spec(cell="lstm", peepholes=True), "randn:5", engine="onnxruntime")
    assert found.max_abs_difference < 1e-5


@pytest.mark.slow
def test_what_a_test_draws_is_the_same_before_and_after_a_first_check():
    code = """
import random, rnnspect, torch
random.seed(0)
before = random.getstate()
rnnspect.assert_agrees(torch.nn.LSTM(3, 4), torch.randn(5, 3))
assert random.getstate() == before
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
