"""Gradients that are zero everywhere, where no gradient came: of the layers below one that was detached, of a parameter
that was frozen, or all that an engine gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import Spec


def _stack(kind: str, layers: int, below: int, with_finals: bool) -> tuple[nn.RNNBase, Tensor, dict[str, Tensor]]:
    """A stack whose output of layer `below` is detached, and what is recorded of it."""
    torch.manual_seed(0)
    module, x = getattr(nn, kind)(3, 4, layers, batch_first=True), torch.randn(2, 9, 3)
    parameters = dict(module.named_parameters())
    received, loss = x.requires_grad_(), torch.zeros(())
    g, finals = torch.randn(2, 9, 4), torch.randn(layers, 2, 4)
    for layer in range(layers):
        one = getattr(nn, kind)(3 if layer == 0 else 4, 4, batch_first=True)
        own = {name: parameters[name.replace("_l0", f"_l{layer}")] for name, _ in one.named_parameters()}
        received, ended = torch.func.functional_call(one, own, (received,))
        h_n = ended[0] if isinstance(ended, tuple) else ended
        loss = loss + (h_n[0] * finals[layer]).sum() * with_finals
        received = received.detach() if layer == below else received
    ((received * g).sum() + loss).backward()
    shown = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in (parameters | {"x": x}).items()}
    arrays = {f"grad.{name}": values for name, values in shown.items()} | {"grad.output": g}
    return module, x.detach(), arrays | ({"grad.h_n": finals} if with_finals else {})


@pytest.mark.slow
@pytest.mark.parametrize("with_finals", [False, True])
@pytest.mark.parametrize(("kind", "layers", "below"), [("LSTM", 2, 0), ("GRU", 3, 1), ("RNN", 3, 0)])
def test_a_detach_between_layers_is_named(kind: str, layers: int, below: int, with_finals: bool) -> None:
    module, x, shown = _stack(kind, layers, below, with_finals)
    found = rnnspect.check(module, x, recorded=shown, backward=True)
    assert found.verdict == "differ"
    assert [(one.name, one.parameters) for one in found.causes] == [("grad-layer-detached", {"layer": below})]
    assert f"comes from layer {below + 1} to layer {below}" in found.causes[0].explanation


def test_a_stack_without_one_agrees() -> None:
    module, x, shown = _stack("GRU", 2, below=2, with_finals=True)
    assert rnnspect.check(module, x, recorded=shown, backward=True).agrees


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "said"),
    [
        (lambda name: name == "grad.weight_ih_l0", "dL/dweight_ih_l0 is zero everywhere"),
        (lambda name: name.endswith("_l1"), "all parameters of layer 1 are zero everywhere"),
        (lambda name: name == "grad.x", "dL/dx is zero everywhere"),
        (lambda name: name == "grad.weight_hh_l0", "dL/dweight_hh_l0 is zero everywhere"),
        (lambda name: name == "grad.bias_ih_l1", "nothing is added up, or the other bias gets it for both"),
    ],
)
def test_what_is_zero_everywhere_is_said(which: Callable[[str], bool], said: str) -> None:
    """And not that h0 or grad.h_n may be missing, with which it would not be zero either."""
    module, x, shown = _stack("GRU", 2, below=2, with_finals=False)
    zeros = {name: 0 * g if which(name) else g for name, g in shown.items()}
    found = rnnspect.check(module, x, recorded=zeros, backward=True)
    assert found.verdict == "differ"
    assert not found.causes
    assert any(said in note for note in found.notes)
    assert not any("record grad.h_n" in note or "give h0" in note for note in found.notes)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_gradient_that_a_hook_takes_away_is_zero_and_no_sum_gone_wrong(kind: str) -> None:
    """What step 0 adds to dL/dW_hh is zero, too, for h0 is: zeros are no evidence of = in place of +=."""
    module, x, _ = _stack(kind, 1, below=1, with_finals=False)
    module.weight_hh_l0.register_hook(torch.zeros_like)
    found = rnnspect.check(module, x, backward=True)
    assert (found.verdict, found.causes) == ("differ", ())
    assert any("dL/dweight_hh_l0 is zero everywhere" in note for note in found.notes)


@pytest.mark.slow
def test_one_wrong_entry_is_no_sign_of_a_final_state_or_of_another_initial_one() -> None:
    """Either changes whole rows of dL/dW_hh."""
    module, x, shown = _stack("GRU", 1, below=1, with_finals=True)
    whole = {name: g for name, g in shown.items() if name != "grad.h_n"}
    found = rnnspect.check(module, x, recorded=whole, backward=True)
    assert any("record grad.h_n" in note for note in found.notes)
    module, x, shown = _stack("GRU", 1, below=1, with_finals=False)
    shown["grad.weight_hh_l0"] = shown["grad.weight_hh_l0"].clone()
    shown["grad.weight_hh_l0"][3, 2] += 0.1
    found = rnnspect.check(module, x, recorded=shown, backward=True)
    assert (found.verdict, found.causes) == ("differ", ())
    assert not any("record grad.h_n" in note or "give h0" in note for note in found.notes)


def test_zeros_that_rounding_left_are_no_lost_gradient() -> None:
    """Of a gradient of 1e-6 four decimals leave none."""
    module, x, shown = _stack("GRU", 1, below=1, with_finals=False)
    small = {name: torch.round(1e-6 * g, decimals=4) if name == "grad.x" else g for name, g in shown.items()}
    module.weight_ih_l0.data *= 1e-7
    found = rnnspect.check(module, x, recorded=small, recorded_as="decimals:4", backward=True, explain=0)
    assert found.verdict == "differ"
    assert not any("dL/dx" in note and "zero" in note for note in found.notes)


def test_zeros_alone_are_told_for_what_they_are() -> None:
    """They may be numbers that a rounding took away, of which no other number of the recording is a sign."""
    module, x, shown = _stack("GRU", 1, below=1, with_finals=False)
    zeros = {"grad.output": torch.ones_like(shown["grad.output"]), "grad.x": torch.zeros_like(x)}
    found = rnnspect.check(module, x, recorded=zeros, backward=True)
    assert found.verdict == "cannot tell"
    assert "every recorded gradient is zero" in found.notes[-1]


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_an_engine_that_gives_nothing_but_zeros_is_told_so(cell: str) -> None:
    def backward(grad_output: Tensor, x: Tensor, h0: Tensor, parameters: Any) -> dict[str, Tensor]:
        return {"x": 0 * x, "h0": 0 * h0} | {name: 0 * p for name, p in parameters.items()}

    spec = Spec(cell=cell, hidden_size=4, input="randn:9")
    found = rnnspect.check(spec, engine=backward, backward=True)
    assert found.verdict == "differ"
    assert any("every gradient that backward gives is zero" in note for note in found.notes)


@pytest.mark.parametrize(("lost", "said"), [(torch.nan, "1 of 24 numbers of dL/dx are NaN"), (torch.inf, "24 of 24")])
def test_gradients_that_are_no_numbers_are_counted(lost: float, said: str) -> None:
    """No known mistake is looked for, and no final state is asked for: neither makes NaN."""
    torch.manual_seed(0)
    module, x = torch.nn.GRU(3, 4), torch.randn(4, 2, 3, requires_grad=True)
    output, _ = module(x)
    output.sum().backward()
    assert x.grad is not None
    grad_x = x.grad.clone()
    grad_x[(slice(None),) if lost == torch.inf else (2, 1, 0)] = lost
    recorded = {"output": output.detach(), "grad.output": torch.ones_like(output), "grad.x": grad_x}
    found = rnnspect.check(module, x.detach(), recorded=recorded, backward=True)
    assert (found.verdict, len(found.notes), found.causes) == ("differ", 1, ())
    assert found.notes[0].startswith(said)
