"""A cell that torch.nn has not: its equations are all that it takes, with a number of its own from the spec."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.expression import Expression
from rnnspect.arithmetic.numbers import Numbers, SmallNumbers
from rnnspect.arithmetic.recorder import Recorder
from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.cells import CELLS
from rnnspect.cells.functions import Functions
from rnnspect.cells.interface import Cell
from rnnspect.cli import main
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec_keys import KEYS, Key
from rnnspect.tracing.gradient_reach import carried_as
from rnnspect.tracing.prepare import prepare

STEP = """
import numpy as np

def step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    wx_f, wx_n = np.split(x_t @ weight_ih.T + bias_ih, 2, -1)
    w_f, w_n = np.split(weight_hh, 2)
    b_f, b_n = np.split(bias_hh, 2)
    f = sigmoid(wx_f + h @ w_f.T + b_f)
    n = np.tanh(wx_n + WRONG * (f * h) @ w_n.T + b_n)
    return (1 - f) * h + f * n
"""


def minimal(a: Any, wx: Any, h: Any) -> dict[str, Any]:
    """The minimal gated unit (Zhou et al. 2016, arXiv 1603.09420), with f before the product."""
    wx_f, wx_n = a.split(wx)
    wh_f, _ = a.split(a.hidden(h))
    f = a.sigmoid(wx_f + wh_f)
    _, wh_n = a.split(a.hidden(f * h))
    n = a.tanh(wx_n + wh_n)
    return {"f": f, "n": n, "h": a.lerp(h, n, f)}


@pytest.fixture
def _mgu(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("mgu", "", ("f", "n"), ("h",), ("f", "n", "h"), ("sigmoid", "tanh"), minimal, mixes=True)
    monkeypatch.setitem(CELLS, "mgu", cell)


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
@pytest.mark.usefixtures("_mgu")
def test_every_command_has_it(tmp_path: Any, capsys: Any) -> None:
    spec = ["--cell", "mgu", "--hidden-size", "3", "--input", "randn:6"]
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(STEP.replace("WRONG", "1"))
    wrong.write_text(STEP.replace("WRONG", "1.5"))
    assert main(["shapes", *spec]) == 0
    assert "MGU(5, 3" in capsys.readouterr().out
    assert main(["trace", *spec, "--engine", f"{right}:step"]) == 0
    assert main(["derive", *spec, "--engine", f"{right}:step", "--step", "2", "--unit", "1"]) == 0
    assert main(["check", *spec, "--engine", f"{right}:step"]) in (0, 3)
    capsys.readouterr()
    assert main(["check", *spec, "--engine", f"{wrong}:step"]) == 1
    assert "does not match this MGU" in capsys.readouterr().out
    assert main(["run", *spec]) == 0
    assert "computed by the equations, in float32; no framework ran" in capsys.readouterr().out
    assert main(["check", *spec]) == 2
    assert "torch.nn has no MGU; give your implementation, --engine" in capsys.readouterr().err
    assert main(["check", *spec, "--engine", "all"]) == 3  # none of them has it: each is left out with the reason
    assert "no such cell" in capsys.readouterr().out


@pytest.mark.usefixtures("_mgu")
def test_live_modules_are_what_they_were() -> None:
    assert rnnspect.shapes(torch.nn.LSTM(3, 4)).spec.cell == "lstm"
    assert rnnspect.check(torch.nn.GRU(3, 4), torch.randn(5, 3)).verdict == "agree"


def scaled(a: Any, wx: Any, h: Any) -> dict[str, Any]:
    (s,) = a.gates(wx, h)
    return {"h": a.constant("scale") * a.phi(s)}


def test_a_number_of_the_spec_is_in_its_equations_in_every_arithmetic() -> None:
    """Held to numpy in float64; in float32 a product, a sum, tanh and the scale round within 8 units of 2⁻²⁴ here."""
    drawn = np.random.default_rng(0)
    w_ih, w_hh, b, x, h = (drawn.normal(size=size) for size in ((3, 2), (3, 3), 3, (4, 1, 2), (4, 1, 3)))
    wanted = 0.25 * np.tanh(x @ w_ih.T + h @ w_hh.T + b)
    functions = Functions(constants=(("scale", 0.25),))
    p = LayerParameters(*(torch.from_numpy(a).float() for a in (w_ih, w_hh)), torch.from_numpy(b).float(), None, None)
    x32, h32 = (torch.from_numpy(a).float() for a in (x, h))
    wx = torch.nn.functional.linear(x32, p.weight_ih, p.bias_ih)
    for arithmetic in (Numbers(p, 1, functions), SmallNumbers(p, 1, functions)):
        got = [
            arithmetic.given(scaled(arithmetic, u, v)["h"])
            for u, v in zip(*map(arithmetic.taken, (wx, h32)), strict=True)
        ]
        np.testing.assert_allclose(torch.stack(got).numpy(), wanted, atol=8 * 2.0**-24)
    bounded = Bounded(p, 1, SINGLE, functions)
    found = scaled(bounded, bounded.input(x32), bounded.observed(h32))["h"]
    assert bool(((found.v.double() - torch.from_numpy(wanted)).abs() <= found.e).all())
    recorder = Recorder(p, 1, functions, "_l0")
    given = (Expression("given", name=name) for name in "xh")
    assert "0.25" in str(scaled(recorder, recorder.input(next(given)), next(given))["h"])


class LeakySpec(rnnspect.Spec):
    leak: float = 0.5


def test_a_key_of_the_spec_is_the_constant_of_that_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its own cell alone: another cell's constant of that name is what it is."""

    def leaky(a: Any, wx: Any, h: Any) -> dict[str, Any]:
        (s,) = a.gates(wx, h)
        return {"h": h + a.constant("leak") * (a.phi(s) - h)}

    for name in ("leaky", "other"):
        constants = (("leak", 0.5), ("of the file", 3.0))
        cell = Cell(name, "", ("s",), ("h",), ("h",), ("phi",), leaky, constants=constants)
        monkeypatch.setitem(CELLS, name, cell)
    monkeypatch.setitem(KEYS, "leak", Key("variant", "how much", cell="leaky"))
    specs = LeakySpec(cell="leaky", leak=0.25), LeakySpec(cell="other")
    asked = [spec.nonlinearity_of("forward") for spec in specs]
    assert [of.constants for of in asked if isinstance(of, Functions)] == [
        (("leak", 0.25), ("of the file", 3.0)),
        (("leak", 0.5), ("of the file", 3.0)),
    ]


@pytest.mark.usefixtures("_mgu")
def test_its_gradients_are_those_of_autograd(capsys: Any) -> None:
    """Of the same cell in torch's operations, in float64: some hundred roundings of 1e-16."""
    spec = rnnspect.Spec(cell="mgu", input_size=2, hidden_size=3, dtype="float64")
    run = prepare(spec, "randn:6", "randn")
    found = rnnspect.gradients(spec, run.sequence.x[:, 0], run.sequence.h0[:, 0], loss="last")
    x = run.sequence.x.clone().requires_grad_()
    p = {name: values.clone().requires_grad_() for name, values in run.parameters.items()}
    h = run.sequence.h0[0]
    for x_t in x:
        wx_f, wx_n = torch.nn.functional.linear(x_t, p["weight_ih_l0"], p["bias_ih_l0"]).chunk(2, -1)
        w_f, w_n = p["weight_hh_l0"].chunk(2)
        b_f, b_n = p["bias_hh_l0"].chunk(2)
        f = torch.sigmoid(wx_f + h @ w_f.T + b_f)
        h = (1 - f) * h + f * torch.tanh(wx_n + (f * h) @ w_n.T + b_n)
    h.sum().backward()
    for name, one in p.items():
        assert torch.allclose(found.parameters[name].gradient.manual, one.grad, rtol=1e-11, atol=1e-13), name
    assert torch.allclose(found.x.manual[0], x.grad[:, 0], rtol=1e-11, atol=1e-13)
    assert [path.name for path in found.layers[0].reach.paths] == ["h itself", "W_hh"]
    assert carried_as(("h' = (1 − f) ⊙ h + f ⊙ n",)) == "(1 − f) ⊙ h"
    assert main(["trace", "--backward", "--cell", "mgu", "--hidden-size", "3", "--input", "randn:6"]) == 0
    assert "dL/ds_n" in capsys.readouterr().out


@pytest.mark.usefixtures("_mgu")
def test_its_gradients_are_proved(tmp_path: Any, capsys: Any) -> None:
    """By somebody's step in torch, under autograd: of its own gates, at every step."""
    step = """
import torch

def step(x_t, h, weight_ih, weight_hh, bias_ih, bias_hh):
    (wx_f, wx_n), (w_f, w_n) = (x_t @ weight_ih.T + bias_ih).chunk(2, -1), weight_hh.chunk(2)
    b_f, b_n = bias_hh.chunk(2)
    f = torch.sigmoid(wx_f + h @ w_f.T + b_f)
    n = torch.tanh(wx_n + (WRONG * h) @ w_n.T + b_n)
    return (1 - f) * h + f * n
"""
    right, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    right.write_text(step.replace("WRONG", "f"))
    wrong.write_text(step.replace("WRONG", "f.detach()"))
    command = ["check", "--cell", "mgu", "--hidden-size", "3", "--input", "randn:30", "--backward", "-f", "json"]
    assert main([*command, "--engine", f"{right}:step"]) == 0
    capsys.readouterr()
    assert main([*command, "--engine", f"{wrong}:step"]) == 1
    assert '"quantity": "grad.f_pre"' in capsys.readouterr().out
