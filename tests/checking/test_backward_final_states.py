"""A pass backwards by hand that asks for dL/dh_n and dL/dc_n is given some, so that a wrong use of them is seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import Spec

_Finals = tuple[Tensor, ...]
_Change = Callable[[_Finals], _Finals]


def _by_hand(cell: str, use: _Change) -> Callable[..., dict[str, Tensor]]:
    """Correct but for what `use` makes of the gradients of the final states."""

    def back(grad_output: Tensor, x: Tensor, states: _Finals, parameters: Any, spec: Spec, *finals: Tensor) -> Any:
        with torch.enable_grad():
            layers, units, both = spec.num_layers, spec.hidden_size, spec.bidirectional
            module = getattr(nn, cell.upper())(x.shape[2], units, layers, batch_first=True, bidirectional=both)
            module.load_state_dict(parameters)
            begun = tuple(one.clone().requires_grad_() for one in (x, *states))
            output, ended = module(begun[0], begun[1:] if len(states) > 1 else begun[1])
            names, own = zip(*module.named_parameters(), strict=True)
            returned = output, *(ended if len(states) > 1 else (ended,))
            found = torch.autograd.grad(returned, (*begun, *own), (grad_output, *use(finals)))
        return dict(zip(("x", "h0", "c0")[: len(begun)] + names, found, strict=True))

    def lstm(
        grad_output: Tensor, x: Tensor, h0: Tensor, c0: Tensor, parameters: Any, grad_h_n: Any, grad_c_n: Any, spec: Any
    ) -> dict[str, Tensor]:
        return back(grad_output, x, (h0, c0), parameters, spec, grad_h_n, grad_c_n)  # type: ignore[no-any-return]

    def one_state(
        grad_output: Tensor, x: Tensor, h0: Tensor, parameters: Any, grad_h_n: Any, spec: Any
    ) -> dict[str, Tensor]:
        return back(grad_output, x, (h0,), parameters, spec, grad_h_n)  # type: ignore[no-any-return]

    return lstm if cell == "lstm" else one_state


def _run(cell: str, use: _Change, layers: int = 1, both: bool = False, **more: Any) -> Any:
    torch.manual_seed(0)
    spec = Spec(
        cell=cell, input_size=3, hidden_size=4, num_layers=layers, bidirectional=both, batch_first=True,
        input="randn:7", batch=3, h0="randn", **({"c0": "randn"} if cell == "lstm" else {}), **more,
    )  # fmt: skip
    return spec, _by_hand(cell, use)


def _top_only(finals: _Finals) -> _Finals:
    return tuple(torch.cat([0 * g[:-1], g[-1:]]) for g in finals)


WRONG: dict[str, tuple[_Change, int, bool]] = {
    "ignored": (lambda finals: tuple(0 * g for g in finals), 1, False),
    "doubled": (lambda finals: tuple(2 * g for g in finals), 1, False),
    "exchanged": (lambda finals: finals[::-1], 1, False),
    "of c ignored": (lambda finals: (finals[0], 0 * finals[1]), 1, False),
    "of another layer": (lambda finals: tuple(g.flip(0) for g in finals), 2, False),
    "of the other direction": (lambda finals: tuple(g.flip(0) for g in finals), 1, True),
    "of the top layer alone": (_top_only, 2, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_use_of_the_gradients_of_final_states_differs(what: str) -> None:
    spec, engine = _run("lstm", *WRONG[what])
    verdict = rnnspect.check(spec, engine=engine, backward=True, explain=0)
    assert verdict.verdict == "differ"
    assert any("dL/d output, dL/dh_n, dL/dc_n are random" in note for note in verdict.notes)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(("layers", "both", "lengths"), [(1, False, None), (2, True, None), (2, True, [7, 2, 4])])
def test_a_right_use_of_them_agrees(cell: str, layers: int, both: bool, lengths: Any) -> None:
    spec, engine = _run(cell, lambda finals: finals, layers, both, lengths=lengths)
    verdict = rnnspect.check(spec, engine=engine, backward=True)
    assert verdict.agrees, verdict
    ends = "dL/dh_n, dL/dc_n are" if cell == "lstm" else "dL/dh_n are"
    assert any(f"dL/d output, {ends} random" in note for note in verdict.notes)


def test_that_they_are_ignored_is_named() -> None:
    spec, engine = _run("lstm", *WRONG["ignored"])
    verdict = rnnspect.check(spec, engine=engine, backward=True)
    assert [cause.name for cause in verdict.causes] == ["grad-final-state-ignored"]


def test_a_loss_of_the_output_alone_leaves_them_zero_and_says_so() -> None:
    spec, engine = _run("lstm", *WRONG["ignored"])
    verdict = rnnspect.check(spec, engine=engine, backward=True, loss="sum")
    assert verdict.agrees
    assert any("grad_h_n, grad_c_n were zero" in note for note in verdict.notes)
    assert not any(
        "grad_h_n" in note for note in rnnspect.check(nn.LSTM(3, 4), torch.randn(6, 2, 3), backward=True).notes
    )


class _LosesC(torch.autograd.Function):
    """c_n as it is, from which nothing goes back."""

    @staticmethod
    def forward(_ctx: Any, c_n: Tensor) -> Tensor:
        return c_n.clone()

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return 0 * gradients[0]


class _Layer(nn.LSTM):
    def __init__(self, ends: Callable[[Tensor, Tensor], _Finals]) -> None:
        torch.manual_seed(0)
        super().__init__(3, 4)
        self.ends = ends

    def forward(self, x: Tensor, state: Any = None) -> Any:  # type: ignore[override]
        output, state = super().forward(x, state)
        return output, self.ends(*state)


def _checked(ends: Callable[[Tensor, Tensor], _Finals]) -> rnnspect.Verdict:
    return rnnspect.check(_Layer(ends), torch.randn(6, 2, 3), backward=True)


def test_a_layer_that_loses_the_gradient_of_c_n_is_named() -> None:
    verdict = _checked(lambda h_n, c_n: (h_n, _LosesC.apply(c_n)))  # type: ignore[no-untyped-call]
    assert verdict.verdict == "differ"
    assert [(cause.name, cause.parameters) for cause in verdict.causes] == [
        ("grad-final-state-ignored", {"state": "c_n"})
    ]


def test_final_states_that_are_detached_get_no_gradient_and_it_is_said() -> None:
    verdict = _checked(lambda h_n, c_n: (h_n.detach(), c_n.detach()))
    assert verdict.agrees
    assert "h_n, c_n are detached: no gradient comes from there" in verdict.notes
    assert any(note.startswith("dL/d output is random") for note in verdict.notes)
    verdict = _checked(lambda h_n, c_n: (h_n, c_n.detach()))
    assert verdict.agrees
    assert any(note.startswith("dL/d output, dL/dh_n are random") for note in verdict.notes)


def test_a_derivation_begins_with_what_the_check_drew() -> None:
    layer, x = _Layer(lambda h_n, c_n: (2 * h_n - h_n.detach(), c_n)), torch.randn(6, 2, 3)
    verdict = rnnspect.check(layer, x, backward=True, explain=0)
    first = verdict.first
    assert first is not None
    assert verdict.drawn == "drawn:h_n,c_n"
    found = rnnspect.derive(layer, x, gradient=first.quantity.removeprefix("grad."), loss=verdict.drawn)
    assert found.value == pytest.approx(first.manual, rel=1e-5)  # in float64, of float32 numbers
