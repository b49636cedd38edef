"""Where a given input cannot tell, the reason says which would, and that input does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect
from rnnspect.arithmetic.hidden_calls import gates_of_no_state
from rnnspect.cells import CELLS, VARIANTS, Cell


def test_a_forget_gate_beside_a_cell_state_of_zero() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(5, 8), torch.randn(1, 2, 5)
    verdict = rnnspect.check(module, x)
    assert verdict.verdict == "cannot tell"
    assert str(verdict.reason).endswith(
        "f cannot be tested: it multiplies the cell state, and c0 is zero; begin with another c0 (--c0 randn)"
    )
    rounded = module(x)[0].detach().double().round(decimals=6)
    assert rnnspect.check(module, x, recorded={"output": rounded}).reason == verdict.reason  # not its digits
    assert rnnspect.check(module, x, c0="randn").agrees
    assert rnnspect.check(module, torch.randn(4, 2, 5)).agrees


@pytest.mark.parametrize("size", [0.0, 1e-8])
def test_numbers_beside_which_zeros_would_agree_too(size: float) -> None:
    """tanh alone may err by 7e-7 in float32: h of 1e-8 is within that of zero, as h that is zero everywhere is."""
    torch.manual_seed(0)
    module, x = torch.nn.RNN(5, 8, bias=False), torch.randn(20, 2, 5)
    verdict = rnnspect.check(module, size * x)
    assert verdict.verdict == "cannot tell"
    assert verdict.reason == (
        "layer 0 forward: every value of h is so small that zeros would agree, too; "
        "check with larger numbers in x, h0 or the biases"
    )
    assert rnnspect.check(module, size * x, h0="randn").agrees
    assert rnnspect.check(module, x).agrees


def test_a_reset_gate_beside_a_state_of_zero() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.GRU(5, 8, bias=False), torch.randn(1, 2, 5)
    verdict = rnnspect.check(module, x)
    assert str(verdict.reason).endswith(
        "multiplies the hidden state, and h0 is zero; begin with another h0 (--h0 randn)"
    )
    assert rnnspect.check(module, x, h0="randn").agrees


def test_a_state_of_zero_is_no_reason_after_many_steps() -> None:
    """No h0 would open a reset gate whose product is always zero."""
    torch.manual_seed(0)
    module = torch.nn.GRU(5, 8, bias=False)
    with torch.no_grad():
        module.weight_hh_l0[16:] = 0
    verdict = rnnspect.check(module, torch.randn(20, 2, 5))
    assert verdict.verdict == "cannot tell"
    assert "in gate r (8 of 8 units)" in str(verdict.reason)
    assert "h0" not in str(verdict.reason)


def test_an_input_that_saturates() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(5, 8), 1e4 * torch.randn(20, 2, 5)
    verdict = rnnspect.check(module, x)
    assert verdict.verdict == "cannot tell"
    said = str(verdict.reason)
    assert "which saturates them" in said
    smaller = float(said.rpartition("make x about ")[2].partition(" times smaller")[0])
    assert rnnspect.check(module, x / smaller, c0="randn").agrees


def test_a_bias_that_cancels_a_large_input() -> None:
    """A mean of 1e5 that was folded into the bias: no gate is saturated, and a smaller x would saturate each."""
    torch.manual_seed(0)
    module, x, mean = torch.nn.LSTM(5, 8).double(), torch.randn(50, 2, 5), torch.full((5,), 1e5)
    with torch.no_grad():
        module.bias_ih_l0 -= module.weight_ih_l0 @ mean.double()
    verdict = rnnspect.check(module.float(), x + mean)
    assert verdict.verdict == "cannot tell"
    assert "and the bias cancels it; check a copy in float64" in str(verdict.reason)


def test_a_layer_above_that_nothing_opens() -> None:
    torch.manual_seed(0)
    module = torch.nn.RNN(5, 8, num_layers=2)
    with torch.no_grad():
        module.bias_ih_l1 += 50
    verdict = rnnspect.check(module, torch.randn(20, 2, 5))
    assert str(verdict.reason).startswith(
        "layer 1 forward: this input cannot reveal an error of 0.01 in gate h (8 of 8 units)"
    )
    assert str(verdict.reason).endswith("use more steps, of an input that leaves them half open")


def test_a_recording_in_few_digits() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(5, 8), torch.randn(20, 2, 5)
    output = module(x)[0].detach().numpy()
    verdict = rnnspect.check(module, x, recorded=output.round(2))
    assert verdict.verdict == "cannot tell"
    assert "it was recorded with 2 decimals, which hides an error of 0.01 in gate" in str(verdict.reason)
    assert rnnspect.check(module, x, recorded=output).agrees


def test_a_recording_in_digits_that_hide_less_than_the_dtype_does() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.LSTM(6, 10, 2, dtype=torch.bfloat16), torch.randn(30, 2, 6, dtype=torch.bfloat16)
    output = module(x)[0].detach().double().numpy()
    for decimals, why in ((5, "the rounding of bfloat16 hides"), (2, "it was recorded with 2 decimals, which hides")):
        assert why in str(rnnspect.check(module, x, recorded=output.round(decimals)).reason)


@pytest.mark.usefixtures("no_causes")
def test_a_gate_that_the_lines_do_not_use_for_the_states() -> None:
    """No input reveals anything of it. A gate that only c shows is another one."""

    def lines(a: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
        s, u, v = a.gates(wx, h)
        return {"s": s, "u": a.sigmoid(u), "v": v, "c": a.tanh(v + c), "h": a.tanh(s)}

    def step(x_t: Any, state: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        s, _, v = (x_t @ weight_ih.T + bias_ih + state[0] @ weight_hh.T + bias_hh).chunk(3, -1)
        return torch.tanh(s), torch.tanh(v + state[1])

    quantities, functions = ("s", "u", "v", "c", "h"), ("sigmoid", "tanh")
    cell = Cell("unused", "", ("s", "u", "v"), ("h", "c"), quantities, functions, lines)
    assert gates_of_no_state(cell) == ("u",)
    assert not any(gates_of_no_state(one) for one in (*CELLS.values(), *VARIANTS.values()))
    verdict = rnnspect.check(rnnspect.Spec(cell=cell, hidden_size=4), "randn:200", engine=step)
    assert verdict.verdict == "cannot tell"
    assert "the lines of the cell do not use gate u for its states" in str(verdict.reason)
