"""A pass backwards of somebody's own that gives other gradients when it is made once more is told so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import rnnspect as library
from rnnspect import Spec, Verdict

if TYPE_CHECKING:
    from pathlib import Path

BY_HAND = """
import numpy as np

kept = {}
calls = []

def backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):
    calls.append(1)
    h = [h0[0]]
    for x_t in x:
        h.append(np.tanh(x_t @ weight_ih_l0.T + bias_ih_l0 + h[-1] @ weight_hh_l0.T + bias_hh_l0))
    grads = {name: 0 for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")}
    dh, dx = np.zeros_like(h0[0]), np.zeros_like(x)
    for t in reversed(range(len(x))):
        s = (dh + grad_output[t]) * (1 - h[t + 1] ** 2)
        dx[t], dh = s @ weight_ih_l0, s @ weight_hh_l0
        grads["weight_ih_l0"] += s.T @ x[t]
        grads["weight_hh_l0"] += s.T @ h[t]
        grads["bias_ih_l0"] += s.sum(0)
        grads["bias_hh_l0"] += s.sum(0)
    return {"x": dx, "h0": dh[None], **grads}

def accumulates(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):
    for name, g in backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0).items():
        if name in ("x", "h0"):
            kept[name] = g
        elif name in kept:
            kept[name] += g
        else:
            kept[name] = g
    return kept

def once(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):
    if calls:
        raise ValueError("freed")
    return backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0)
"""
SPEC = Spec(cell="rnn", input_size=3, hidden_size=4, batch=3, batch_first=False, input="randn:9")


def checked(tmp_path: Path, name: str) -> Verdict:
    (tmp_path / "mine.py").write_text(BY_HAND)
    return library.check(SPEC, engine=f"{tmp_path / 'mine.py'}:{name}", backward=True)


def test_a_right_one_holds(tmp_path: Path) -> None:
    said = checked(tmp_path, "backward")
    assert said.agrees
    assert [(one.name, one.holds) for one in said.identities] == [("two evaluations", True)]


@pytest.mark.parametrize(
    ("name", "evidence"),
    [("accumulates", "dL/dweight_ih_l0 differs by up to"), ("once", "failed with ValueError: freed")],
)
def test_one_that_depends_on_the_call_before_fails(tmp_path: Path, name: str, evidence: str) -> None:
    """The first pass is right, and the answer rests on that alone."""
    said = checked(tmp_path, name)
    assert said.agrees
    (twice,) = said.identities
    assert not twice.holds
    assert evidence in twice.evidence
    assert "+=" in str(twice.usual)
