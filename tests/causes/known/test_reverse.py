"""A network that runs in reverse alone: its mistakes have the names that they have in a forward one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect import Spec
from rnnspect.tracing.prepare import prepare


def network(kind: str, layers: int = 1) -> tuple[Spec, nn.RNNBase]:
    """A spec, and the module of torch.nn that gives the same for x that is turned round."""
    spec = Spec(
        cell=kind.lower(), input_size=3, hidden_size=6, num_layers=layers, reverse=True, batch_first=False, seed=1
    )
    module: nn.RNNBase = getattr(nn, kind)(3, 6, layers)
    own = prepare(spec).parameters
    module.load_state_dict({name.removesuffix("_reverse"): values for name, values in own.items()})
    return spec, module


def ran(module: nn.RNNBase, x: Tensor, state: Any = None) -> Tensor:
    with torch.no_grad():
        output: Tensor = module(x.flip(0), state)[0].flip(0)
    return output


def ran_in_calls(module: nn.RNNBase, x: Tensor, edges: Sequence[int]) -> Tensor:
    """Each call from zeros."""
    return torch.cat([ran(module, call) for call in x.tensor_split(tuple(edges))])


def names(verdict: rnnspect.Verdict) -> list[str]:
    assert verdict.verdict == "differ"
    return [cause.name for cause in verdict.causes]


def test_a_right_one_says_where_its_final_state_is() -> None:
    spec, module = network("GRU")
    x = torch.randn(18, 2, 3)
    output = ran(module, x)
    verdict = rnnspect.check(spec, x, recorded={"output": output, "h_n": output[:1]})
    assert verdict.verdict == "agree"
    assert "h_n equals output at step 0" in [one.evidence for one in verdict.identities]


@pytest.mark.parametrize(
    ("kind", "layers", "edges"),
    [
        ("LSTM", 1, range(5, 20, 5)),
        ("GRU", 1, range(5, 18, 5)),
        ("GRU", 2, range(5, 18, 5)),
        ("GRU", 2, range(3, 18, 5)),
        ("GRU", 2, [7]),
    ],
)
def test_calls_that_lose_the_state_are_told(kind: str, layers: int, edges: Sequence[int]) -> None:
    spec, module = network(kind, layers)
    x = torch.randn(20 if kind == "LSTM" else 18, 2, 3)
    verdict = rnnspect.check(spec, x, recorded=ran_in_calls(module, x, edges))
    assert names(verdict) == ["chunk-state-lost"]


@pytest.mark.parametrize("edge", [0, -1])
@pytest.mark.parametrize("by", [1, -1])
def test_an_input_that_is_shifted_by_a_step(by: int, edge: int) -> None:
    spec, module = network("GRU")
    x = torch.randn(12, 2, 3)
    given = x.roll(by, 0)
    given[0 if by > 0 else -1] = x[edge]
    assert names(rnnspect.check(spec, x, recorded=ran(module, given))) == ["shifted-by-one"]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_state_that_is_rounded_between_calls(kind: str) -> None:
    spec, module = network(kind)
    x, state, done = torch.randn(24, 2, 3), None, []
    for call in x.flip(0).split(8):
        with torch.no_grad():
            output, state = module(call, state)
        done.append(output)
        state = tuple(one.half().float() for one in state) if kind == "LSTM" else state.half().float()
    found = rnnspect.check(spec, x, recorded=torch.cat(done).flip(0))
    assert names(found) == ["state-rounded"]
    assert "every 8 steps" in found.causes[0].explanation


@pytest.mark.parametrize("name", ["input-scaled", "features-reordered", "batch-mixed"])
def test_the_first_step_of_a_stack_tells_what_went_in(name: str) -> None:
    spec, module = network("LSTM", 2)
    x = torch.randn(12, 3, 3)
    h0, c0 = torch.randn(2, 2, 3, 6) / 2
    given = {"input-scaled": 1.7 * x, "features-reordered": x[..., [2, 0, 1]]}.get(name, x)
    items = [2, 0, 1] if name == "batch-mixed" else [0, 1, 2]
    output = ran(module, given, (h0[:, items].contiguous(), c0[:, items].contiguous()))
    assert names(rnnspect.check(spec, x, h0, c0, recorded=output)) == [name]
