"""Runs that people who did not know the code had a wrong answer for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnspect

Sum = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
ORDERS: dict[str, Sum] = {
    "(b + b') apart": lambda x, h, w, u, b, c: x @ w.T + h @ u.T + (b + c),
    "one product": lambda x, h, w, u, b, c: torch.cat([x, h], -1) @ torch.cat([w, u], -1).T + (b + c),
    "one after another": lambda x, h, w, u, b, c: h @ u.T + c + x @ w.T + b,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_biases_of_a_half_type_may_be_added_in_any_order(dtype: torch.dtype, order: str) -> None:
    for seed in range(6):
        torch.manual_seed(seed)
        module, x = nn.RNN(4, 16).to(dtype), torch.randn(25, 6, 4).to(dtype)
        h, given = torch.zeros(6, 16, dtype=dtype), []
        for step in x:
            h = torch.tanh(ORDERS[order](step, h, *(p.detach() for p in module.parameters())))
            given.append(h)
        assert rnnspect.check(module, x, recorded=torch.stack(given), explain=0).agrees


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_engine_that_keeps_more_digits_than_it_shows_is_said(dtype: torch.dtype) -> None:
    """h goes on in float32, and is rounded only where it is returned."""
    torch.manual_seed(0)
    module, x = nn.RNN(3, 64).to(dtype), torch.randn(40, 1, 3).to(dtype)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(2)
    output = module.float()(x.float())[0].detach().to(dtype)
    module.to(dtype)
    name = f"{str(dtype).removeprefix('torch.')}-wide"
    found = rnnspect.check(module, x, recorded=output)
    assert found.verdict == "differ"
    assert found.reason is not None
    assert name in found.reason
    assert rnnspect.check(module, x, recorded=output, arithmetic=name).agrees
    output[20, 0, 5] += 0.1
    assert rnnspect.check(module, x, recorded=output, arithmetic=name, explain=0).verdict == "differ"


def test_gradients_of_such_an_engine_are_said_too() -> None:
    spec = rnnspect.Spec(cell="rnn", input_size=3, hidden_size=4, batch_first=False, dtype="float16")
    torch.manual_seed(1)

    def backward(grad_output: Tensor, x: Tensor, h0: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.enable_grad():
            module = nn.RNN(x.shape[2], 4).double()
            module.load_state_dict(parameters)
            leaves = x.double().requires_grad_(), h0.double().requires_grad_()
            own = dict(module.named_parameters())
            found = torch.autograd.grad(module(*leaves)[0], (*leaves, *own.values()), grad_output.double())
        return {name: g.half() for name, g in zip(("x", "h0", *own), found, strict=True)}

    x = torch.randn(5, 2, 3)
    found = rnnspect.check(spec, x, engine=backward, backward=True, explain=0)
    assert found.verdict == "differ"
    assert found.reason is not None
    assert "float16-wide" in found.reason
    assert rnnspect.check(spec, x, engine=backward, backward=True, arithmetic="float16-wide").verdict != "differ"


@pytest.mark.parametrize("given", [65504.0, 30000.0])
def test_a_finite_number_where_the_equations_overflow_is_not_called_right(given: float) -> None:
    torch.manual_seed(0)
    module, x = nn.RNN(3, 4, nonlinearity="relu").half(), torch.rand(12, 1, 3).half()
    with torch.no_grad():
        module.weight_hh_l0.abs_().mul_(8)
        module.weight_ih_l0.abs_()
        output, _ = module(x)
    assert bool(output.isinf().any())
    changed = torch.where(output.isinf(), given, output)
    assert rnnspect.check(module, x, recorded=changed, explain=0).verdict != "agree"


@pytest.mark.parametrize("size", [0.0, 1e-10, 1e-8])
def test_a_run_in_which_zeros_would_agree_cannot_be_told(size: float) -> None:
    torch.manual_seed(0)
    module, x = nn.RNN(3, 4, bias=False), size * torch.randn(12, 1, 3)
    right = module(x)[0].detach()
    for given in (right, 0 * right, -right):
        assert rnnspect.check(module, x, recorded=given, explain=0).verdict == "cannot tell"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=["e4m3fn", "e5m2"])
def test_numbers_of_eight_bits_are_no_wrong_ones(dtype: torch.dtype) -> None:
    """As they are, or kept in float32 since. Few numbers do not show it: then the reason names the option."""
    name = str(dtype).removeprefix("torch.")
    for seed, steps in ((0, 20), (1, 20), (2, 1)):
        torch.manual_seed(seed)
        module, x = nn.GRU(3, 8), torch.randn(steps, 2, 3)
        right, wrong = (h.detach().to(dtype) for h in (module(x)[0], module(x.flip(-1))[0]))
        for given in (right, right.float()):
            found = rnnspect.check(module, x, recorded=given, explain=0)
            assert found.verdict == "cannot tell"
            assert name in " ".join((str(found.reason), *found.notes))
            assert rnnspect.check(module, x, recorded=given, recorded_as=name, explain=0).verdict == "cannot tell"
        if steps > 1:
            assert rnnspect.check(module, x, recorded=wrong, explain=0).verdict == "differ"


def test_other_numbers_of_eight_bits_and_true_and_false_are_refused() -> None:
    module, x = nn.GRU(3, 4), torch.randn(5, 1, 3)
    with pytest.raises(rnnspect.RnnspectError, match="float8_e4m3fnuz; expected float8_e4m3fn"):
        rnnspect.check(module, x, recorded=module(x)[0].detach().to(torch.float8_e4m3fnuz))
    with pytest.raises(rnnspect.RnnspectError, match="true and false alone"):
        rnnspect.check(module, x, recorded=module(x)[0] > 0)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 5])
def test_layers_in_the_order_of_axes_that_the_output_has(steps: int) -> None:
    """Of as many steps as items the shape does not say which is which."""
    torch.manual_seed(0)
    module, x = nn.GRU(4, 5, num_layers=2), torch.randn(steps, 3, 4)
    output, h_n = (v.detach() for v in module(x))
    shown = {"output": output, "h_n": h_n, "l1.forward.h": output}
    assert rnnspect.check(module, x, recorded=shown).agrees
    assert rnnspect.check(module, x, recorded=shown | {"l1.forward.h": output.transpose(0, 1)}).agrees
    assert rnnspect.check(module, x, recorded=shown | {"l1.forward.h": output.flip(2)}).verdict == "differ"


def test_a_relu_that_is_limited_is_no_fault_of_the_search() -> None:
    """Its dead units answer to no weight at all."""
    torch.manual_seed(5)
    module, x = nn.RNN(1, 2, nonlinearity="relu"), torch.randn(8, 1, 1)
    h, given = torch.zeros(1, 1, 2), []
    for step in x:
        h = module(step[None], h)[1].detach().clamp(-0.1, 0.1)
        given.append(h[0])
    assert rnnspect.check(module, x, recorded=torch.stack(given), explain=0.5).verdict == "differ"


@pytest.mark.slow
def test_a_chunk_behind_the_first_steps_is_no_fault_of_the_search() -> None:
    torch.manual_seed(74)
    module, other = nn.RNN(2, 2, 2), nn.RNN(2, 2, 2)
    other.load_state_dict(module.state_dict())
    x = torch.randn(12, 1, 2)
    with torch.no_grad():
        next(iter([*other.parameters()][74 % 8 :])).view(-1)[0] += 0.04
    shown = np.round(other(x)[0].detach().double().numpy(), 2)
    assert rnnspect.check(module, x, recorded=shown, explain=3).verdict in ("differ", "cannot tell")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_other_weights_of_a_small_network_are_found(kind: type[nn.RNNBase]) -> None:
    """Where ours lead nowhere, from numbers that are drawn."""
    torch.manual_seed(0)
    module, other, x = kind(2, 2), kind(2, 2), torch.randn(60, 2, 2)
    found = rnnspect.check(module, x, recorded=other(x)[0].detach(), explain=0.1)
    assert found.recovered is not None
    (layer,) = found.recovered.layers
    assert layer.explains
    assert not layer.lost
    assert layer.shrinks > 1000


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_arrays_of_jax_and_onnx_are_those_of_torch(name: str) -> None:
    """In types that numpy has from the package ml_dtypes."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    torch.manual_seed(0)
    module, x = nn.GRU(3, 8), torch.randn(20, 2, 3)
    output = module(x)[0].detach().to(getattr(torch, name))
    array = output.float().numpy().astype(getattr(ml_dtypes, name))
    assert array.itemsize == output.itemsize
    for given in (array, array[:, ::-1][:, ::-1]):
        found, right = (rnnspect.check(module, x, recorded=one, explain=0) for one in (given, output))
        assert found == right
        assert found.notes == (f"output appears rounded to {name}",)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("clip", [0.3, 0.9])
def test_a_limit_rounds_to_the_type_that_ran(dtype: torch.dtype, clip: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x, output = nn.RNN(3, 8, batch_first=True, dtype=dtype), torch.randn(1, 40, 3, dtype=dtype), []
    p = {name: (3 * parameter).detach() for name, parameter in module.named_parameters()}
    h = torch.zeros(1, 8, dtype=dtype)
    for t in range(40):
        s = x[:, t] @ p["weight_ih_l0"].T + p["bias_ih_l0"] + (h @ p["weight_hh_l0"].T + p["bias_hh_l0"])
        h = torch.tanh(s.clamp(-clip, clip))
        output.append(h)
    torch.save(p, tmp_path / "p.pt")
    keys = {"clip": clip, "dtype": str(dtype).removeprefix("torch."), "weights": str(tmp_path / "p.pt")}
    spec = rnnspect.Spec(input_size=3, hidden_size=8, **keys)
    assert rnnspect.check(spec, x, recorded=torch.stack(output, 1), explain=0).agrees


def test_a_few_multiples_of_a_step_are_no_numbers_of_eight_bits() -> None:
    """Of 15/128 at most each is one of float8, too, which is coarser for the large and finer for the small ones."""
    for seed in range(3):
        torch.manual_seed(seed)
        module, x = nn.GRU(3, 8), torch.randn(20, 2, 3)
        for parameter in module.parameters():
            parameter.data *= 0.13
        recorded = (module(x)[0].detach() * 128).round() / 128
        found = rnnspect.check(module, x, recorded=recorded, explain=0)
        assert found.verdict == "cannot tell"
        assert "--recorded-as bits:7" in str(found.reason)


def _added_up(start: np.ndarray, *products: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """start + Σ w x of each product, in float32, one term after the other."""
    terms = np.concatenate([start[:, None], *(w * v for w, v in products)], 1, dtype=np.float32)
    return np.add.accumulate(terms, 1)[:, -1]


def _averaging(seed: int, features: int, units: int, x: np.ndarray, u: float = 0.0) -> tuple[nn.RNN, np.ndarray]:
    """An RNN of relu whose weight_ih is 1/512 everywhere, and what a loop of float32 sums that begin with the biases
    gives for x (T, I)."""
    draw, module = np.random.default_rng(seed), nn.RNN(features, units, nonlinearity="relu")
    w, v = np.full((units, features), 1 / 512, np.float32), draw.uniform(-u, u, (units, units)).astype(np.float32)
    b, c = draw.uniform(0, 0.3, (2, units)).astype(np.float32)
    with torch.no_grad():
        for p, own in zip(module.parameters(), (w, v, b, c), strict=True):
            p.copy_(torch.from_numpy(own))
    h, steps = np.zeros(units, np.float32), []
    for row in x:
        h = np.maximum(_added_up(b + c, (w, row), (v, h)), 0)
        steps.append(h)
    return module, np.stack(steps)


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_sums_of_equal_terms_that_begin_with_a_bias(seed: int) -> None:
    """All their roundings go one way as long as the sum stays within one power of two; where that ends depends on what
    it begins with. Up to 2.7 × the limit before biases were tried first."""
    x = np.full((6, 512), 0.3, np.float32)
    module, h = _averaging(seed, 512, 4, x)
    verdict = rnnspect.check(module, torch.from_numpy(x), recorded=torch.from_numpy(h))
    assert verdict.agrees, verdict.first


@pytest.mark.parametrize("seed", [6, 39])
def test_sums_of_equal_terms_are_no_evidence_of_another_weight(seed: int) -> None:
    """x that hardly varies: what such a sum is rounded to is a function of x, as another weight is."""
    x = (0.7 + 0.001 * np.random.default_rng(seed).integers(0, 3, (300, 300))).astype(np.float32)
    module, h = _averaging(seed, 300, 4, x, 0.2)
    verdict = rnnspect.check(module, torch.from_numpy(x), recorded=torch.from_numpy(h), explain=0)
    assert verdict.agrees, verdict.reason
    assert not verdict.suspects
