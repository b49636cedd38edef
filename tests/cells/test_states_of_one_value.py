"""Cells that return one value as both states, or a state as it came: each state still has a gradient of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.arithmetic.going_back import go_back
from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.network.gradients import Upstream
from rnnspect.tracing.prepare import Prepared, prepare

CLOSE = 1e-12
"""Relative to the largest entry, in float64: some tens of roundings of 1e-16."""


def both(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    """c' = f ⊙ c + v, h' = c'"""
    s_f, v = a.split(wx)
    c = a.carry(a.sigmoid(s_f), c, v)
    return {"f": s_f, "v": v, "c": c, "h": c}


def fed_back(a: Arithmetic[V], wx: V, h: V, c: V) -> dict[str, V]:
    """The same, with W_hh h in both gates."""
    s_f, v = a.gates(wx, h)
    c = a.lerp(a.tanh(v), c, a.sigmoid(s_f))
    return {"f": s_f, "v": v, "c": c, "h": c}


def kept(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    """c' = c, h' = tanh(f + v ⊙ c)"""
    f, v = a.split(wx)
    return {"f": f, "v": v, "c": c, "h": a.tanh(f + v * c)}


def late(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    """h' = c, c' = tanh(f ⊙ c + v)"""
    f, v = a.split(wx)
    return {"f": f, "v": v, "c": a.tanh(f * c + v), "h": c}


Parts = tuple[Tensor, Tensor]


def both_of(f: Tensor, v: Tensor, c: Tensor) -> Parts:
    c = torch.sigmoid(f) * c + v
    return c, c


def fed_back_of(f: Tensor, v: Tensor, c: Tensor) -> Parts:
    z = torch.sigmoid(f)
    c = (1 - z) * torch.tanh(v) + z * c
    return c, c


def kept_of(f: Tensor, v: Tensor, c: Tensor) -> Parts:
    return torch.tanh(f + v * c), c


def late_of(f: Tensor, v: Tensor, c: Tensor) -> Parts:
    return c, torch.tanh(f * c + v)


FORMS: dict[str, tuple[Any, Callable[[Tensor, Tensor, Tensor], Parts]]] = {
    "both": (both, both_of),
    "fed_back": (fed_back, fed_back_of),
    "kept": (kept, kept_of),
    "late": (late, late_of),
}


def cell_of(name: str) -> Cell:
    quantities, functions = ("f", "v", "c", "h"), ("sigmoid", "tanh")
    return Cell(
        name, "", ("f", "v"), ("h", "c"), quantities, functions, FORMS[name][0], is_recurrent=name == "fed_back"
    )


def by_autograd(prepared: Prepared, upstream: Upstream, name: str) -> dict[str, Tensor]:
    spec, run = prepared.spec, prepared.sequence
    p = {of: value.clone().requires_grad_() for of, value in prepared.parameters.items()}
    x, h0, c0 = (one.clone().requires_grad_() for one in (run.x, *run.state))
    below, ends = x, []
    for layer in range(spec.num_layers):
        outputs = []
        for direction in spec.directions:
            end = f"_l{layer}" + ("_reverse" if direction == "reverse" else "")
            row = spec.row(layer, direction)
            h, c, found = h0[row], c0[row], {}
            steps = range(run.steps)
            for t in reversed(steps) if direction == "reverse" else steps:
                sums = below[t] @ p["weight_ih" + end].T + p["bias_ih" + end]
                if "weight_hh" + end in p:
                    sums = sums + h @ p["weight_hh" + end].T + p["bias_hh" + end]
                h, c = FORMS[name][1](*sums.chunk(2, -1), c)
                found[t] = h
            outputs.append(torch.stack([found[t] for t in steps]))
            ends.append((h, c))
        below = torch.cat(outputs, -1)
    h_n, c_n = (torch.stack(each) for each in zip(*ends, strict=True))
    assert upstream.h_n is not None
    assert upstream.c_n is not None
    ((below * upstream.output).sum() + (h_n * upstream.h_n).sum() + (c_n * upstream.c_n).sum()).backward()
    named = p | {"x": x, "h0": h0, "c0": c0}
    return {of: torch.zeros_like(one) if one.grad is None else one.grad for of, one in named.items()}


@pytest.mark.parametrize("steps", [1, 8])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_every_gradient_is_that_of_autograd(name: str, deep: bool, steps: int) -> None:
    torch.manual_seed(0)
    spec = rnnspect.Spec(
        cell=cell_of(name), input_size=3, hidden_size=4, num_layers=1 + deep, bidirectional=deep, dtype="float64",
        batch_first=False,
    )  # fmt: skip
    prepared = prepare(spec, torch.randn(steps, 2, 3, dtype=torch.float64), "randn", "randn")
    output = torch.randn(steps, 2, 4 * (1 + deep), dtype=torch.float64)
    upstream = Upstream(output, *(torch.randn_like(one) for one in prepared.sequence.state))
    ours: dict[str, Tensor] = {"x": torch.zeros_like(prepared.sequence.x)}
    states = {}
    for one in go_back(spec, prepared.parameters, prepared.sequence, upstream):
        ours |= {of: sum((each.sum() for each in parts), torch.zeros(())) for of, parts in one.products.items()}
        states[spec.row(one.layer, one.direction)] = one.state
        if one.layer == 0:
            ours["x"] = ours["x"] + one.x
    rows = [states[row] for row in range(len(states))]
    ours |= {of: torch.stack(list(each)) for of, each in zip(("h0", "c0"), zip(*rows, strict=True), strict=True)}
    theirs = by_autograd(prepared, upstream, name)
    assert ours.keys() == theirs.keys()
    for of, expected in theirs.items():
        assert float((ours[of] - expected).abs().max()) <= CLOSE * max(float(expected.abs().max()), 1e-30), of


def engine_of(name: str, halves: bool) -> Callable[..., Parts]:
    def of_sums(sums: Tensor, c: Tensor) -> Parts:
        h, c = FORMS[name][1](*sums.chunk(2, -1), c)
        return h, (c + c.detach()) / 2 if halves else c

    def step(x_t: Tensor, state: Parts, weight_ih: Tensor, bias_ih: Tensor) -> Parts:
        return of_sums(x_t @ weight_ih.T + bias_ih, state[1])

    def recurrent(
        x_t: Tensor, state: Parts, weight_ih: Tensor, bias_ih: Tensor, weight_hh: Tensor, bias_hh: Tensor
    ) -> Parts:
        return of_sums(x_t @ weight_ih.T + bias_ih + state[0] @ weight_hh.T + bias_hh, state[1])

    return recurrent if name == "fed_back" else step


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FORMS)
def test_a_right_engine_agrees_and_one_that_halves_the_gradient_of_c_differs(name: str, dtype: str) -> None:
    spec = rnnspect.Spec(cell=cell_of(name), input_size=3, hidden_size=4, dtype=dtype)
    x = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    for loss in (None, "sum"):
        options: dict[str, Any] = {"h0": "randn", "c0": "randn", "backward": True, "loss": loss}
        assert rnnspect.check(spec, x, engine=engine_of(name, False), **options).verdict == "agree"
        assert rnnspect.check(spec, x, engine=engine_of(name, True), **options).verdict == "differ"


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", FORMS)
def test_forwards_they_are_proved_as_others(name: str) -> None:
    spec = rnnspect.Spec(cell=cell_of(name), input_size=3, hidden_size=4)
    x = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(0))
    right = engine_of(name, halves=False)

    def wrong(x_t: Tensor, state: Parts, weight_ih: Tensor, bias_ih: Tensor) -> Parts:
        h, c = right(x_t, state, weight_ih, bias_ih)
        return h, c + 1e-4 * torch.sin(c)

    assert rnnspect.check(spec, x, engine=right, h0="randn", c0="randn").verdict == "agree"
    if name != "fed_back":
        assert rnnspect.check(spec, x, engine=wrong, h0="randn", c0="randn").verdict == "differ"
