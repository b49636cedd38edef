"""Right gradients as they are written down: in few digits, in few decimals, and with one number wrong among such."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect.cells import Cell
from rnnspect.engines.own.loading import load_cell


def _written(values: Tensor, form: str) -> Any:
    return np.vectorize(lambda one: float(form % one), otypes=[float])(values.detach().double().numpy())


def _run(kind: type[nn.RNNBase], scale: float, seed: int = 0) -> tuple[nn.RNNBase, Tensor, Tensor]:
    torch.manual_seed(seed)
    module, x = kind(3, 4), torch.randn(6, 1, 3)
    output, _ = module(x)
    g = scale * torch.randn_like(output)
    output.backward(g)
    return module, x, g


@pytest.mark.parametrize(("scale", "form"), [(1e6, "%.3e"), (1e4, "%.3g"), (300.0, "%.3g")])
def test_few_digits_that_do_not_show_are_asked_for(scale: float, form: str) -> None:
    """Large numbers in few digits are whole: they look exact, or as if they had decimals."""
    module, x, g = _run(nn.RNN, scale)
    shown = {f"grad.{name}": _written(p.grad, form) for name, p in module.named_parameters() if p.grad is not None}
    given = shown | {"grad.output": g}
    found = rnnspect.check(module, x, recorded=given, backward=True)
    assert found.verdict == "cannot tell"
    assert "--recorded-as digits" in str(found.reason)
    assert rnnspect.check(module, x, recorded=given, recorded_as=form, backward=True).verdict != "differ"
    shown["grad.weight_hh_l0"][0, 0] *= 1.1
    assert rnnspect.check(module, x, recorded=shown | {"grad.output": g}, backward=True).verdict == "differ"


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("seed", range(3))
def test_what_went_in_may_stand_at_its_last_digit(kind: type[nn.RNNBase], seed: int) -> None:
    """Of numbers of 3e-5 four decimals leave zeros and a few ±0.0001, which stand for many."""
    module, x, g = _run(kind, 3e-5, seed)
    shown = {"grad.output": g} | {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    written = {name: np.round(values.double().numpy(), 4) for name, values in shown.items()}
    assert rnnspect.check(module, x, recorded=written, backward=True, explain=0).verdict != "differ"


@pytest.mark.parametrize("recorded_as", [None, "exact"])
def test_biases_that_are_all_clipped_to_a_limit_are_not_rounded(recorded_as: str | None) -> None:
    """Beside weights with all their digits."""
    torch.manual_seed(0)
    module, x = nn.RNN(3, 8, batch_first=True), torch.randn(2, 9, 3)
    for parameter in module.parameters():
        parameter.data *= 0.3
    output, _ = module(x)
    output.retain_grad()
    output.sum().backward()
    scale = 0.0102 / float(module.bias_ih_l0.grad.abs().min())
    module.zero_grad()
    output, _ = module(x)
    output.retain_grad()
    (output.sum() * scale).backward()
    assert float(module.bias_ih_l0.grad.abs().min()) > 0.0101
    nn.utils.clip_grad_value_(module.parameters(), 0.01)
    shown = {f"grad.{name}": p.grad for name, p in module.named_parameters()} | {"grad.output": output.grad}
    found = rnnspect.check(module, x, recorded=shown, backward=True, recorded_as=recorded_as)
    assert found.verdict == "differ"
    assert [cause.name for cause in found.causes] == ["grad-clipped-by-value"]


@pytest.mark.each_value_once
@pytest.mark.parametrize("decimals", [2, 3])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_one_wrong_number_of_few_digits_is_no_limit(kind: type[nn.RNNBase], decimals: int) -> None:
    module, x, g = _run(kind, 1.0)
    w = module.weight_hh_l0.grad.double().numpy().copy()
    w.flat[np.abs(w).argmax()] *= 0.9
    shown = {"grad.weight_hh_l0": np.round(w, decimals), "grad.output": g}
    found = rnnspect.check(module, x, recorded=shown, backward=True)
    assert "grad-clipped-by-value" not in {cause.name for cause in found.causes}


def _cumulated(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
    """minGRU: what each step adds is divided by the product of all decays up to it, and summed."""
    z, n = (x @ parameters["weight_ih_l0"].T + parameters["bias_ih_l0"]).chunk(2, -1)
    h, found = state[0], []
    for start in range(0, x.shape[1], 16):
        kept = (1 - z[:, start : start + 16].sigmoid()).cumprod(1)
        added = (z * 0 + z.sigmoid() * n)[:, start : start + 16]
        found.append(kept * (h[:, None] + (added / kept).cumsum(1)))
        h = found[-1][:, -1]
    return torch.cat(found, 1), h[None]


@pytest.mark.parametrize("seed", range(6))
def test_many_steps_at_once_are_not_called_wrong_as_a_whole(seed: int) -> None:
    cell = load_cell("examples/cells/mingru.py:mingru")
    assert isinstance(cell, Cell)
    torch.manual_seed(seed)
    spec = rnnspect.Spec(cell=cell, input_size=1, hidden_size=5, seed=seed)
    found = rnnspect.check(
        spec, torch.randn(3, 40, 1), torch.randn(1, 3, 5), engine=_cumulated, backward=True, loss="last", explain=0
    )
    assert found.verdict != "differ"


@pytest.mark.parametrize("at", [0, 20])
def test_a_gradient_that_is_no_number_differs_however_many_steps_are_computed_at_once(at: int) -> None:
    cell = load_cell("examples/cells/mingru.py:mingru")
    assert isinstance(cell, Cell)
    spec = rnnspect.Spec(cell=cell, input_size=1, hidden_size=5)

    def engine(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        output, h_n = _cumulated(x, state, parameters)
        if output.requires_grad:
            steps = torch.arange(output.shape[1])[:, None] == at
            output.register_hook(lambda g: g.masked_fill(steps, torch.nan))
        return output, h_n

    found = rnnspect.check(spec, torch.randn(3, 40, 1), engine=engine, backward=True, explain=0)
    assert found.verdict == "differ"


@pytest.mark.slow
def test_zeros_beside_all_digits_leave_a_mistake_what_it_is() -> None:
    """Detached before step 10, so that dL/dh0 is zero: what went in, of zeros and ones, was not rounded. As the
    loss takes the last step alone, to go back over the last 20 steps alone would give the same."""
    torch.manual_seed(3)
    module = torch.nn.GRU(3, 4, batch_first=True).double()
    x = torch.randn(1, 30, 3, dtype=torch.double, requires_grad=True)
    first, h = module(x[:, :10])
    y = torch.cat([first, module(x[:, 10:], h.detach())[0]], 1)
    went_in = torch.zeros_like(y)
    went_in[:, -1] = 1
    y.backward(went_in)
    recorded = {"grad.output": went_in, "grad.x": x.grad, "grad.h0": torch.zeros(1, 1, 4, dtype=torch.double)}
    recorded |= {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    found = rnnspect.check(module, x.detach(), recorded=recorded, backward=True)
    assert found.verdict == "differ"
    assert {cause.name for cause in found.causes} == {"grad-detached", "grad-truncated"}
    assert found.indistinguishable == (("grad-truncated", "grad-detached"),)


def _gru_back(grad_output: Any, x: Any, h0: Any, w: dict[str, Any], by: str) -> Any:
    """dL/dx of a GRU of one unit, with 1 − z as σ(−s) where z's own gradient needs it, where n's does, or nowhere."""

    def sigmoid(s: Any) -> Any:
        return 1 / (1 + np.exp(-s))

    h, steps = h0[0], []
    for row in x[0]:
        u, v = row @ w["weight_ih_l0"].T + w["bias_ih_l0"], h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        s_r, s_z = (u + v)[:, 0], (u + v)[:, 1]
        r, z = sigmoid(s_r), sigmoid(s_z)
        n = np.tanh(u[2] + r * v[:, 2])
        steps.append((h[:, 0], r, z, n, v[:, 2], sigmoid(-s_r), sigmoid(-s_z)))
        h = ((1 - z) * n + z * h[:, 0])[:, None]
    dx, after = np.zeros_like(x), np.zeros_like(h[:, 0])
    for t, (h_t, r, z, n, v_n, rest_r, rest_z) in reversed([*enumerate(steps)]):
        g = after + grad_output[0, t]
        of_n = g * (rest_z if by == "n" else 1 - z) * (1 - n * n)
        of_z = g * (h_t - n) * z * (rest_z if by == "z" else 1 - z)
        of_r = of_n * v_n * r * rest_r
        dx[0, t] = np.stack([of_r, of_z, of_n], -1) @ w["weight_ih_l0"]
        after = g * z + np.stack([of_r, of_z, of_n * r], -1) @ w["weight_hh_l0"][:, 0]
    return dx


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("by", ["z", "n", "nowhere"])
def test_what_1_less_z_is_may_be_rounded_twice(dtype: str, by: str) -> None:
    """z is near 1, and dL/dx the difference of two terms that each have 1 − z as a factor: where they have it from
    different roundings, that is what stays of both."""
    kind = np.dtype(dtype)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wz, bz, h, n = rng.uniform(2, 5), rng.uniform(3, 8), rng.uniform(-0.9, 0.9), rng.uniform(-0.6, 0.6)
        wn = -(h - n) * wz / (1 - n * n)  # at x = 1 what comes from z and from n cancels
        w = {"weight_ih_l0": [[0.1], [wz], [wn]], "weight_hh_l0": [[0.3], [0.2], [0.1]]}
        w |= {"bias_ih_l0": [-6, bz, np.arctanh(n) - wn], "bias_hh_l0": [0, 0, 0]}
        arrays = {name: np.array(values, np.float32).astype(kind) for name, values in w.items()}
        x, h0 = rng.uniform(0.9, 1.1, (1, 4, 1)).astype(np.float32), np.full((1, 1, 1), h, np.float32)
        module = nn.GRU(1, 1, batch_first=True, dtype=getattr(torch, dtype))
        module.load_state_dict({name: torch.from_numpy(values) for name, values in arrays.items()})
        g = np.ones((1, 4, 1), kind)
        shown = {"grad.output": g, "grad.x": _gru_back(g, x.astype(kind), h0.astype(kind), arrays, by)}
        given = [torch.from_numpy(of.astype(kind)) for of in (x, h0)]
        found = rnnspect.check(module, *given, recorded=shown, recorded_as="exact", backward=True, explain=0)
        assert found.verdict != "differ", (seed, found.first)


def _untransposed(grad_output: Tensor, x: Tensor, h0: Tensor, w: Tensor, v: Tensor, b: Tensor, c: Tensor) -> Any:
    """Of an RNN, one sequence; W_hh stands where its transpose is meant."""
    h = [h0[0]]
    for row in x:
        h.append(torch.tanh(row @ w.T + b + h[-1] @ v.T + c))
    dx, after = torch.zeros_like(x), torch.zeros_like(h[0])
    for t in reversed(range(len(x))):
        s = (grad_output[t] + after) * (1 - h[t + 1] ** 2)
        dx[t], after = s @ w, s @ v.T
    return dx


@pytest.mark.slow
def test_where_gradients_are_wrong_is_told_of_all_steps() -> None:
    """Of more steps than are looked at together: 4096."""

    def backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):  # type: ignore[no-untyped-def]
        return {"x": _untransposed(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0)}

    spec = rnnspect.Spec(cell="rnn", input_size=4, hidden_size=4, batch_first=False)
    torch.manual_seed(0)
    found = rnnspect.check(spec, torch.randn(6000, 4), engine=backward, backward=True, explain=0)
    assert found.verdict == "differ"
    assert "steps 0–5998, 23996 of 24000 gradients" in str(found.pattern)
