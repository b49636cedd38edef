"""Live modules whose values are right and whose gradients are not: of a class of their own, or with hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import Spec


def _begun(given: nn.RNNBase, h0: Callable[[Tensor], Tensor] = lambda v: v, c0: Any = lambda v: v) -> Any:
    """The module, which changes the states that it begins with."""

    class Begun(type(given)):  # type: ignore[misc]
        def forward(self, x: Tensor, state: Any = None) -> Any:
            if isinstance(state, tuple):
                state = (h0(state[0]), c0(state[1]))
            return super().forward(x, state if state is None or isinstance(state, tuple) else h0(state))

    return Begun(3, 4)


def _returned(change: Callable[[Tensor], Tensor]) -> Any:
    class Returned(nn.GRU):
        def forward(self, x: Tensor, state: Any = None) -> Any:
            output, final = super().forward(x, state)
            return change(output), final

    return Returned(3, 4)


class XDetached(nn.GRU):
    def forward(self, x: Tensor, state: Any = None) -> Any:
        return super().forward(x.detach(), state)


WRONG: dict[str, Callable[[], Any]] = {
    "dL/dx": lambda: XDetached(3, 4),
    "dL/dh0": lambda: _begun(nn.GRU(3, 4), h0=Tensor.detach),
    "dL/dh0 twice": lambda: _begun(nn.GRU(3, 4), h0=lambda v: 2 * v - v.detach()),
    "dL/dc0": lambda: _begun(nn.LSTM(3, 4), c0=Tensor.detach),
    "dL/dc0 negated": lambda: _begun(nn.LSTM(3, 4), c0=lambda v: 2 * v.detach() - v),
    "everything": lambda: _returned(Tensor.detach),
    "half of everything": lambda: _returned(lambda v: 0.5 * v + 0.5 * v.detach()),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_gradient_that_is_lost_or_changed_inside_differs(what: str) -> None:
    """Autograd gives none for what a module detached: that is a gradient of zero, not one that nobody recorded."""
    torch.manual_seed(0)
    module = WRONG[what]()
    states = [torch.randn(1, 2, 4) for _ in range(1 + isinstance(module, nn.LSTM))]
    verdict = rnnspect.check(module, torch.randn(6, 2, 3), *states, backward=True, explain=0)
    assert verdict.verdict == "differ"
    assert verdict.first is not None
    lost = what.split()[0].removeprefix("dL/d")
    assert lost in ("everything", "half", verdict.first.quantity.removeprefix("grad.").removeprefix("d"))


def _hooked() -> nn.Module:
    module = nn.LSTM(3, 4)
    module.weight_hh_l0.register_hook(lambda g: 1.5 * g)
    return module


class Model(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        given: Tensor = self.head(self.rnn(x)[0])
        return given


@pytest.mark.parametrize("make", [_hooked, lambda: _returned(lambda v: 0.5 * v + 0.5 * v.detach())])
def test_inside_of_a_model_a_module_goes_back_itself(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    module, x = make(), torch.randn(6, 2, 3)
    assert rnnspect.check(module, x, backward=True, explain=0).verdict == "differ"
    assert rnnspect.check(Model(module), x, backward=True, explain=0).verdict == "differ"
    assert rnnspect.check(Model(nn.LSTM(3, 4)), x, backward=True, explain=0).agrees


class HalfCell(nn.GRUCell):
    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        after = super().forward(x, h)
        return 0.5 * after + 0.5 * after.detach()


class Loop(nn.Module):
    def __init__(self, cell: nn.GRUCell) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        h, found = torch.zeros(x.shape[1], 4), []
        for step in x:
            h = self.cell(step, h)
            found.append(h)
        return torch.stack(found)


def test_inside_of_a_model_a_cell_goes_back_itself() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 2, 3)
    assert rnnspect.check(Loop(HalfCell(3, 4)), x, backward=True, explain=0).verdict == "differ"
    assert rnnspect.check(Loop(nn.GRUCell(3, 4)), x, backward=True, explain=0).agrees


def _layers_tied() -> nn.Module:
    module = nn.LSTM(4, 4, num_layers=2)
    module.weight_hh_l1 = module.weight_hh_l0
    return module


def _biases_tied() -> nn.Module:
    module = nn.GRU(4, 4)
    module.bias_hh_l0 = module.bias_ih_l0
    return module


@pytest.mark.parametrize("make", [_layers_tied, _biases_tied])
def test_a_tied_parameter_has_the_sum_of_its_gradients(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    verdict = rnnspect.check(make(), torch.randn(6, 2, 4), backward=True)
    assert verdict.agrees
    assert any("are one tensor" in note for note in verdict.notes)


def test_parametrized_weights_are_not_tied() -> None:
    """Each is made anew whenever it is asked for, perhaps where the last one was."""
    torch.manual_seed(0)
    module = nn.GRU(4, 4)
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        nn.utils.parametrize.register_parametrization(module, name, nn.Identity(), unsafe=True)
    verdict = rnnspect.check(module, torch.randn(6, 2, 4), backward=True)
    assert verdict.agrees
    assert not any("one tensor" in note for note in verdict.notes)


class Auto(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            given: Tensor = self.rnn(x)[0]
        return given


def test_a_call_inside_of_autocast_goes_back_in_its_half_type() -> None:
    """Its x and weights are halves, beside states that the kernel keeps in float32."""
    torch.manual_seed(0)
    model, x = Auto(), torch.randn(6, 2, 3)
    verdict = rnnspect.check(model, x, backward=True)
    assert verdict.agrees, verdict.reason
    assert verdict.engine.dtype == "bfloat16"
    assert rnnspect.trace(model, x).spec.dtype == "bfloat16"


def test_weights_that_each_call_makes_are_those_that_were_loaded() -> None:
    """torch.nn.utils.weight_norm: between load_state_dict and the next call the attribute is the old weight."""

    def normed() -> nn.LSTM:
        with pytest.warns(FutureWarning):
            made: nn.LSTM = nn.utils.weight_norm(nn.LSTM(4, 5), "weight_hh_l0")
        return made

    trained, module = normed(), normed()
    module.load_state_dict(trained.state_dict())
    assert rnnspect.check(module, torch.randn(8, 2, 4)).agrees


@pytest.mark.parametrize("steps", [3, 513])
def test_the_states_of_a_stack_by_hand_are_judged_as_a_whole(steps: int) -> None:
    """Exchanged between the layers, which one layer alone does not show; every other gradient is right."""

    def backward(grad_output: Tensor, x: Tensor, h0: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
        with torch.enable_grad():
            module = nn.RNN(x.shape[2], 4, len(h0), batch_first=True)
            module.load_state_dict(parameters)
            leaves = x.clone().requires_grad_(), h0.clone().requires_grad_()
            output, _ = module(*leaves)
            by_x, by_h0 = torch.autograd.grad(output, leaves, grad_output, retain_graph=True)
            names, own = zip(*module.named_parameters(), strict=True)
            by = torch.autograd.grad(output, own, grad_output)
        return dict(zip(names, by, strict=True)) | {"x": by_x, "h0": by_h0.flip(0)}

    spec = Spec(cell="rnn", input_size=5, hidden_size=4, num_layers=2, batch_first=True)
    x, h0 = torch.randn(2, steps, 5), torch.randn(2, 2, 4)
    assert rnnspect.check(spec, x, h0, engine=backward, backward=True, explain=0).verdict == "differ"


class DetachedCell(nn.GRUCell):
    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        return super().forward(x.detach(), h)


def test_what_a_cell_detached_has_a_gradient_of_zero() -> None:
    torch.manual_seed(0)
    verdict = rnnspect.check(DetachedCell(3, 4), torch.randn(2, 3), torch.randn(2, 4), backward=True, explain=0)
    assert verdict.verdict == "differ"
    assert any("does not depend on x" in note for note in verdict.notes)


class Detaching(nn.Module):
    """A cell in a loop that detaches its state."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        h, found = x.new_zeros(x.shape[1], 4), []
        for one in x:
            h = self.cell(one, h.detach())
            found.append(h)
        return torch.stack(found)


def test_what_a_model_does_between_calls_is_said_not_to_be_differentiated() -> None:
    torch.manual_seed(0)
    found = rnnspect.check(Detaching(), torch.randn(5, 2, 3), backward=True, loss="sum")
    assert found.agrees
    assert "what the model does between its calls, such as detaching a state, is not differentiated" in found.notes


def test_recorded_gradients_of_a_network_with_dropout_may_need_what_it_dropped() -> None:
    torch.manual_seed(0)
    module, x = nn.GRU(3, 4, 2, dropout=0.5), torch.randn(5, 2, 3)
    output, _ = module(x)
    output.sum().backward()
    shown = {f"grad.{name}": p.grad for name, p in module.named_parameters()}
    found = rnnspect.check(module, x, recorded=shown, backward=True, loss="sum", explain=0)
    assert found.verdict == "differ"
    assert "dropout = 0.5 was assumed to be off; if it was active, record x_l1 as well" in found.notes


def test_a_hook_that_returns_too_few_gradients_is_an_error_of_ours() -> None:
    """It is given one more than in the model, which calls the module without states."""
    module = nn.LSTM(3, 4, batch_first=True)
    module.register_full_backward_hook(lambda _module, into, _out: (into[0] * 0.5,))
    with pytest.raises(rnnspect.RnnspectError, match="as many gradients from a backward hook as it is given"):
        rnnspect.check(module, torch.randn(2, 9, 3), backward=True)


class _Refusing(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: object, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(_ctx: object, _gradient: torch.Tensor) -> torch.Tensor:
        raise ValueError("no way back")


class _NoWayBack(nn.LSTM):
    def forward(self, *given: object) -> tuple[torch.Tensor, object]:
        output, states = super().forward(*given)
        return _Refusing.apply(output), states


class _CellWithNoWayBack(nn.GRUCell):
    def forward(self, *given: object) -> torch.Tensor:
        return _Refusing.apply(super().forward(*given))


@pytest.mark.parametrize("module", [_NoWayBack(3, 4), _CellWithNoWayBack(3, 4)])
def test_a_backward_pass_that_raises_is_an_error_of_ours(module: nn.Module) -> None:
    with pytest.raises(rnnspect.RnnspectError, match="that of a hook, fails: ValueError: no way back"):
        rnnspect.check(module, torch.randn(9, 2, 3), backward=True)


def test_a_hook_that_raises_as_the_module_goes_back_is_an_error_of_ours() -> None:
    """Its model calls the module without states, whose gradients are None here."""
    module = nn.LSTM(3, 4)
    module.register_full_backward_hook(lambda _module, into, _out: tuple(2 * one for one in into))
    with pytest.raises(rnnspect.RnnspectError, match="that of a hook, fails: TypeError"):
        rnnspect.check(module, torch.randn(9, 2, 3), backward=True)


def test_nan_that_went_in_is_told_and_is_no_overflow() -> None:
    module, x = nn.LSTM(3, 4), torch.randn(20, 2, 3)
    x[5, 0, 1] = torch.nan
    assert rnnspect.check(module, x, backward=True).reason == rnnspect.check(module, x).reason
    assert "x contains NaN at step 5" in str(rnnspect.check(module, x, backward=True).reason)
    module.weight_hh_l0.data[0, 0] = torch.nan
    verdict = rnnspect.check(module, x, backward=True)
    assert (verdict.verdict, verdict.reason) == ("cannot tell", "weight_hh_l0 contains NaN: nothing can be checked")
