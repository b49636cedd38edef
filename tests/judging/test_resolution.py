"""What a comparison would have seen of a gate, in cells whose gates are made of one product alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect
from rnnspect.arithmetic.hidden_calls import without_input
from rnnspect.cells import CELLS, Cell
from rnnspect.cells.functions import Functions
from rnnspect.judging.layer import LayerEquations
from rnnspect.judging.resolution import idle_gates
from rnnspect.network.parameters import LayerParameters
from rnnspect.tracing.prepare import prepare


def blind(a: Any, wx: Any, h: Any) -> dict[str, Any]:
    """n = tanh(W_in x + b_in); u = σ(W_hu h + b_hu); h' = u ⊙ h + (1 − u) ⊙ n"""
    x_n, _ = a.split(wx)
    _, h_u = a.split(a.hidden(h))
    n, u = a.tanh(x_n), a.sigmoid(h_u)
    return {"n": n, "u": u, "h": a.lerp(n, h, u)}


CELL = Cell("blind", "", ("n", "u"), ("h",), ("n", "u", "h"), ("sigmoid", "tanh"), blind)


def loop(share: float) -> Any:
    def step(x_t: Any, h: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        u = torch.sigmoid((h @ weight_hh.T + bias_hh).chunk(2, -1)[1]) * share
        return u * h + (1 - u) * torch.tanh((x_t @ weight_ih.T + bias_ih).chunk(2, -1)[0])

    return step


def test_the_gates_that_x_is_not_in() -> None:
    assert without_input(CELL) == (1,)
    assert [without_input(cell) for cell in CELLS.values()] == [()] * len(CELLS)


@pytest.mark.usefixtures("no_causes")
def test_an_error_of_a_gate_that_x_is_not_in_is_seen() -> None:
    """A run that is right is one that would have shown a wrong gate."""
    spec = rnnspect.Spec(cell=CELL, input_size=3, hidden_size=4)
    x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=loop(1.0)).verdict == "agree"
    assert rnnspect.check(spec, x, engine=loop(1.001)).verdict == "differ"


def with_an_idle_gate(a: Any, wx: Any, h: Any) -> dict[str, Any]:
    z, n, u = a.split(wx)
    z, u = a.sigmoid(z), a.sigmoid(u)
    return {"z": z, "n": n, "u": u, "h": a.lerp(n, h, z)}


IDLE = Cell(
    "idle", "", ("z", "n", "u"), ("h",), ("z", "n", "u", "h"), ("sigmoid",), with_an_idle_gate, is_recurrent=False
)


@pytest.mark.parametrize(
    ("of", "idle"),
    [(IDLE, [False, False, True]), (CELL, [False] * 2), ("gru", [False] * 3)],
    ids=["one that is not used", "one of h alone", "gru"],
)
def test_the_gates_that_make_no_difference(of: Cell | str, idle: list[bool]) -> None:
    """One that h alone goes into makes one."""
    spec = rnnspect.Spec(cell=of, input_size=3, hidden_size=4)
    p = LayerParameters.of(prepare(spec, "zeros:1").parameters, 0, "forward", spec)
    assert idle_gates(LayerEquations(spec.cell_type, p, None, Functions())).tolist() == idle


def with_a_gain(a: Any, wx: Any, _h: Any, c: Any) -> dict[str, Any]:
    """h = gain ⊙ tanh(c)"""
    f, v = a.split(wx)
    c = a.carry(a.sigmoid(f), c, v)
    return {"f": f, "v": v, "c": c, "h": a.parameter("gain") * a.tanh(c)}


@pytest.mark.slow
def test_with_the_mistake_that_h_is_a_parameter_alone() -> None:
    """Of the known mistakes one leaves tanh(c) out: h is then without rows."""
    gain, functions = ("gain", ("hidden_size",)), ("sigmoid", "tanh")
    cell = Cell(
        "gain", "", ("f", "v"), ("h", "c"), ("f", "v", "c", "h"), functions, with_a_gain, parameters=(gain,),
        is_recurrent=False,
    )  # fmt: skip

    def without_tanh(x_t: Any, state: Any, weight_ih: Any, bias_ih: Any, gain: Any) -> Any:
        f, v = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        c = torch.sigmoid(f) * state[1] + v
        return gain * c, c

    spec = rnnspect.Spec(cell=cell, input_size=5, hidden_size=4)
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    found = rnnspect.check(spec, x, engine=without_tanh)
    assert found.verdict == "differ"
    assert [cause.name for cause in found.causes] == ["line-function-left-out"]


def attention(a: Any, wx: Any, _h: Any, c: Any) -> dict[str, Any]:
    """q = exp(s_q), k = exp(s_k), S' = S + k vᵀ, n' = n + k, h' = S'ᵀ q / (n'ᵀ q): what is added to all of s_q
    cancels."""
    s_q, s_k, v = a.split(wx)
    q, k = a.exp(s_q), a.exp(s_k)
    s, n = a.blocks(c)
    s, n = s + a.outer(k, v), n + k
    read = a.by_key(s, q)
    share = a.spread(a.reciprocal(a.by_key(n, q)), read)
    return {"q": q, "k": k, "v": v, "c": a.packed(s, n), "h": read * share}


def attending(keys: int) -> tuple[Cell, Any]:
    cell = Cell(
        "attention", "", ("q", "k", "v"), ("h", "c"), ("q", "k", "v", "c", "h"), ("exp", "reciprocal"), attention,
        constants=(("d_k", keys),), sizes=(("q", ("d_k",)), ("k", ("d_k",))),
        cell_state=(("S", ("d_k", "hidden_size")), ("n", ("d_k",))), is_recurrent=False,
    )  # fmt: skip

    def step(x_t: Any, state: Any, weight_ih: Any, bias_ih: Any) -> Any:
        h, c = state
        q, k, v = (x_t @ weight_ih.T + bias_ih).split([keys, keys, h.shape[1]], -1)
        q, k = q.exp(), k.exp()
        s, n = c[:, :-keys].view(len(c), keys, -1) + k[:, :, None] * v[:, None], c[:, -keys:] + k
        return (q[:, None] @ s)[:, 0] / (q * n).sum(-1, keepdim=True), torch.cat([s.flatten(1), n], -1)

    return cell, step


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize(("keys", "verdict"), [(3, "agree"), (2, "agree"), (1, "cannot tell")])
def test_a_gate_of_which_only_what_all_its_units_share_cancels_is_seen(keys: int, verdict: str) -> None:
    """Of one key all of q cancels, so that nothing of it can be seen."""
    cell, step = attending(keys)
    spec = rnnspect.Spec(cell=cell, input_size=5, hidden_size=4)
    x = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=step, c0="randn").verdict == verdict


@pytest.mark.usefixtures("no_causes")
def test_a_gate_that_is_shut_everywhere_stays_unseen() -> None:
    """Also where its units reach every h through a product with a matrix."""

    def lines(a: Any, wx: Any, _h: Any) -> dict[str, Any]:
        k, v = a.split(wx)
        k = a.relu(k)
        return {"k": k, "v": v, "h": v + a.by_value(a.parameter("V"), k)}

    cell = Cell(
        "shut", "", ("k", "v"), ("h",), ("k", "v", "h"), ("relu",), lines, is_recurrent=False,
        parameters=(("V", ("hidden_size", "hidden_size")),),
    )  # fmt: skip

    def step(x_t: Any, h: Any, weight_ih: Any, bias_ih: Any, V: Any) -> Any:
        k, v = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        return v + torch.relu(k) @ V.T

    spec = rnnspect.Spec(cell=cell, input_size=5, hidden_size=4)
    weights = {name: w.clone() for name, w in prepare(spec, "zeros:1").parameters.items()}
    weights["weight_ih_l0"][:4], weights["bias_ih_l0"][:4] = 0, -0.1
    spec = spec.with_changes(weights={name: w.tolist() for name, w in weights.items()})
    x = torch.randn(30, 5, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=step).verdict == "cannot tell"
