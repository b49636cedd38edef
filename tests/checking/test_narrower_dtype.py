"""A run in a narrower dtype than the network's differs, and is told to be one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from tests.cells.loops import mgu
from tests.cells.test_examples import cell as example

RUNS = [
    ("float32", "bfloat16", {}),
    ("float32", "float16", {"num_layers": 2}),
    ("float64", "float32", {"bidirectional": True}),
    ("float64", "bfloat16", {}),
]


def made(kind: type[nn.RNNBase], dtype: str, **keys: object) -> tuple[nn.RNNBase, torch.Tensor]:
    torch.manual_seed(1)
    return kind(5, 8, **keys).to(getattr(torch, dtype)), torch.randn(30, 2, 5, dtype=getattr(torch, dtype))


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize(("dtype", "narrower", "keys"), RUNS)
def test_its_dtype_is_told(kind: type[nn.RNNBase], dtype: str, narrower: str, keys: dict[str, object]) -> None:
    module, x = made(kind, dtype, **keys)
    ran = copy.deepcopy(module).to(getattr(torch, narrower))
    y, state = ran(x.to(getattr(torch, narrower)))
    h_n = state[0] if kind is nn.LSTM else state
    said = rnnspect.check(module, x, recorded={"output": y.to(x.dtype), "h_n": h_n.to(x.dtype)}, explain=0.1)
    assert said.verdict == "differ"
    assert said.reason is not None
    assert said.reason.startswith(f"{narrower} would explain this")
    assert not any("truncated" in note or "no known mistake" in note for note in said.notes)
    assert rnnspect.check(ran, x.to(getattr(torch, narrower)), recorded=y).verdict != "differ"


@pytest.mark.each_value_once
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_autocast_that_keeps_states_in_float32_is_told(half: str) -> None:
    module, x = made(nn.GRU, "float32")
    with torch.no_grad(), torch.autocast("cpu", dtype=getattr(torch, half)):
        y = module(x)[0]
    assert y.dtype == torch.float32
    said = rnnspect.check(module, x, recorded=y, explain=0.1)
    assert str(said.reason).startswith(f"{half} would explain this")


def under_autocast(
    x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made: Tensor = mgu(False)(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)
    return made.float()


@pytest.mark.parametrize("seed", range(3))
def test_autocast_of_code_that_adds_its_biases_to_products_is_told(seed: int) -> None:
    """They keep float32 there, which a module's own do not."""
    spec = rnnspect.Spec(cell=example("mgu"), input_size=3, hidden_size=4, h0="randn", seed=seed)
    said = rnnspect.check(spec, "randn:40", engine=under_autocast, explain=0)
    assert said.verdict == "differ"
    assert str(said.reason).startswith("bfloat16 would explain this")


@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_code_under_autocast_that_is_held_to_bfloat16_are_told(seed: int) -> None:
    """Where all of an engine is in bfloat16, so are its weights, but autocast rounds them for each product."""
    spec = rnnspect.Spec(cell=example("mgu"), input_size=3, hidden_size=4, batch=2, h0="randn", seed=seed)
    given: dict[str, Any] = {"engine": under_autocast, "backward": True, "explain": 0}
    said = rnnspect.check(spec, "randn:20", arithmetic="bfloat16", **given)
    assert said.verdict == "differ"
    assert str(said.reason).endswith("check with --arithmetic bfloat16-products")
    assert rnnspect.check(spec, "randn:20", arithmetic="bfloat16-products", **given).verdict != "differ"


@pytest.mark.each_value_once
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kept", ["float32", "bfloat16"])
@pytest.mark.parametrize("layers", [1, 2])
def test_other_weights_that_are_as_near_are_no_narrower_dtype(seed: int, kept: str, layers: int) -> None:
    module, x = made(nn.LSTM, "float32", num_layers=layers)
    torch.manual_seed(seed)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1 + 2**-9 * torch.randn_like(parameter))
        y = other(x)[0].to(getattr(torch, kept))
    said = rnnspect.check(module, x, recorded=y, explain=0.1)
    assert said.reason is None or "would explain" not in said.reason or kept == "bfloat16"
    assert "check a copy" not in str(said.reason)  # numbers of bfloat16 show no more than that its arithmetic agrees


def stack_of_relu(seed: int) -> tuple[nn.RNN, torch.Tensor]:
    torch.manual_seed(seed)
    return nn.RNN(3, 16, 2, nonlinearity="relu"), torch.randn(30, 1, 3)


def agreeing(module: nn.RNN, x: torch.Tensor, y: torch.Tensor) -> str:
    """The reason of a run that differs, and agrees in the arithmetic of bfloat16."""
    said = rnnspect.check(module, x, recorded=y, explain=0.1)
    assert said.verdict == "differ"
    assert rnnspect.check(module, x, recorded=y, arithmetic="bfloat16", explain=0).agrees
    assert not any("rounded more than once" in note for note in said.notes)
    return str(said.reason)


@pytest.mark.parametrize("seed", range(3))
def test_autocast_of_a_stack_in_which_relu_keeps_units_at_zero_is_told(seed: int) -> None:
    module, x = stack_of_relu(seed)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)[0].float()
    assert agreeing(module, x, y).startswith("bfloat16 would explain this")


@pytest.mark.parametrize("seed", [2, 5])
def test_autocast_of_a_stack_whose_lower_layer_rounds_its_h_is_told(seed: int) -> None:
    """What that adds hides in some units that the layer above rounded its parameters, and not in all values together.
    Its values are numbers of bfloat16, which leaves so little of f that its arithmetic cannot agree."""
    torch.manual_seed(seed)
    x, module = torch.randn(16, 3, 5), nn.LSTM(5, 8, 2)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(x)[0]
    said = rnnspect.check(module, x, recorded=y, explain=0)
    assert said.verdict == "differ"
    assert str(said.reason).startswith("bfloat16 would explain this")


def test_an_engine_that_rounds_h_alone_to_bfloat16_is_told_what_agrees() -> None:
    """Its weights are exact, so that its errors are not those of rounding parameters."""
    module, x = stack_of_relu(0)
    p, received = {name: values.detach() for name, values in module.named_parameters()}, x
    for layer in range(2):
        h, given = torch.zeros(1, 16), []
        for x_t in received:
            of_x = nn.functional.linear(x_t, p[f"weight_ih_l{layer}"], p[f"bias_ih_l{layer}"])
            of_h = nn.functional.linear(h, p[f"weight_hh_l{layer}"], p[f"bias_hh_l{layer}"])
            h = (of_x.bfloat16() + of_h.bfloat16()).float().relu().bfloat16().float()
            given.append(h)
        received = torch.stack(given)
    assert agreeing(module, x, received).endswith("check with --arithmetic bfloat16")


def test_a_mistake_in_float32_that_was_kept_in_bfloat16_is_none() -> None:
    module, x = made(nn.LSTM, "float32")
    wrong = copy.deepcopy(module)
    with torch.no_grad():
        wrong.weight_hh_l0.mul_(torch.rand_like(wrong.weight_hh_l0) + 1)
    said = rnnspect.check(module, x, recorded=wrong(x)[0].bfloat16(), explain=0.1)
    assert said.verdict == "differ"
    assert said.reason is None


def test_one_wrong_number_is_not_of_the_dtype() -> None:
    module, x = made(nn.LSTM, "float32")
    y = copy.deepcopy(module).bfloat16()(x.bfloat16())[0].float()
    y[3, 0, 0] += 0.3
    said = rnnspect.check(module, x, recorded=y, explain=0.1)
    assert said.verdict == "differ"
    assert said.reason is None


def gradients(module: nn.RNNBase, x: torch.Tensor, half: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Of a pass, as they would be recorded."""
    x = x.clone().requires_grad_()
    module.zero_grad()
    with torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None):
        y = module(x)[0]
    torch.manual_seed(7)
    grad_output = torch.randn(y.shape).to(y.dtype)
    y.backward(grad_output)
    assert x.grad is not None
    found = {"output": grad_output, "x": x.grad} | {name: p.grad for name, p in module.named_parameters()}
    return {f"grad.{name}": g.detach().clone() for name, g in found.items() if g is not None}


def said_of(module: nn.RNNBase, x: torch.Tensor, recorded: dict[str, torch.Tensor]) -> rnnspect.Verdict:
    return rnnspect.check(module, x, recorded=recorded, backward=True, explain=0.1)


@pytest.mark.each_value_once
@pytest.mark.parametrize("seed", range(3))
def test_gradients_under_autocast_are_told(seed: int) -> None:
    torch.manual_seed(seed)
    module, x = nn.GRU(4, 32, 2), torch.randn(20, 3, 4)
    recorded = gradients(module, x, torch.bfloat16)
    said = said_of(module, x, recorded)
    assert said.verdict == "differ"
    assert str(said.reason).startswith(
        "bfloat16 would explain this; if the engine ran in bfloat16 or under autocast, check"
    )
    assert not any("known mistakes" in note for note in said.notes)
    held = rnnspect.check(module, x, recorded=recorded, backward=True, arithmetic="bfloat16-products")
    assert held.verdict == "cannot tell"
    assert str(held.reason).endswith("or a wider dtype than bfloat16")


def test_gradients_in_float32_of_a_float64_module_are_told() -> None:
    torch.manual_seed(0)
    module, x = nn.LSTM(4, 6, 2), torch.randn(9, 3, 4)
    said = said_of(copy.deepcopy(module).double(), x.double(), gradients(module, x))
    assert said.verdict == "differ"
    assert str(said.reason).startswith("float32 would explain this")


@pytest.mark.each_value_once
@pytest.mark.parametrize("seed", range(3))
def test_gradients_of_other_weights_that_are_as_near_are_of_no_narrower_dtype(seed: int) -> None:
    torch.manual_seed(seed)
    module, x = nn.GRU(4, 6), torch.randn(9, 3, 4)
    other = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1 + 2**-9 * torch.randn_like(parameter))
    said = said_of(module, x, gradients(other, x))
    assert said.verdict == "differ"
    assert said.reason is None


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_an_engine_that_shows_fewer_digits_than_it_goes_on_with_is_told(half: str) -> None:
    spec = rnnspect.Spec(cell="gru", input_size=4, hidden_size=6, input="randn:12", batch=3)

    def engine(
        x: torch.Tensor,
        h0: torch.Tensor,
        weight_ih_l0: torch.Tensor,
        weight_hh_l0: torch.Tensor,
        bias_ih_l0: torch.Tensor,
        bias_hh_l0: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        gru = nn.GRU(4, 6, batch_first=True)
        parameters = (weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0)
        gru.load_state_dict(dict(zip(dict(gru.named_parameters()), parameters, strict=True)))
        output, h_n = gru(x, h0)
        return output.detach().to(getattr(torch, half)).float(), h_n.detach().to(getattr(torch, half)).float()

    found = rnnspect.check(spec, engine=engine, explain=0.1)
    assert found.verdict == "differ"
    assert str(found.reason).startswith(f"the output is rounded to {half}")
    assert rnnspect.check(spec, engine=engine, arithmetic=f"{half}-wide").agrees


def test_a_float64_network_that_ran_in_float32_is_searched_for_no_mistake() -> None:
    torch.manual_seed(0)
    module, x = torch.nn.GRU(3, 4, 2, dtype=torch.float64), torch.randn(12, 2, 3, dtype=torch.float64)
    output = copy.deepcopy(module).float()(x.float())[0].detach()
    verdict = rnnspect.check(module, x, recorded={"output": output.double()})
    assert verdict.verdict == "differ"
    assert (verdict.reason or "").startswith("float32 would explain this")
    assert not any("tried" in note for note in verdict.notes)
