"""Mistakes in a layer that nobody recorded, seen in what the layers above make of it; and where the words say it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import rnnspect

STEPS, BATCH, UNITS = 12, 3, 6


def stack(kind: type[nn.RNNBase], layers: int = 2, bidirectional: bool = False) -> nn.RNNBase:
    torch.manual_seed(1)
    return kind(UNITS, UNITS, layers, bidirectional=bidirectional)


def x() -> Tensor:
    torch.manual_seed(2)
    return torch.randn(STEPS, BATCH, UNITS)


def layer(module: nn.RNNBase, number: int) -> nn.RNNBase:
    """A layer of a stack by itself."""
    sizes = module.hidden_size * (1 + module.bidirectional)
    alone = type(module)(sizes if number else UNITS, module.hidden_size, bidirectional=module.bidirectional)
    own = {name.replace(f"_l{number}", "_l0"): p for name, p in module.named_parameters() if f"_l{number}" in name}
    alone.load_state_dict(own)
    return alone


def output(module: nn.RNNBase, given: Callable[[int, nn.RNNBase, Tensor], Tensor]) -> Tensor:
    """The output of a stack whose layers hand on what `given` says."""
    received = x()
    with torch.no_grad():
        for number in range(module.num_layers):
            received = given(number, layer(module, number), received)
    return received


def cell_states(alone: nn.RNNBase, received: Tensor) -> Tensor:
    """c (T, B, H) of an LSTM, step by step."""
    state, found = None, []
    for x_t in received:
        _, state = alone(x_t[None], state)
        found.append(state[1])
    return torch.cat(found)


def exchanged(h: Tensor) -> Tensor:
    return torch.cat(h.chunk(2, -1)[::-1], -1)


def explained(module: nn.RNNBase, recorded: Tensor) -> rnnspect.Verdict:
    assert rnnspect.check(module, x(), recorded=module(x())[0].detach(), explain=0).verdict != "differ"
    found = rnnspect.check(module, x(), recorded=recorded)
    assert found.verdict == "differ"
    return found


@pytest.mark.slow
def test_c_that_the_lower_layer_hands_on_in_place_of_h() -> None:
    module = stack(nn.LSTM)
    wrong = output(module, lambda n, one, of: one(of)[0] if n else cell_states(one, of))
    found = explained(module, wrong)
    assert [(one.name, one.scope) for one in found.causes] == [("cell-state-returned", ("layer 0 forward",))]
    assert found.causes[0].explanation.startswith("layer 0's output is c")


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_a_skip_connection_around_either_layer(which: int) -> None:
    module = stack(nn.GRU)
    wrong = output(module, lambda n, one, of: one(of)[0] + of * (n == which))
    found = explained(module, wrong)
    assert [(one.name, one.scope) for one in found.causes] == [("residual-added", (f"layer {which} forward",))]
    assert found.causes[0].explanation.startswith("what the layer receives is added to its output")


@pytest.mark.slow
def test_skip_connections_around_every_layer() -> None:
    module = stack(nn.GRU, 3)
    found = explained(module, output(module, lambda n, one, of: one(of)[0] + of * (n < 2)))
    assert [(one.name, one.scope) for one in found.causes] == [
        ("residual-added", ("layer 0 forward", "layer 1 forward"))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("function", [torch.relu, torch.tanh])
def test_a_function_between_all_layers(function: Callable[[Tensor], Tensor]) -> None:
    module = stack(nn.GRU, 3)
    found = explained(module, output(module, lambda n, one, of: one(function(of) if n else of)[0]))
    assert [(one.name, one.scope) for one in found.causes] == [
        ("input-through-function", ("layer 1 forward", "layer 2 forward"))
    ]
    assert found.causes[0].parameters == {"function": function.__name__}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "said"),
    [
        (0, "the two halves of layer 0's output are swapped"),
        (1, "layer 2 gets the two directions of layer 1 swapped"),
        (2, "the two halves of the output are swapped"),
    ],
)
def test_it_is_said_which_layers_halves_are_exchanged(which: int, said: str) -> None:
    module = stack(nn.RNN, 3, bidirectional=True)
    wrong = output(module, lambda n, one, of: exchanged(one(of)[0]) if n == which else one(of)[0])
    assert explained(module, wrong).causes[0].explanation == said


@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_one_layer_that_goes_on_from_an_earlier_call(which: int) -> None:
    module = stack(nn.GRU)

    def given(number: int, alone: nn.RNNBase, received: Tensor) -> Tensor:
        return alone(received, alone(received)[1] if number == which else None)[0]

    (cause,) = explained(module, output(module, given)).causes
    assert (cause.name, cause.scope) == ("state-left-over", (f"layer {which} forward",))
    assert cause.explanation.startswith(f"layer {which} alone starts from its final state")


@pytest.mark.slow
def test_one_state_for_all_of_three_layers() -> None:
    """Two of which nobody recorded."""
    module, states = stack(nn.LSTM, 3), []

    def given(number: int, alone: nn.RNNBase, received: Tensor) -> Tensor:
        h, state = alone(received, states[-1] if states else None)
        states.append(state)
        return h

    (cause,) = explained(module, output(module, given)).causes
    assert cause.name == "state-of-layer-below"
