"""A check that was given weights and no input draws one that tells."""

from __future__ import annotations

import pytest
import torch

import rnnspect


@pytest.mark.each_value_once
@pytest.mark.parametrize(
    ("scale", "dtype"),
    [(size, dtype) for dtype in (torch.float32, torch.float64) for size in (0.01, 1, 10)]
    + [(size, torch.bfloat16) for size in (1, 10)],  # of smaller ones bfloat16 stores too little
)
@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_every_gate_is_seen_whatever_the_size_of_the_weights(
    kind: type[torch.nn.RNNBase], scale: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    module = kind(16, 32, num_layers=2, bidirectional=True).to(dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(scale)
    verdict = rnnspect.check(module)
    assert verdict.agrees, verdict.reason
    assert [note for note in verdict.notes if note.startswith("no input was given: random x, h0")]


def test_a_wrong_module_differs() -> None:
    torch.manual_seed(0)
    module = torch.nn.GRU(3, 8)
    module.register_forward_hook(lambda _module, _given, returned: (returned[0] + 1e-3, returned[1]))
    verdict = rnnspect.check(module, explain=0)
    assert verdict.verdict == "differ"


def test_longer_ones_are_drawn_where_one_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnspect.checking.drawn_input.STEPS", (1, 64))
    monkeypatch.setattr("rnnspect.checking.drawn_input._SIZES", (99.0, 100.0))  # saturated
    torch.manual_seed(0)
    verdict = rnnspect.check(torch.nn.LSTM(3, 8))
    assert verdict.notes[-1].endswith("64 steps (fewer were not conclusive)")


def _remembers(kind: type[torch.nn.RNNBase], bias: float) -> torch.nn.RNNBase:
    """The second gate of an LSTM or GRU, which keeps the state, is shut at every x of the usual size."""
    torch.manual_seed(1)
    module = kind(3, 3)
    with torch.no_grad():
        module.bias_ih_l0[3:6] += bias
    return module


@pytest.mark.parametrize("kind", [torch.nn.GRU, torch.nn.LSTM])
def test_a_larger_one_is_drawn_where_biases_shut_a_gate(kind: type[torch.nn.RNNBase]) -> None:
    verdict = rnnspect.check(_remembers(kind, 10))
    assert verdict.agrees, verdict.reason
    assert verdict.notes[-1].endswith("large enough to cancel their biases (smaller ones were not conclusive)")


def test_the_usual_one_is_drawn_first() -> None:
    verdict = rnnspect.check(_remembers(torch.nn.LSTM, 5))
    assert verdict.agrees
    assert verdict.notes[-1].endswith("64 steps")


@pytest.mark.parametrize("odd", [0.0, 1e-30, torch.inf, torch.nan])
def test_weights_that_cancel_no_bias_are_left_alone(odd: float) -> None:
    module = _remembers(torch.nn.LSTM, 10).half()
    with torch.no_grad():
        module.weight_ih_l0[4] = odd
    assert rnnspect.check(module).verdict == "cannot tell"


def test_no_drawn_number_is_infinite_in_float16() -> None:
    module = _remembers(torch.nn.LSTM, 10)
    with torch.no_grad():
        module.weight_ih_l0.mul_(1e-6)
    assert "infinity" not in str(rnnspect.check(module.half()).reason)


def test_states_that_were_said_are_kept() -> None:
    torch.manual_seed(0)
    module, h0 = torch.nn.GRU(3, 8), torch.full((1, 8), 0.5)
    assert (
        rnnspect.check(module, h0=h0).notes[-1] == "no input was given: random x was drawn for these weights, 64 steps"
    )
