"""Every kernel that may compute a stack on a GPU, and every switch that makes it less exact, held to the equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import rnnspect
from rnnspect import Spec, check
from rnnspect.judging.verdict import Verdict

CELLS: dict[str, dict[str, Any]] = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm"},
    "projected": {"cell": "lstm", "proj_size": 24},
    "gru": {"cell": "gru"},
}
SIZES: dict[str, Any] = {"input_size": 40, "hidden_size": 96, "input": "randn:50", "batch": 4}
"""Wide enough for tensor cores, whose tiles are 8 or 16 wide."""


@pytest.fixture
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """cuDNN's kernels, or PyTorch's own."""
    monkeypatch.setattr(torch.backends.cudnn, "enabled", request.param == "cudnn")
    return str(request.param)


both_kernels = pytest.mark.parametrize("kernels", ["cudnn", "native"], indirect=True)
both_products = pytest.mark.parametrize("float32_products", ["ieee", "tf32"], indirect=True)


def no_fault(verdict: Verdict) -> None:
    """Half types may be `cannot tell` though nothing is wrong."""
    assert verdict.verdict != "differ", str(verdict)


@pytest.mark.each_value_once
@pytest.mark.usefixtures("kernels", "float32_products")
@both_kernels
@pytest.mark.parametrize("more", [{}, {"num_layers": 2, "bidirectional": True}, {"lengths": [50, 7, 31, 1]}], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_exact_float32_agrees(place: str, cell: str, more: dict[str, Any]):
    verdict = check(Spec(**CELLS[cell], **SIZES, **more, device=place))
    assert verdict.agrees, str(verdict)
    assert verdict.arithmetic == "float32"
    assert verdict.engine.device.startswith(place)


@pytest.mark.each_value_once
@both_kernels
@both_products
@pytest.mark.parametrize("cell", CELLS)
def test_tf32_agrees_and_is_said(place: str, kernels: str, float32_products: str, cell: str):
    """With TF32 on, a run is held to it where it is not exact; the verdict shows the switch that was in force."""
    verdict = check(Spec(**CELLS[cell], **SIZES, device=place))
    assert verdict.agrees, str(verdict)
    if place == "cuda":
        library = "cudnn.rnn" if kernels == "cudnn" else "cuda.matmul"
        said = {name: value for name, value in verdict.engine.precision.items() if name.startswith(library[:5])}
        assert set(said.values()) <= {float32_products, str(float32_products == "tf32")}
        assert said
    else:
        assert verdict.arithmetic == "float32"


@pytest.mark.usefixtures("float32_products")
@both_products
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_loop_over_cells_agrees(place: str, cell: str):
    assert check(Spec(**CELLS[cell], **SIZES, device=place), engine="torch-cell").agrees


@pytest.mark.each_value_once
@pytest.mark.usefixtures("kernels")
@both_kernels
@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("cell", CELLS)
def test_other_dtypes(place: str, cell: str, dtype: str):
    verdict = check(Spec(**CELLS[cell], **SIZES, dtype=dtype, device=place))
    no_fault(verdict)
    if dtype == "float64":
        assert verdict.agrees


@pytest.mark.usefixtures("kernels")
@both_kernels
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_watched_model_under_autocast(place: str, kind: str, dtype: torch.dtype):
    model = nn.Sequential(getattr(nn, kind)(40, 96)).to(place)
    half = dtype if place == "cuda" else torch.bfloat16  # not every CPU has an LSTM in float16
    with torch.autocast(place, dtype=half), rnnspect.watch(model) as seen:
        model(torch.randn(20, 3, 40, device=place))
    (one,) = seen.check()
    assert one.verdict is not None, one.reason
    no_fault(one.verdict)


@pytest.mark.slow
@pytest.mark.usefixtures("kernels", "float32_products")
@both_kernels
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_mistake_is_found_where_it_runs(place: str, kind: str):
    """The gates of the bias exchanged on the device: the same answer wherever it is."""
    torch.manual_seed(0)
    module = getattr(nn, kind)(40, 96).to(place)
    x = torch.randn(20, 3, 40, device=place)
    with torch.no_grad():
        recorded = module(x)
        module.bias_ih_l0.copy_(module.bias_ih_l0.roll(96))
    verdict = check(module, x, recorded=recorded)
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    assert verdict.first.step == 0
