"""A state that is kept in a half type between steps is named for that, and not as sums in float16."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

import rnnspect
from tests.marks import sampled

HALVES = ["float16", "bfloat16"]
CASES = [(cell, ("h",)) for cell in (torch.nn.RNNCell, torch.nn.GRUCell, torch.nn.LSTMCell)] + [
    (torch.nn.LSTMCell, ("c",)),
    (torch.nn.LSTMCell, ("h", "c")),
]


def recorded(cell: Any, x: Tensor, kept: tuple[str, ...], half: str) -> Tensor:
    """h as it was before the state was rounded."""
    state, output = [torch.zeros(x.shape[1], cell.hidden_size) for _ in "hc"], []
    with torch.no_grad():
        for x_t in x:
            given = cell(x_t, tuple(state) if isinstance(cell, torch.nn.LSTMCell) else state[0])
            new = given if isinstance(given, tuple) else (given, state[1])
            output.append(new[0])
            state = [
                v.to(getattr(torch, half)).float() if name in kept else v for name, v in zip("hc", new, strict=True)
            ]
    return torch.stack(output)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(("kind", "kept"), sampled(CASES, 3))
def test_it_is_named(kind: Any, kept: tuple[str, ...], half: str) -> None:
    torch.manual_seed(0)
    cell, x = kind(5, 7), torch.randn(20, 3, 5)
    weights: Any = {f"{name}_l0": v.tolist() for name, v in cell.state_dict().items()}
    name = kind.__name__.removesuffix("Cell").lower()
    spec = rnnspect.Spec(cell=name, input_size=5, hidden_size=7, batch_first=False, weights=weights)
    verdict = rnnspect.check(spec, x, recorded=recorded(cell, x, kept, half))
    (cause,) = verdict.causes
    assert (cause.name, cause.parameters) == ("state-rounded", {"state": " and ".join(kept), "dtype": half})
    assert cause.worst_ratio_after <= 1 < cause.worst_ratio_before


@pytest.mark.slow
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("kept", [("c",), ("h", "c")])
def test_it_is_named_where_h_is_made_of_the_rounded_cell_state(kept: tuple[str, ...], half: str) -> None:
    torch.manual_seed(7)
    module, x = torch.nn.LSTM(6, 6, batch_first=False), torch.randn(15, 4, 6)
    kind, output = getattr(torch, half), []
    h = c = torch.zeros(4, 6)
    with torch.no_grad():
        for x_t in x:
            sums = x_t @ module.weight_ih_l0.T + module.bias_ih_l0 + h @ module.weight_hh_l0.T + module.bias_hh_l0
            i, f, g, o = sums.chunk(4, 1)
            c = (f.sigmoid() * c + i.sigmoid() * g.tanh()).to(kind).float()
            output.append(o.sigmoid() * c.tanh())
            h = output[-1].to(kind).float() if "h" in kept else output[-1]
    (cause,) = rnnspect.check(module, x, recorded=torch.stack(output)).causes
    told = {"state": " and ".join(kept), "dtype": half, "h": "of the rounded c"}
    assert (cause.name, cause.parameters, cause.left) == ("state-rounded", told, ())
    assert "between steps, and h is made of the rounded c" in cause.explanation


@pytest.mark.each_value_once
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("chunk", [2, 7, 20])
@pytest.mark.parametrize("kind", [torch.nn.RNN, torch.nn.GRU, torch.nn.LSTM])
def test_between_chunks_it_is_named_with_where_they_begin(kind: Any, chunk: int, half: str) -> None:
    torch.manual_seed(1)
    module, x = kind(5, 7, batch_first=True), torch.randn(2, 50, 5)
    state, outputs = None, []
    with torch.no_grad():
        for steps in x.split(chunk, 1):
            output, ended = module(steps, state)
            outputs.append(output)
            state = tree_map(lambda v: v.to(getattr(torch, half)).float(), ended)
    verdict = rnnspect.check(module, x, recorded=torch.cat(outputs, 1))
    (cause,) = verdict.causes
    kept = "h and c" if kind is torch.nn.LSTM else "h"
    told = {"state": kept, "dtype": half, "every": chunk, "step": chunk}
    assert (cause.name, cause.parameters, cause.left) == ("state-rounded", told, ())


@pytest.mark.parametrize("half", HALVES)
def test_rounded_at_one_call_alone(half: str) -> None:
    torch.manual_seed(1)
    module, x = torch.nn.GRU(5, 7, batch_first=True), torch.randn(2, 30, 5)
    with torch.no_grad():
        first, state = module(x[:, :12])
        rest, _ = module(x[:, 12:], state.to(getattr(torch, half)).float())
    (cause,) = rnnspect.check(module, x, recorded=torch.cat([first, rest], 1)).causes
    assert (cause.name, cause.parameters) == ("state-rounded", {"state": "h", "dtype": half, "step": 12})
