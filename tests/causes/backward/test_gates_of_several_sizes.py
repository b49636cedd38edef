"""Mistakes of going back in a cell of one's own whose gates do not have as many rows as it has units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.engines.own.loading import load_cell

LIMIT = 0.3


def retnet(wrong: Callable[..., tuple[Tensor, ...]]) -> Callable[..., Any]:
    """One step, with what is wrong in q, k and v."""

    def step(x_t: Tensor, state: Any, weight_ih: Tensor, bias_ih: Tensor, theta: Tensor) -> Any:
        _, c = state
        q, k, v = wrong(*(x_t @ weight_ih.T + bias_ih).split([6, 6, 4], -1))
        s = theta.sigmoid()[:, None, None] * c.view(-1, 2, 3, 2) + k.view(-1, 2, 3, 1) * v.view(-1, 2, 1, 2)
        return torch.einsum("bhk,bhkv->bhv", q.view(-1, 2, 3), s).flatten(1), s.flatten(1)

    return step


def clipped(*gates: Tensor) -> tuple[Tensor, ...]:
    for gate in gates if gates[0].requires_grad else ():
        gate.register_hook(lambda g: g.clamp(-LIMIT, LIMIT))
    return gates


def checked(wrong: Callable[..., tuple[Tensor, ...]]) -> Verdict:
    spec = Spec(cell=load_cell("examples/cells/retnet.py:retnet"), input_size=5, hidden_size=4, input="randn:5")
    found = rnnspect.check(spec, engine=retnet(wrong), backward=True)
    assert isinstance(found, Verdict)
    return found


def test_a_right_one_agrees() -> None:
    assert checked(lambda *gates: gates).agrees


def test_a_gate_that_gets_no_gradient() -> None:
    """The search for its cause ended in an error."""
    found = checked(lambda q, k, v: (q, k.detach(), v))
    assert found.verdict == "differ"
    assert found.first is not None
    assert "k" in found.first.quantity


def test_gradients_that_are_clipped_at_each_step() -> None:
    found = checked(clipped)
    assert found.verdict == "differ"
    assert [(one.name, one.parameters["limit"]) for one in found.causes][:1] == [("grad-clipped-at-each-step", LIMIT)]
