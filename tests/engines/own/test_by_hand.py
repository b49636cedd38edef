"""Gradients of the user's own code: a step or a sequence under autograd, and a pass backwards written by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnnspect import Spec, engines
from rnnspect.engines.interface import backward_of
from rnnspect.errors import EngineError, InputError
from rnnspect.tracing.prepare import prepare
from tests.engines.gradients import ROUNDINGS, apart, by_name, expected, upstream_of

TORCH = """
import torch
from torch import nn

def step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    return torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)

class Stack(nn.Module):
    def __init__(self, input_size, hidden_size, num_layers, bidirectional):
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=True)

    def forward(self, x, state):
        return self.rnn(x, state)

class Cell(nn.RNNCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)

    def forward(self, x_t, state):
        return super().forward(x_t, state)

def writes(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    h = step(x_t.mul_(1), h, weight_ih, weight_hh, bias_ih, bias_hh)
    return h

def detached(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    return step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh).detach()

@torch.no_grad()
def without(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    return step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)

def one_bias(x_t, h, weight_ih, weight_hh, bias_ih):
    return step(x_t, h, weight_ih, weight_hh, bias_ih, 0)

BUFFER = torch.zeros(3, 6, dtype=torch.float64)

def one_memory(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    return BUFFER.copy_(step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)).mul_(BUFFER.clone() / BUFFER.detach())

def itself(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    h = step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh)
    h.sum().backward()
    return h
"""
BY_HAND = """
import {library} as np

def backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, grad_h_n, hidden_size):
    assert hidden_size == 6
    h, steps = [h0[0]], x.shape[1]
    for t in range(steps):
        h += [np.tanh(x[:, t] @ weight_ih_l0.T + bias_ih_l0 + h[-1] @ weight_hh_l0.T + bias_hh_l0)]
    dh, dx, dw_ih, dw_hh, db = grad_h_n[0], [], 0, 0, 0
    for t in reversed(range(steps)):
        da = (dh + grad_output[:, t]) * (1 - h[t + 1] ** 2)
        dx, dh = [da @ weight_ih_l0, *dx], da @ weight_hh_l0
        dw_ih, dw_hh, db = dw_ih + da.T @ x[:, t], dw_hh + da.T @ h[t], db + da.sum(0)
    return {{
        "output": np.stack(h[1:], 1), "h_n": h[-1][None], "x": np.stack(dx, 1), "grad.h0": dh[None],
        "grad.weight_ih_l0": dw_ih, "weight_hh_l0": dw_hh, "bias_ih_l0": db, "bias_hh_l0": db,
    }}

class Mine:
    def __init__(self, parameters):
        self.p = parameters

    def __call__(self, grad_output, x, h0, grad_h_n, hidden_size):
        return backward(grad_output, x, h0, **self.p, grad_h_n=grad_h_n, hidden_size=hidden_size)

def with_lengths(grad_output, x, h0, parameters, lengths):
    found = backward(grad_output, x, h0, **parameters, grad_h_n=0 * h0, hidden_size=6)
    return {{"x": found["x"], "h0": h0 * 0 + len(lengths)}}
"""
HOSTILE = """
import numpy as np

def number(grad_output): return 5
def asks(grad_output, wieght_ih_l0): return {}
def a_step(grad_output, weight_ih): return {}
def raises(grad_output, x): raise ValueError("theirs")
def no_x(grad_output, h0): return {"h0": h0}
def empty(grad_output): return {}
def misspelled(grad_output, x): return {"x": x, "weigth_ih_l0": x}
def upstream(grad_output, x): return {"x": x, "grad.output": grad_output}
def keyed(grad_output, x): return {"x": x, 5: x}
def narrow(grad_output, x): return {"x": x[:, :2]}
def twice(grad_output, x): return {"x": x, "grad.x": x}
def integers(grad_output, x): return {"x": x.astype(int)}
def nothing(grad_output, x): return {"x": None}

class Unreadable(dict):
    def items(self): raise RuntimeError("no items")

def unreadable(grad_output, x): return Unreadable()

class Key:
    def __hash__(self): return 0
    def __repr__(self): raise RuntimeError("no name")

def unnamed(grad_output, x): return {Key(): x}
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "tensors.py").write_text(TORCH)
    (tmp_path / "numpys.py").write_text(BY_HAND.format(library="numpy"))
    (tmp_path / "torches.py").write_text(BY_HAND.format(library="torch"))
    (tmp_path / "hostile.py").write_text(HOSTILE)
    return lambda name: str(tmp_path / name)


def prepared_of(**more: Any) -> Any:
    given: dict[str, Any] = {"input_size": 4, "hidden_size": 6, "input": "randn:7", "batch": 3, "h0": "randn"}
    return prepare(Spec(**{**given, "cell": "rnn", "dtype": "float64", **more}))


def backward(source: str, prepared: Any) -> Any:
    engine = backward_of(engines.find(source))
    return engine.backward(prepared.spec, prepared.parameters, prepared.sequence, upstream_of(prepared))


@pytest.mark.parametrize("lengths", [None, [7, 2, 4]], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", ["tensors.py:step", "tensors.py:Stack", "tensors.py:Cell", "tensors.py:writes"])
def test_tensors_go_back_by_autograd(mine, name, lengths):
    prepared = prepared_of(num_layers=2, bidirectional=True, lengths=lengths)
    found = backward(mine(name), prepared)
    assert apart(by_name(found), expected(prepared, upstream_of(prepared))) <= ROUNDINGS
    assert found.notes == ()


@pytest.mark.parametrize("lengths", [None, [7, 2, 4]], ids=["whole", "lengths"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["numpys.py:backward", "torches.py:backward", "numpys.py:Mine", "torches.py:Mine"])
def test_a_pass_by_hand_is_called_with_what_it_asks_for(mine, name, batch, lengths):
    prepared = prepared_of(batch=batch, lengths=lengths and lengths[:batch])
    found = backward(mine(name), prepared)
    assert found.h_n is not None
    assert apart(by_name(found), expected(prepared, upstream_of(prepared))) <= ROUNDINGS


def test_a_pass_by_hand_that_asks_for_lengths_gets_the_batch_at_once(mine):
    found = backward(mine("numpys.py:with_lengths"), prepared_of(lengths=[7, 2, 4]))
    assert bool((found.h0 == 3).all())
    assert found.output is None
    assert found.parameters == {}


def test_without_a_gradient_of_the_states_it_gets_zeros(mine):
    prepared = prepared_of()
    upstream = upstream_of(prepared, states=False)
    engine = backward_of(engines.find(mine("numpys.py:backward")))
    found = engine.backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)
    assert apart(by_name(found), expected(prepared, upstream)) <= ROUNDINGS


def test_a_pass_by_hand_runs_no_forward(mine):
    prepared = prepared_of()
    engine = engines.find(mine("numpys.py:backward"))
    with pytest.raises(
        EngineError,
        match=r"cannot run the forward pass: its first parameter is grad_output.*rnnspect check … --backward checks it",
    ):
        engine.run(prepared.spec, prepared.parameters, prepared.sequence)


def test_what_is_not_used_has_a_gradient_of_0_and_a_note(mine):
    found = backward(mine("tensors.py:one_bias"), prepared_of())
    assert not found.parameters["bias_hh_l0"].any()
    assert found.notes == ("by autograd the output does not depend on bias_hh_l0: the gradient is 0",)


@pytest.mark.parametrize("name", ["detached", "without"])
def test_a_graph_that_is_lost_is_said(mine, name):
    with pytest.raises(EngineError, match=r"its output does not depend on x by autograd; leave out \.detach"):
        backward(mine(f"tensors.py:{name}"), prepared_of())


@pytest.mark.parametrize("name", ["one_memory", "itself"])
def test_what_autograd_refuses_is_told_as_theirs(mine, name):
    with pytest.raises(
        InputError, match=rf"(the backward pass of {name}|{name}\(x_t, h, .*\)) failed with RuntimeError"
    ):
        backward(mine(f"tensors.py:{name}"), prepared_of())


def test_numpy_cannot_go_back_by_autograd(mine, tmp_path):
    (tmp_path / "loops.py").write_text("def step(x_t, h):\n    return h\n")
    with pytest.raises(EngineError, match=r"numpy arrays, which autograd cannot follow; import torch in its file, or"):
        backward(mine("loops.py:step"), prepared_of())


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("number", 'hostile.py:4: number returns a int; expected gradients by name, such as {"x": …'),
        ("asks", "hostile.py:5: asks asks for wieght_ih_l0"),
        ("asks", "did you mean 'weight_ih_l0'?"),
        ("a_step", "did you mean 'weight_ih_l0'?"),
        ("raises", "hostile.py:7: raises(grad_output, …) failed with ValueError: theirs"),
        ("no_x", "hostile.py:8: no_x returns no gradient of x, but h0; expected"),
        ("empty", "empty returns no gradient of x, but nothing"),
        ("misspelled", "a gradient of 'weigth_ih_l0'; expected output, h_n, x, h0, weight_ih_l0, "),
        ("misspelled", "did you mean 'weight_ih_l0'?"),
        ("upstream", "a gradient of 'grad.output'"),
        ("keyed", "a gradient of 5; expected"),
        ("narrow", "narrow returns x with shape (3, 2, 4); expected (3, 7, 4)"),
        ("twice", "the gradient of x twice; expected x or grad.x"),
        ("integers", "x with dtype int64; expected floating-point numbers"),
        ("nothing", "a NoneType for x"),
        ("unreadable", "reading what unreadable returns failed with RuntimeError: no items"),
        ("unnamed", "reading what unnamed returns failed with RuntimeError: no name"),
    ],
)
def test_what_is_wrong_is_told_as_theirs(mine, name, said):
    with pytest.raises(InputError) as caught:
        backward(mine(f"hostile.py:{name}"), prepared_of())
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


RECOMPUTES = """
import torch

def backward(grad_output, x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0):
    given = [v.detach().clone().requires_grad_() for v in (x, h0, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0)]
    x, h, w, u, b, c = given
    h, steps = h[0], []
    for t in range(x.shape[1]):
        h = torch.tanh(x[:, t] @ w.T + b + h @ u.T + c)
        steps.append(h)
    found = torch.autograd.grad((torch.stack(steps, 1) * grad_output).sum(), given)
    return dict(zip(("x", "h0", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), found))
"""


def test_a_pass_by_hand_that_needs_autograd_is_told_how_to_have_it(tmp_path):
    path = tmp_path / "recomputes.py"
    path.write_text(RECOMPUTES)
    with pytest.raises(InputError, match=r"does not require grad.*; it runs under torch\.no_grad\(\): put what needs"):
        backward(f"{path}:backward", prepared_of())
    path.write_text(RECOMPUTES.replace("def backward", "@torch.enable_grad()\ndef backward"))
    assert backward(f"{path}:backward", prepared_of()).x is not None


REENTRANT = """
import torch
from torch.utils.checkpoint import checkpoint

def step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    def inside(x_t, h):
        return torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)

    return checkpoint(inside, x_t, h, use_reentrant=True)
"""


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")
def test_a_checkpoint_that_autograd_cannot_use_is_told_what_to_change(tmp_path):
    path = tmp_path / "reentrant.py"
    path.write_text(REENTRANT)
    with pytest.raises(InputError, match=r"pass use_reentrant=False to torch\.utils\.checkpoint, or record"):
        backward(f"{path}:step", prepared_of())
    path.write_text(REENTRANT.replace("reentrant=True", "reentrant=False"))
    assert backward(f"{path}:step", prepared_of()).x is not None


def test_torch_is_as_it_was(mine):
    backward(mine("tensors.py:step"), prepared_of())
    assert torch.is_grad_enabled()
