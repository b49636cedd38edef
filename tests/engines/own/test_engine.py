"""--engine path/to/mine.py:MyLSTM, through the command line."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest

import rnnspect

pytestmark = pytest.mark.usefixtures("no_causes")

EXAMPLES = Path(__file__).parents[3] / "examples/cells"
STATES = ["--batch", 3, "-i", "randn:6", "--h0", "randn", "--c0", "randn"]
NETWORK = ["--cell", "lstm", "--num-layers", 2, "--bidirectional", *STATES]
ONE = ["--cell", "lstm", "--hidden-size", 4, *STATES]

NUMPY = """
import numpy as np

def sigmoid(v):
    return 1 / (1 + np.exp(-v))

def step(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh):
    h, c = state
    i, f, g, o = np.split(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c

def exchanged(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh):
    h, c = state
    f, i, g, o = np.split(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh, 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c

def single(x_t, state, weight_ih_l0, weight_hh_l0, parameters):
    return step(x_t, state, weight_ih_l0, weight_hh_l0, parameters["bias_ih_l0"], parameters["bias_hh_l0"])

class Sequence:
    def __init__(self, parameters, hidden_size):
        self.p = parameters

    def __call__(self, x, state):
        print("not into the result")
        h, c = state[0][0], state[1][0]
        y = []
        for t in range(x.shape[1]):
            p = (self.p[name] for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"))
            h, c = step(x[:, t], (h, c), *p)
            y.append(h)
        return np.stack(y, 1), (h[None], c[None])

def raises(x_t, state):
    return state[0] @ np.ones(
        77)

def short(x_t, state):
    return state[0]

def narrow(x_t, state):
    return state[0][:, :1], state[1]

def text(x, state):
    return "text"

def asks(x_t, state, weigth_ih):
    return state

number = 5

H, C = np.empty((3, 4), np.float32), np.empty((3, 4), np.float32)

def streaming(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh):
    H[...], C[...] = step(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh)
    return H, C
"""
TORCH = """
from torch import nn

class Mine(nn.Module):
    def __init__(self, input_size, hidden_size, num_layers, bidirectional):
        super().__init__()
        self.rnn = nn.LSTM(input_size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=True)

    def forward(self, x, state):
        return self.rnn(x, state)

class Cell(nn.LSTMCell):
    def __init__(self, input_size, hidden_size):
        super().__init__(input_size, hidden_size)

    def forward(self, x_t, state):
        return super().forward(x_t, state)

class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(7, 2), nn.LSTM(2, 3)

    def forward(self, x, state):
        return self.rnn(self.embedding(x), state)

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(77, 3)

    def forward(self, x_t, state):
        return self.cell(x_t, state)

import torch

H, C = torch.empty(3, 4), torch.empty(3, 4)

def streaming(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh):
    h, c = torch.lstm_cell(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh)
    return H.copy_(h), C.copy_(c)
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "loops.py").write_text(NUMPY)
    (tmp_path / "modules.py").write_text(TORCH)
    return lambda name: tmp_path / name


@pytest.mark.parametrize("lengths", [[], ["--lengths", "6,2,4"]], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", ["loops.py:step", "modules.py:Cell", "modules.py:Mine"])
def test_a_right_one_agrees_in_every_layer_and_direction(rnnspect, mine, name, lengths):
    result = rnnspect("check", *NETWORK, *lengths, "--engine", mine(name))
    assert (result.status, result.err) == (0, "")
    assert f"{name}, float32" in result.out


@pytest.mark.parametrize("name", ["loops.py:single", "loops.py:Sequence"])
def test_one_layer_is_enough_for_some(rnnspect, mine, name):
    result = rnnspect("check", *ONE, "--lengths", "6,2,4", "--engine", mine(name))
    assert result.status == 0
    assert "not into the result" not in result.out


@pytest.mark.parametrize("name", ["loops.py:streaming", "modules.py:streaming"])
def test_one_that_writes_every_step_into_the_same_memory(rnnspect, mine, name):
    assert rnnspect("check", *ONE, "--engine", mine(name)).status == 0


def test_a_wrong_one_differs_at_the_first_step(rnnspect, mine):
    result = rnnspect("check", *NETWORK, "--engine", mine("loops.py:exchanged"), "--format", "json")
    assert result.status == 1
    first = json.loads(result.out)["first"]
    assert (first["layer"], first["direction"], first["step"]) == (0, "forward", 0)


def test_a_sequence_shows_its_top_layer_alone(rnnspect, mine):
    result = rnnspect("trace", *NETWORK, "--engine", mine("modules.py:Mine"), "--format", "json")
    layers = json.loads(result.out)["layers"]
    assert [list(layer["engine"]) for layer in layers] == [[], [], ["h"], ["h"]]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("loops.py:raises", "loops.py:37: raises(x_t, state) failed with ValueError"),
        ("loops.py:short", "short returns 1 value for a step; expected the new state (h, c)"),
        ("loops.py:narrow", "narrow returns h with shape (3, 1); expected (3, 2)"),
        ("loops.py:text", "text returns a str for a sequence; expected (output, (h_n, c_n))"),
        ("loops.py:asks", "did you mean 'weight_ih'?"),
        ("loops.py:number", "a int; expected a function or a class"),
        ("loops.py:nothing", "this file has no 'nothing'"),
        ("loops.py:single", "computes a step and asks for weight_hh_l0, weight_ih_l0"),
        ("modules.py:Wide", "Wide has a parameter cell.weight_ih of shape (12, 77)"),
        ("modules.py:Whole", "a whole model is not an engine; check it as it is: rnnspect check "),
        ("none.py:step", "no such file"),
    ],
)
def test_what_cannot_be_called_is_one_line(rnnspect, mine, name, said):
    result = rnnspect("check", *NETWORK, "--engine", mine(name))
    assert result.status == 2
    assert said in result.err
    assert len(result.err.splitlines()) == 1
    assert result.out == ""


def test_numpy_has_no_bfloat16(rnnspect, mine):
    result = rnnspect("check", *ONE, "--dtype", "bfloat16", "--engine", mine("loops.py:step"))
    assert result.status == 2
    assert "cannot run bfloat16 on cpu: it computes with numpy arrays; import torch in its file" in result.err


OF_A_STEP = "(x_t, state, weight_ih, weight_hh, bias_ih, bias_hh) for a step"
OF_A_SEQUENCE = "(x, state, weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0) for a whole sequence"


@pytest.mark.parametrize(
    ("signature", "expected", "said"),
    [
        (
            "x_t, h, c, weight_ih, weight_hh, bias_ih, bias_hh",
            OF_A_STEP,
            "an LSTM's state is one argument: h, c = state",
        ),
        ("x_t, state, weight_ih, weight_hh, bias", OF_A_STEP, "one bias is their sum: bias = bias_ih + bias_hh"),
        ("x, h, c, W, U, b", OF_A_SEQUENCE, "h0, c0 = state; one bias is their sum: b = bias_ih_l0 + bias_hh_l0"),
    ],
)
def test_code_that_asks_as_a_book_writes_it(rnnspect, tmp_path, signature, expected, said):
    (tmp_path / "book.py").write_text(f"def step({signature}):\n    return h\n")
    result = rnnspect("check", "--cell", "lstm", "--engine", f"{tmp_path / 'book.py'}:step")
    assert result.status == 2
    assert f"expected {expected}" in result.err
    assert result.err.endswith(f"{said}\n")


@pytest.mark.parametrize(
    ("cell", "signature", "said"),
    [
        (
            "retnet",
            "x_t, h, c, weight_ih",
            "step asks for c; expected (x_t, state, weight_ih, bias_ih, theta) for a step; "
            "the state of RETNET is one argument: h, c = state",
        ),
        (
            "gated_delta",
            "x, h0, c0, weight_ih_l0",
            "step asks for c0; expected (x, state, weight_ih_l0, bias_ih_l0, A_log_l0, dt_bias_l0) for a whole "
            "sequence; a step calls its first parameter x_t; the state of GATED_DELTA is one argument: h0, c0 = state",
        ),
        (
            "mingru",
            "x_t, h, c",
            "step asks for c; expected (x_t, h, weight_ih, bias_ih) for a step; the state of MINGRU is h alone",
        ),
    ],
)
def test_what_may_be_asked_for_is_what_the_cell_has(rnnspect, tmp_path, cell, signature, said):
    (tmp_path / "port.py").write_text(f"def step({signature}):\n    return h\n")
    own = f"{EXAMPLES / cell}.py:{cell}"
    result = rnnspect("check", "--cell", own, "--engine", f"{tmp_path / 'port.py'}:step", "--hidden-size", "4")
    assert result.status == 2
    assert result.err.endswith(f"{said}\n")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("lstm", "step returns a tuple of 3 for a sequence; expected (output, (h_n, c_n))"),
        ("gru", "step returns a tuple of 3 for a sequence; expected (output, h_n)"),
    ],
)
def test_three_values_for_a_sequence(rnnspect, tmp_path, cell, said):
    (tmp_path / "port.py").write_text("def step(x, state):\n    return x, state, state\n")
    result = rnnspect("check", "--cell", cell, "--engine", f"{tmp_path / 'port.py'}:step")
    assert result.err.endswith(f"{said}\n")


@pytest.mark.parametrize(
    "code",
    ["def lstm(x):\n    return x", "import torch\nclass lstm(torch.nn.Module):\n    def forward(self, x): return x"],
)
def test_code_that_takes_no_state(rnnspect, tmp_path, code):
    (tmp_path / "port.py").write_text(code)
    result = rnnspect("check", "--cell", "lstm", "--engine", f"{tmp_path / 'port.py'}:lstm")
    assert result.status == 2
    assert "lstm takes x alone, and no state; write lstm(x, state): x is (batch, step, feature)" in result.err
    assert "state is (h0, c0), and it returns (output, (h_n, c_n))" in result.err
    assert result.err.endswith("or check what it gave: --recorded y.npy\n")
    (tmp_path / "port.py").write_text("def lstm(x, *rest):\n    1 / 0\n")
    assert "ZeroDivisionError" in rnnspect("check", "--engine", f"{tmp_path / 'port.py'}:lstm").err


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ("x, weight_ih_l0, weight_hh_l0", "weight_ih_l0 where the state is given; expected (x, state, weight_ih_l0, "),
        ("x, lengths=None", "lengths where the state is given; expected (x, state, weight_ih_l0, "),
        ("x_t, bias_ih, weight_ih", "bias_ih where the state is given; expected (x_t, state, weight_ih, "),
        ("weight_ih_l0, x, state", "weight_ih_l0 where x is given; expected (x, state, weight_ih_l0, "),
    ],
)
def test_x_and_the_state_come_first(rnnspect, tmp_path, signature, said):
    (tmp_path / "port.py").write_text(f"def lstm({signature}):\n    1 / 0\n")
    result = rnnspect("check", "--cell", "lstm", "--engine", f"{tmp_path / 'port.py'}:lstm")
    assert result.status == 2
    assert f"port.py:1: lstm takes {said}" in result.err
    named = (
        "def lstm(x, state, *, weight_ih_l0, **others):\n    assert weight_ih_l0.shape and len(state) == 2\n    1 / 0"
    )
    (tmp_path / "port.py").write_text(named)
    assert "ZeroDivisionError" in rnnspect("check", "--cell", "lstm", "--engine", f"{tmp_path / 'port.py'}:lstm").err


def test_a_step_that_gives_nan_is_told_in_words(rnnspect, tmp_path):
    (tmp_path / "port.py").write_text("import numpy as np\ndef step(x_t, h):\n    return h * np.nan\n")
    result = rnnspect("check", "--cell", "gru", "-i", "randn:6", "--engine", f"{tmp_path / 'port.py'}:step")
    assert result.status == 1
    assert "got nan" in result.out
    assert "not a number; a difference of " in result.out
    assert "cannot be checked, as they follow from one that is not finite" in " ".join(result.out.split())
    assert "alone" not in result.out


STEP = """
def step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    i, r = (x_t @ weight_ih.T + bias_ih).chunk(3, -1), (h @ weight_hh.T + bias_hh).chunk(3, -1)
    n = (i[2] + (i[0] + r[0]).sigmoid() * r[2]).tanh()
    return n + (i[1] + r[1]).sigmoid() * (h - n)
"""


@pytest.mark.parametrize("line", ["import math, torch", "from torch import Tensor", "import torch as t"])
def test_what_imports_torch_is_given_tensors_wherever_it_was_made(line, tmp_path):
    (tmp_path / "mine.py").write_text(f"{line}\n{STEP}")
    made = {}
    exec((tmp_path / "mine.py").read_text(), made)
    spec = rnnspect.Spec(cell="gru", input="randn:5")
    for engine in (made["step"], functools.partial(made["step"]), f"{tmp_path / 'mine.py'}:step"):
        assert rnnspect.check(spec, engine=engine, explain=0).verdict != "differ"


CLASS = """
import torch

class Mine:
    def __init__(self, weight_ih, weight_hh, bias_ih, bias_hh):
        self.p = weight_ih, weight_hh, bias_ih, bias_hh

    def __call__(self, x_t, h):
        weight_ih, weight_hh, bias_ih, bias_hh = self.p
        return torch.tanh(x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)

def forward(x, h0, weight_ih, weight_hh, bias_ih, bias_hh):
    step, h, output = Mine(weight_ih, weight_hh, bias_ih, bias_hh), h0[0], [None] * x.shape[1]
    x = x + 0.01 * (x - x.detach())
    for t in reversed(range(x.shape[1])):
        output[t] = h = step(x[:, t], h)
    return torch.stack(output, 1), h[None]
"""


def test_a_class_that_runs_in_reverse_is_given_the_parameters_of_that(rnnspect, tmp_path):
    (tmp_path / "mine.py").write_text(CLASS)
    network = ["--cell", "rnn", "--input-size", 2, "--hidden-size", 5, "--reverse", "--format", "json"]
    assert rnnspect("check", *network, "--engine", f"{tmp_path / 'mine.py'}:Mine").status == 0
    wrong = rnnspect("check", *network, "--engine", f"{tmp_path / 'mine.py'}:forward", "--backward")
    assert wrong.status == 1
    found = json.loads(wrong.out)
    assert found["first"]["quantity"] == "grad.x"
    assert {found[point]["direction"] for point in ("first", "worst")} == {"reverse"}
