"""Gradients of a stack with dropout between its layers, whose masks are read from what the layers received."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import Spec
from rnnspect.errors import SequenceError

T, B, SIZES = 7, 3, (4, 5)


def recorded(module: nn.RNNBase, x: Tensor, masks: list[Tensor]) -> dict[str, Tensor]:
    """A pass of torch.nn, layer by layer, with these masks before the layers above the lowest; by autograd."""
    x = x.clone().requires_grad_()
    arrays, given = {}, x
    for layer in range(module.num_layers):
        if layer:
            given = given * masks[layer - 1]
            arrays[f"x_l{layer}"] = given.detach()
        keys = {"bidirectional": module.bidirectional} | ({"nonlinearity": "relu"} if module.mode == "RNN_RELU" else {})
        one = type(module)(given.shape[2], module.hidden_size, **keys).to(x.dtype)
        for name, _ in list(one.named_parameters()):
            setattr(one, name, getattr(module, name.replace("_l0", f"_l{layer}")))
        given, _ = one(given)
    g = torch.randn_like(given)
    (given * g).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    named = {f"grad.{name}": p.grad for name, p in module.named_parameters() if p.grad is not None}
    return arrays | named | {"grad.output": g, "grad.x": x.grad, "output": given.detach()}


def case(kind: str = "LSTM", layers: int = 2, p: float = 0.5, **keys: bool) -> tuple[nn.RNNBase, Tensor, list[Tensor]]:
    torch.manual_seed(2)
    module: nn.RNNBase = getattr(nn, kind)(*SIZES, layers, dropout=p, **keys)
    width = SIZES[1] * (2 if module.bidirectional else 1)
    masks = [(torch.rand(T, B, width) >= p) / (1 - p) for _ in range(layers - 1)]
    return module, torch.randn(T, B, SIZES[0]), masks


@pytest.mark.parametrize(("kind", "layers", "p"), [("LSTM", 2, 0.5), ("GRU", 3, 0.2), ("RNN", 2, 0.35)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_with_dropout_agree(kind: str, layers: int, p: float, dtype: torch.dtype) -> None:
    module, x, masks = case(kind, layers, p, bidirectional=kind == "LSTM")
    module, x, masks = module.to(dtype), x.to(dtype), [(mask != 0).to(dtype) / (1 - p) for mask in masks]
    found = rnnspect.check(module, x, recorded=recorded(module, x, masks), backward=True)
    assert found.agrees, (found.first, found.notes)
    assert f"dropout acted on the input of layer 1, with p = {p:.4g}" in found.notes[0]


def test_dropout_that_does_not_divide_by_what_is_kept_is_told_so() -> None:
    module, x, masks = case()
    found = rnnspect.check(module, x, recorded=recorded(module, x, [(masks[0] != 0).float()]), backward=True)
    assert found.agrees
    assert "dropout acted on the input of layer 1: " in found.notes[0]
    assert "% of it is zero, and the rest is not divided by 1 − p; the mask" in found.notes[0]


def test_layers_that_received_all_of_it_had_no_dropout() -> None:
    module, x, masks = case()
    found = rnnspect.check(module, x, recorded=recorded(module, x, [torch.ones_like(masks[0])]), backward=True)
    assert found.agrees
    assert not any("dropout" in note for note in found.notes)


def test_without_what_the_layers_received_dropout_makes_the_output_differ() -> None:
    module, x, masks = case()
    arrays = recorded(module, x, masks)
    del arrays["x_l1"]
    assert rnnspect.check(module, x, recorded=arrays, backward=True).verdict == "differ"


@pytest.mark.usefixtures("no_causes")
def test_an_output_of_another_run_differs_with_dropout_too() -> None:
    module, x, masks = case()
    arrays = recorded(module, x, masks)
    arrays["output"] = arrays["output"] + 1e-3
    found = rnnspect.check(module, x, recorded=arrays, backward=True)
    assert found.verdict == "differ"
    assert "the gradients were not checked: the values differ already" in found.notes


def test_rounded_inputs_show_their_masks() -> None:
    module, x, masks = case()
    arrays = recorded(module, x, masks)
    arrays["x_l1"] = torch.from_numpy(np.round(arrays["x_l1"].numpy(), 4))
    assert rnnspect.check(module, x, recorded=arrays, backward=True).agrees


@pytest.mark.parametrize("wrong", [0.25, float("nan"), float("inf")])
def test_what_no_dropout_makes_is_refused(wrong: float) -> None:
    module, x, masks = case()
    arrays = recorded(module, x, masks)
    arrays["x_l1"][2, 1, 3] += wrong
    with pytest.raises(SequenceError, match=r"x_l1 is .* at step 2, batch item 1, unit 3, where layer 0 gives"):
        rnnspect.check(module, x, recorded=arrays, backward=True)


def test_the_input_of_each_layer_is_needed() -> None:
    module, x, masks = case(layers=3)
    arrays = recorded(module, x, masks)
    del arrays["x_l1"]
    with pytest.raises(SequenceError, match="x_l2 without x_l1"):
        rnnspect.check(module, x, recorded=arrays, backward=True)


CODE = """
import torch
from torch import nn

@torch.enable_grad()
def backward(grad_output, x, h0, spec, parameters):
    x = x.clone().requires_grad_()
    own = {name: p.clone().requires_grad_() for name, p in parameters.items()}
    torch.manual_seed(0)
    given, received = x, {}
    for layer in range(spec.num_layers):
        if layer:
            received[f"x_l{layer}"] = mask = (torch.rand(given.shape) >= 0.5) * 2.0
            received[f"x_l{layer}"] = (given * mask).detach()
            given = given * mask MISTAKE
        rnn = nn.RNN(given.shape[2], spec.hidden_size)
        kept = [(name, f"{name[:-3]}_l{layer}") for name, _ in rnn.named_parameters()]
        flat = {name: own[other] for name, other in kept}
        given, _ = torch.func.functional_call(rnn, flat, (given, h0[layer:layer + 1]))
    found = torch.autograd.grad(given, [x, *own.values()], grad_output)
    return dict(zip(["x", *own], found)) | received
"""


def test_code_that_goes_back_by_hand_shows_what_its_layers_received(tmp_path: Path) -> None:
    """The mistake: the mask is in the values, and not in the gradient."""
    spec = Spec(cell="rnn", input_size=4, hidden_size=5, num_layers=2, batch_first=False, input="randn:6", batch=3)
    for mistake, answer in (("", "agree"), ("+ given - given.detach() - (given - given.detach()) * mask", "differ")):
        path = tmp_path / f"mine_{answer}.py"
        path.write_text(CODE.replace("MISTAKE", mistake))
        found = rnnspect.check(spec, engine=f"{path}:backward", backward=True)
        assert found.verdict == answer, (found.first, found.notes)
        assert any("the mask was read from x_l1" in note for note in found.notes)
        assert [cause.name for cause in found.causes] == ["grad-dropout-mask-missing"] * (answer == "differ")


def test_all_that_a_layer_receives_may_be_dropped() -> None:
    torch.manual_seed(0)
    module, x = nn.RNN(3, 2, 2).double(), torch.randn(2, 1, 3, dtype=torch.double)
    arrays = recorded(module, x, [torch.zeros(2, 1, 2, dtype=torch.double)])
    found = rnnspect.check(module, x, recorded=arrays, backward=True)
    assert found.verdict != "differ"
    assert any("dropout acted on the input of layer 1: 100 % of it is zero" in note for note in found.notes)


def test_p_is_read_of_what_was_not_dropped_however_small() -> None:
    torch.manual_seed(11)
    module, x = nn.GRU(4, 1, 2), torch.randn(2, 1, 4)
    below = nn.GRU(4, 1)
    below.load_state_dict({name: v for name, v in module.state_dict().items() if name.endswith("_l0")})
    with torch.no_grad():
        own = below(x)[0].abs().flatten()
    assert float(own.min()) < 0.1 * float(own.max())
    smaller = torch.zeros(2, 1, 1)
    smaller[int(own.argmin())] = 1 / 0.7
    found = rnnspect.check(module, x, recorded=recorded(module, x, [smaller]), backward=True)
    assert found.agrees
    assert any("p = 0.3" in note for note in found.notes)


def test_what_was_zero_went_in_as_zero_whatever_made_it_so() -> None:
    """One direction grows to 1e6, whose bound hides that h of the other one was dropped."""
    for seed in range(3):
        torch.manual_seed(seed)
        module = nn.RNN(3, 1, 2, nonlinearity="relu", bidirectional=True, dropout=0.5)
        x = torch.randn(30, 2, 3)
        with torch.no_grad():
            module.weight_hh_l0.fill_(1.6)
            module.weight_ih_l0.abs_()
            module.bias_ih_l0.fill_(1)
            module.weight_hh_l0_reverse.fill_(0.3)
            module.weight_ih_l0_reverse.mul_(3)
            for name in ("weight_ih_l1", "weight_ih_l1_reverse"):
                getattr(module, name)[:, 0] *= 1e-6
        arrays = recorded(module, x, [2.0 * (torch.rand(30, 2, 2) >= 0.5)])
        above = {name: array for name, array in arrays.items() if "_l1" in name or name == "grad.output"}
        found = rnnspect.check(module, x, recorded=above, backward=True, explain=0)
        assert found.verdict != "differ", (seed, found.first)
