"""The loops are right where nothing is planted: they give what torch.autograd gives, and a check agrees."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from rnnspect.engines.interface import backward_of
from tests.causes.backward.drawn import Plan, checked, prepared_of
from tests.engines.gradients import apart, by_name, expected
from tests.marks import sampled

ROUNDINGS = 400
"""So many roundings of the largest number of a gradient: it is a sum over at most 9 steps × 3 items of products that
went through at most 9 steps × 2 layers, with about ten operations each. The largest seen is 40."""
SHAPES = [
    {"kind": kind, "dtype": dtype, "layers": layers, "directions": directions, "lengths": lengths}
    for kind, dtype, layers, directions, lengths in itertools.product(
        ("rnn", "lstm", "gru", "gru-before"), ("float32", "float64"), (1, 2), (1, 2), (False, True)
    )
]
PLAIN = [one for one in SHAPES if one["kind"] != "gru-before"]


@pytest.mark.parametrize("shape", sampled([*PLAIN, {"kind": "rnn", "relu": True}], 3))
def test_right_loops_give_what_autograd_gives(shape: dict[str, Any]) -> None:
    prepared, upstream = prepared_of(Plan(1, **shape), {})
    found = backward_of(prepared.engine).backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)
    assert apart(by_name(found), expected(prepared, upstream)) < ROUNDINGS


@pytest.mark.parametrize("shape", sampled([*SHAPES, {"hard": True}, {"kind": "gru", "hard": True}], 3))
def test_a_check_of_right_loops_agrees(shape: dict[str, Any]) -> None:
    verdict = checked(Plan(2, **shape), {})
    assert verdict.agrees, (verdict.first, verdict.reason)


def test_a_reset_before_gru_gives_what_autograd_gives() -> None:
    """torch.nn has no such GRU: its equations, under autograd."""
    prepared, upstream = prepared_of(Plan(3, "gru-before", "float64"), {})
    found = backward_of(prepared.engine).backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)
    leaves = {name: p.clone().requires_grad_() for name, p in prepared.parameters.items()}
    x, h0 = (v.clone().requires_grad_() for v in (prepared.sequence.x, prepared.sequence.h0))
    w, u, b, c = leaves.values()
    h, loss = h0[0], torch.zeros((), dtype=torch.float64)
    for x_t, dy in zip(x, upstream.output, strict=True):
        i_r, i_z, i_n = (x_t @ w.T + b).chunk(3, -1)
        h_r, h_z, _ = (h @ u.T + c).chunk(3, -1)
        r, z = torch.sigmoid(i_r + h_r), torch.sigmoid(i_z + h_z)
        n = torch.tanh(i_n + (r * h) @ u[10:].T + c[10:])
        h = (1 - z) * n + z * h
        loss = loss + (h * dy).sum()
    assert upstream.h_n is not None
    (loss + (h * upstream.h_n[0]).sum()).backward()
    right = {"output": found.output, "x": x.grad, "h0": h0.grad} | {name: leaf.grad for name, leaf in leaves.items()}
    assert apart(by_name(found), {name: value for name, value in right.items() if value is not None}) < ROUNDINGS
