"""Cells that hand on a state as it is: one that never changes, h of the step before, or h and c exchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import rnnspect
from rnnspect.cells import Cell

NEW: dict[str, Callable[..., tuple[Any, Any]]] = {
    "c never changes": lambda n, h, c: (n * c, c),
    "h never changes": lambda n, h, c: (h, n),
    "h and c never change": lambda n, h, c: (h, c),
    "h is the c before": lambda n, h, c: (c, n),
    "c is the h before": lambda n, h, c: (n * c, h),
    "h and c exchanged": lambda n, h, c: (c, h),
    "h is summed up": lambda n, h, c: (h + c, n),
}


def cell(states: str, recurrent: bool) -> Cell:
    def step(a: Any, wx: Any, h: Any, c: Any) -> dict[str, Any]:
        (s,) = a.gates(wx, h) if recurrent else a.split(wx)
        n = a.tanh(s if recurrent else s + a.parameter("w") * h)
        new, c = NEW[states](n, h, c)
        return {"n": n, "c": c, "h": new}

    own = () if recurrent else (("w", ("hidden_size",)),)
    return Cell(
        name="odd",
        torch_name="",
        gates=("n",),
        states=("h", "c"),
        quantities=("n", "c", "h"),
        functions=("tanh",),
        step=step,
        parameters=own,
        is_recurrent=recurrent,
    )


def engine(states: str, recurrent: bool, factors: tuple[float, float]) -> Callable[..., tuple[Any, Any]]:
    def new(s: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        h, c = NEW[states](torch.tanh(s), *state)
        return factors[0] * h, factors[1] * c

    def with_matrix(x_t: Any, state: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        return new(x_t @ weight_ih.T + bias_ih + state[0] @ weight_hh.T + bias_hh, state)

    def with_vector(x_t: Any, state: Any, weight_ih: Any, bias_ih: Any, w: Any) -> Any:
        return new(x_t @ weight_ih.T + bias_ih + w * state[0], state)

    return with_matrix if recurrent else with_vector


@pytest.mark.each_value_once
@pytest.mark.parametrize("recurrent", [True, False], ids=["W_hh h", "w h"])
@pytest.mark.parametrize("lengths", [None, [9], [9, 4, 1]], ids=str)
@pytest.mark.parametrize("states", NEW)
def test_a_right_run_agrees_and_a_wrong_one_differs(states: str, lengths: list[int] | None, recurrent: bool) -> None:
    keys: dict[str, Any] = {"lengths": lengths, "batch": len(lengths)} if lengths else {"batch": 3}
    keys |= {"input_size": 3, "hidden_size": 4, "h0": "randn", "c0": "randn", "input": "randn:9"}
    spec = rnnspect.Spec(cell=cell(states, recurrent), **keys)
    assert rnnspect.check(spec, engine=engine(states, recurrent, (1, 1))).verdict == "agree"
    for factors in ((1.01, 1), (1, 1.01)):
        assert rnnspect.check(spec, engine=engine(states, recurrent, factors)).verdict == "differ"
