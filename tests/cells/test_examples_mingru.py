"""The minimal GRU and LSTM against the package mingru-pytorch (0.2.1), where it is installed: its states are kept above
0, as in the paper's appendix B, so that all steps can be computed at once in log space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.cells import Arithmetic, Cell, V
from tests.cells.test_examples import cell

STEPS, SIZE = 50, 6


@pytest.fixture(scope="module")
def layers() -> dict[str, Any]:
    pytest.importorskip("minGRU_pytorch", reason="skipped: mingru-pytorch is not installed")
    from minGRU_pytorch import minGRU
    from minGRU_pytorch.minLSTM import minLSTM

    return {"mingru": minGRU, "minlstm": minLSTM}


def above_zero(a: Arithmetic[V], v: V) -> V:
    """g of the paper's appendix B: v + ½ where v ≥ 0, else σ(v)."""
    return a.relu(v) + a.sigmoid(v - a.relu(v))


def mingru(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = g(W_in x)
    z  = σ(W_iz x)
    h' = (1 − z) ⊙ h + z ⊙ n
    """
    x_n, x_z = a.split(wx)
    n, z = above_zero(a, x_n), a.sigmoid(x_z)
    return {"n": n, "z": z, "h": a.lerp(h, n, z)}


def minlstm(a: Arithmetic[V], wx: V, h: V) -> dict[str, V]:
    """
    n  = g(W_in x)
    f  = σ(W_if x)
    i  = σ(W_ii x)
    d  = f / (f + i)
    h' = d ⊙ h + (1 − d) ⊙ n
    """
    x_n, x_f, x_i = a.split(wx)
    n, f, i = above_zero(a, x_n), a.sigmoid(x_f), a.sigmoid(x_i)
    d = f * a.reciprocal(f + i)
    return {"n": n, "f": f, "i": i, "d": d, "h": a.lerp(n, h, d)}


CELLS: dict[str, Cell] = {
    "mingru": replace(cell("mingru"), gates=("n", "z"), functions=("sigmoid", "relu"), step=mingru),
    "minlstm": replace(
        cell("minlstm"), gates=("n", "f", "i"), functions=("sigmoid", "relu", "reciprocal"), step=minlstm
    ),
}


def network(layers: dict[str, Any], name: str) -> tuple[rnnspect.Spec, Any, Tensor]:
    """Their layer, and ours with its weights."""
    torch.manual_seed(0)
    layer = layers[name](SIZE)
    (weight,) = layer.parameters()
    spec = rnnspect.Spec(
        cell=CELLS[name],
        input_size=SIZE,
        hidden_size=SIZE,
        bias=False,
        weights={"weight_ih_l0": (3 * weight.detach()).tolist()},
    )
    weight.data.mul_(3)
    return spec, layer, torch.randn(2, STEPS, SIZE)


@torch.no_grad()
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", CELLS)
def test_one_step_after_the_other(layers: dict[str, Any], name: str) -> None:
    spec, layer, x = network(layers, name)
    h, output = None, []
    for step in x.split(1, 1):
        _, h = layer(step, h, return_next_prev_hidden=True)
        output.append(h)
    whole = torch.cat(output, 1)
    assert rnnspect.check(spec, x, recorded={"output": whole}).verdict == "agree"
    assert rnnspect.check(spec, x, recorded={"output": whole.roll(1, 1)}).verdict == "differ"


@torch.no_grad()
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", CELLS)
def test_all_steps_at_once_in_log_space(layers: dict[str, Any], name: str) -> None:
    spec, layer, x = network(layers, name)
    output = layer(x)
    assert rnnspect.check(spec, x, recorded={"output": output}, arithmetic="log-scan").verdict == "agree"
    late = torch.cat([output[:, :1], output[:, :-1]], 1)
    assert rnnspect.check(spec, x, recorded={"output": late}, arithmetic="log-scan").verdict == "differ"


@torch.no_grad()
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize(("name", "told"), [("mingru", "agree"), ("minlstm", "differ")])
def test_all_steps_at_once_from_a_state(layers: dict[str, Any], name: str, told: str) -> None:
    """Its LSTM takes g(h) in place of h for the state that it is given, which going step by step it does not."""
    spec, layer, x = network(layers, name)
    h0 = torch.rand(2, SIZE) + 0.5
    output = layer(x, h0[:, None])
    found = rnnspect.check(spec, x, h0[None], recorded={"output": output}, arithmetic="log-scan")
    assert found.verdict == told
    found = rnnspect.check(
        spec, x, h0[None] + (told == "differ") / 2, recorded={"output": output}, arithmetic="log-scan"
    )
    assert found.verdict == "agree"
