"""Mistakes in the lines of cells of one's own, each planted in a loop in torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

import rnnspect
from rnnspect.engines.own.loading import load_cell
from tests.causes.own_cells import CARRYING, DECAYING, MINGRU
from tests.cells.loops import LOOPS
from tests.marks import sampled

GATED_DELTA = load_cell("examples/cells/gated_delta.py:gated_delta")
Function = Callable[[Tensor], Tensor]


def same(v: Tensor) -> Tensor:
    return v


def loop(
    plus: Function = softplus,
    of_a: Function = torch.exp,
    gate: Function = torch.sigmoid,
    tanh: Function = torch.tanh,
    rest: Function = lambda o: 1 - o,
    bias: float = 1.0,
    scale: float = 0.25,
    exchanged: bool = False,
    in_decays: Function = softplus,
) -> Callable[..., Tensor]:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor, A_log: Tensor, dt_bias: Tensor) -> Tensor:
        if exchanged:
            A_log, dt_bias = dt_bias, A_log
        d, n, o = (x_t @ weight_ih.T + bias_ih).chunk(3, -1)
        d, of_decays = plus(d + bias * dt_bias), in_decays(d + bias * dt_bias)
        return torch.exp(-of_a(A_log) * (d if in_decays is softplus else of_decays)) * h + scale * d * rest(
            gate(o)
        ) * tanh(n)

    return step


PLANTED = {
    "softplus left out": (loop(plus=same), "line-function-left-out", "softplus"),
    "softplus left out in one place": (loop(in_decays=same), "line-function-left-out", "softplus"),
    "A_log read as A": (loop(of_a=same), "line-function-left-out", "exp"),
    "no gate": (loop(gate=same), "line-function-left-out", "sigmoid"),
    "tanh for a gate": (loop(gate=torch.tanh), "line-function-other", "sigmoid"),
    "a gate for tanh": (loop(tanh=torch.sigmoid), "line-function-other", "tanh"),
    "o in place of 1 - o": (loop(rest=same), "line-rest-left-out", "rest"),
    "dt bias left out": (loop(bias=0.0), "line-parameter-left-out", None),
    "scale left out": (loop(scale=1.0), "line-constant", None),
    "scale turned": (loop(scale=-0.25), "line-constant", None),
    "parameters exchanged": (loop(exchanged=True), "line-parameters-exchanged", None),
}


@pytest.mark.parametrize("name", sampled(PLANTED, 2))
def test_each_is_told_first(name: str) -> None:
    step, cause, operation = PLANTED[name]
    spec = rnnspect.Spec(cell=DECAYING, input_size=3, hidden_size=4)
    assert rnnspect.check(spec, "randn:40", engine=loop()).agrees
    found = rnnspect.check(spec, "randn:40", engine=step)
    assert found.verdict == "differ"
    assert found.causes[0].name == cause
    assert found.causes[0].parameters.get("operation") == operation
    if operation:
        assert "own_cells.py:" + found.causes[0].parameters["place"] in found.causes[0].fix


def test_a_share_that_goes_to_the_other_side() -> None:
    spec = rnnspect.Spec(cell=MINGRU, input_size=3, hidden_size=4)
    found = rnnspect.check(spec, "randn:40", engine=LOOPS["mingru"](True))
    assert found.causes[0].name == "line-lerp-turned"


SHARES: dict[str, tuple[str, str, Callable[[Tensor, Tensor, Tensor], Tensor]]] = {
    "1 - z twice": ("line-rest-left-out", "1 − z weighs both", lambda s, n, h: (1 - s.sigmoid()) * (n + h)),
    "z twice": ("line-rest-left-out", "z weighs both", lambda s, n, h: s.sigmoid() * (n + h)),
    "n without σ": ("line-function-left-out", "the share z", lambda s, n, h: s * n + (1 - s.sigmoid()) * h),
    "h without σ": ("line-function-left-out", "the share 1 − z", lambda s, n, h: s.sigmoid() * n + (1 - s) * h),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("said", SHARES)
def test_a_share_of_one_side_that_is_wrong(said: str, dtype: str) -> None:
    """Of h' = (1 − z) ⊙ h + z ⊙ n."""
    name, words, mix = SHARES[said]

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        s, n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        return mix(s, n, h)

    spec = rnnspect.Spec(cell=MINGRU, input_size=3, hidden_size=4, dtype=dtype)
    first = rnnspect.check(spec, "randn:12", engine=step).causes[0]
    assert first.name == name
    assert words in first.explanation


def test_a_gate_that_carries_the_other_way_round() -> None:
    def step(x_t: Tensor, state: tuple[Tensor, Tensor], weight_ih: Tensor, bias_ih: Tensor) -> tuple[Tensor, Tensor]:
        f, n, o = (x_t @ weight_ih.T + bias_ih).chunk(3, -1)
        f = f.sigmoid()
        c = (1 - f) * state[1] + (1 - f) * n.tanh()
        return o.sigmoid() * c, c

    spec = rnnspect.Spec(cell=CARRYING, input_size=3, hidden_size=4)
    assert rnnspect.check(spec, "randn:40", c0="randn", engine=step).causes[0].name == "line-carry-turned"


EARLY = {
    "the step before": ("line-state-read-early", lambda c, _f, _v: c),
    "without its diagonal": ("line-state-read-early", lambda c, f, _v: f * c),
    "lacks the step's own decay": ("decay-own-step", lambda c, _f, v: c + v),
}


@pytest.mark.parametrize("said", EARLY)
def test_a_state_that_is_read_before_it_is_new(said: str) -> None:
    """The state that goes on is right. Read is the one before, or it without what the step adds, or its decay."""
    name, read = EARLY[said]

    def step(x_t: Tensor, state: tuple[Tensor, Tensor], weight_ih: Tensor, bias_ih: Tensor) -> tuple[Tensor, Tensor]:
        f, n, o = (x_t @ weight_ih.T + bias_ih).chunk(3, -1)
        f, n = f.sigmoid(), (1 - f.sigmoid()) * n.tanh()
        return o.sigmoid() * read(state[1], f, n), f * state[1] + n

    spec = rnnspect.Spec(cell=CARRYING, input_size=3, hidden_size=4)
    found = rnnspect.check(spec, "randn:40", engine=step)
    assert [one.name for one in found.causes] == [name]
    assert said in found.causes[0].explanation


@pytest.mark.slow
def test_a_matrix_that_is_read_before_the_delta_rule_changed_it() -> None:
    right, spec = LOOPS["gated_delta"](False), rnnspect.Spec(cell=GATED_DELTA, input_size=3, hidden_size=4)

    def step(
        x_t: Tensor, state: tuple[Tensor, Tensor], weight_ih: Tensor, bias_ih: Tensor, A_log: Tensor, dt_bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        _, new = right(x_t, state, weight_ih, bias_ih, A_log, dt_bias)
        q = (x_t @ weight_ih.T + bias_ih)[:, :8].unflatten(-1, (2, 4))
        return (state[1].unflatten(-1, (2, 4, 2)) * q[..., None]).sum(-2).flatten(-2) / 2, new

    found = rnnspect.check(spec, "randn:40", engine=step)
    assert [one.name for one in found.causes] == ["line-state-read-early"]


def test_the_built_in_cells_have_their_own_catalogue() -> None:
    def gru(x_t: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor) -> Tensor:
        r, z, n = (x_t @ weight_ih.T + bias_ih).chunk(3, -1)
        h_r, h_z, h_n = (h @ weight_hh.T + bias_hh).chunk(3, -1)
        r, z = (r + h_r).sigmoid(), (z + h_z).sigmoid()
        return z * (n + r * h_n).tanh() + (1 - z) * h

    found = rnnspect.check(rnnspect.Spec(cell="gru", input_size=3, hidden_size=4), "randn:40", engine=gru)
    assert [one.name for one in found.causes] == ["gru-mix-flipped"]
