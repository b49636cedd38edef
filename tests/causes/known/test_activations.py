"""Approximations of σ and tanh, written by hand in numpy, are named and told from one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnspect
from rnnspect.arithmetic.activations import allowed, plain
from rnnspect.arithmetic.bounded import KERNEL
from rnnspect.cells.functions import APPROXIMATIONS, Activation
from tests.causes.hooked import Hooks, Network, sigmoid, tanh
from tests.cells.test_examples import cell
from tests.marks import sampled

Array = Any
F = np.float32


def rational(s: Array) -> Array:
    y = s * (F(27) + s * s) / (F(27) + F(9) * s * s)
    return np.where(np.abs(s) > 3, np.sign(s), y).astype(F)


def plan(s: Array) -> Array:
    """As in the paper's table: X ≥ 5, 2.375 ≤ X < 5, 1 ≤ X < 2.375, 0 ≤ X < 1, and 1 − y for X < 0."""
    a = np.abs(s)
    y = np.select(
        [a >= 5, a >= 2.375, a >= 1],
        [np.ones_like(a), F(0.03125) * a + F(0.84375), F(0.125) * a + F(0.625)],
        F(0.25) * a + F(0.5),
    )
    return np.where(s < 0, F(1) - y, y).astype(F)


def table(f: Any, entries: int, interpolated: bool = False, below: bool = False) -> Any:
    at = np.linspace(-8, 8, entries)
    values = f(at.astype(np.float64)).astype(F)

    def looked_up(s: Array) -> Array:
        if interpolated:
            return np.interp(s, at, values).astype(F)
        place = (np.clip(s, -8, 8) + F(8)) * F((entries - 1) / 16)
        return values[(place if below else np.rint(place)).astype(int)]

    return looked_up


def exact_sigmoid(s: Array) -> Array:
    return 1 / (1 + np.exp(-s))


MADE: dict[str, tuple[Any, Any]] = {
    "clip(x, −1, 1)": (lambda s: np.clip(s, -1, 1), lambda s: F(0.5) * (np.clip(s / F(2), -1, 1) + F(1))),
    "x / (1 + |x|)": (lambda s: s / (F(1) + np.abs(s)), lambda s: F(0.5) + F(0.5) * s / (F(1) + np.abs(s))),
    "x / (1 + |x|), its σ of x / 2": (None, lambda s: F(0.5) + F(0.5) * s / (F(2) + np.abs(s))),
    "x (27 + x²) / (27 + 9 x²)": (rational, lambda s: F(0.5) + F(0.5) * rational(s / F(2))),
    "PLAN, piecewise linear": (lambda s: F(2) * plan(F(2) * s) - F(1), plan),
    "a table of 256 entries, the nearest": (table(np.tanh, 256, False), table(exact_sigmoid, 256, False)),
    "a table of 1024 entries, the nearest": (table(np.tanh, 1024, False), table(exact_sigmoid, 1024, False)),
    "a table of 256 entries, the one below": (table(np.tanh, 256, below=True), table(exact_sigmoid, 256, below=True)),
    "a table of 1024 entries, the one below": (
        table(np.tanh, 1024, below=True),
        table(exact_sigmoid, 1024, below=True),
    ),
    "a table of 256 entries, interpolated": (table(np.tanh, 256, True), table(exact_sigmoid, 256, True)),
    "a table of 1024 entries, interpolated": (table(np.tanh, 1024, True), table(exact_sigmoid, 1024, True)),
}
CASES = [(kind, function) for kind in ("gru", "lstm") for function in ("tanh", "sigmoid", "both")] + [("rnn", "tanh")]


@pytest.mark.each_value_once
@pytest.mark.parametrize(("kind", "function"), sampled(CASES, 3))
@pytest.mark.parametrize("how", sampled(MADE, 2))
@pytest.mark.parametrize(("layers", "directions"), sampled([(1, 1), (2, 2)], 2))
def test_an_approximation_is_named_and_no_other_is(
    kind: str, function: str, how: str, layers: int, directions: int
) -> None:
    of_tanh, of_sigmoid = MADE[how]
    if of_tanh is None and function != "sigmoid":
        of_tanh = MADE["x / (1 + |x|)"][0]
        how = "x / (1 + |x|)" if function == "tanh" else how
    hooks = Hooks(
        sigmoid=sigmoid if function == "tanh" else of_sigmoid, tanh=tanh if function == "sigmoid" else of_tanh
    )
    network = Network(kind, layers, directions, size=16)
    verdict = network.check(network.recorded(hooks))
    assert verdict.verdict == "differ"
    assert {cause.name for cause in verdict.causes} == {"activation-approximated"}
    causes = {(cause.parameters["function"], cause.parameters["how"]) for cause in verdict.causes}
    same = {(function, how)}
    if function == "tanh" and how == "x / (1 + |x|)":  # what tells these two apart is their σ
        same.add((function, "x / (1 + |x|), its σ of x / 2"))
    assert verdict.causes[0].left == ()
    if how == "a table of 1024 entries, interpolated":  # its σ errs by 3e-6 at most, as correct engines may
        assert same <= causes <= {(other, how) for other in ("tanh", "sigmoid", "both")}
        return
    assert causes == same
    assert len(verdict.causes[0].scope) == layers * directions


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize(
    ("hooks", "name"),
    [
        (Hooks(sigmoid=lambda s: np.clip(F(0.2) * s + F(0.5), 0, 1).astype(F)), "hard-sigmoid"),
        (Hooks(sigmoid=lambda s: np.clip(s / F(6) + F(0.5), 0, 1).astype(F)), "hard-sigmoid"),
        (Hooks(tanh=lambda s: np.maximum(s, 0)), "activation-relu"),
    ],
)
def test_other_functions_keep_their_names(kind: str, hooks: Hooks, name: str) -> None:
    network = Network(kind)
    verdict = network.check(network.recorded(hooks))
    assert [cause.name for cause in verdict.causes] == [name]


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("of", ["tanh", "squash"])
def test_relu_in_place_of_one_tanh_of_an_lstm(of: str, peepholes: bool) -> None:
    torch.manual_seed(0)
    p = {name: w.detach() for name, w in nn.LSTM(3, 4).named_parameters()}
    see = torch.randn(3, 4) * peepholes
    x, h, c, output = 2 * torch.randn(20, 2, 3), torch.zeros(2, 4), torch.zeros(2, 4), []
    for x_t in x:
        packed = x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"] + (h @ p["weight_hh_l0"].T + p["bias_hh_l0"])
        i, f, g, o = packed.chunk(4, -1)
        g = g.relu() if of == "tanh" else g.tanh()
        c = (f + see[1] * c).sigmoid() * c + (i + see[0] * c).sigmoid() * g
        h = (o + see[2] * c).sigmoid() * (c.relu() if of == "squash" else c.tanh())
        output.append(h)
    keys = {"peepholes": peepholes, "weights": p | ({"weight_ch_l0": see.flatten()} if peepholes else {})}
    spec = rnnspect.Spec(cell="lstm", input_size=3, hidden_size=4, batch_first=False, **keys)
    (cause,) = rnnspect.check(spec, x, recorded=torch.stack(output)).causes
    assert (cause.name, cause.parameters) == ("activation-relu", {"of": of})


@pytest.mark.parametrize(("meant", "made"), [("relu", torch.tanh), ("tanh", torch.relu)])
def test_the_chosen_function_of_a_cell_of_ones_own(meant: str, made: Any) -> None:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor, u: Tensor) -> Any:
        return made(x_t @ weight_ih.T + bias_ih + u * h)

    spec = rnnspect.Spec(cell=cell("indrnn"), nonlinearity=meant, input_size=3, hidden_size=4)
    assert [one.name for one in rnnspect.check(spec, "randn:60", engine=step).causes] == ["activation-relu"]


@pytest.mark.parametrize("name", APPROXIMATIONS)
@pytest.mark.parametrize("size", [1e-7, 1e-3, 0.3, 4.0])
def test_every_value_within_reach_is_inside_the_bound(name: str, size: float) -> None:
    """Against the functions above, in float32 as an engine has them, at points within s ± e."""
    f = Activation(name, 256.0 if "alpha" in APPROXIMATIONS[name].numbers else 0.0)
    if name == "softsign_sigmoid":
        f = Activation(name, 1.0)
    engine = {
        "hard_tanh": MADE["clip(x, −1, 1)"][0],
        "softsign_sigmoid": MADE["x / (1 + |x|)"][1],
        "rational_tanh": rational,
        "rational_sigmoid": MADE["x (27 + x²) / (27 + 9 x²)"][1],
        "plan_sigmoid": plan,
        "plan_tanh": MADE["PLAN, piecewise linear"][0],
        "nearest_tanh": MADE["a table of 256 entries, the nearest"][0],
        "nearest_sigmoid": MADE["a table of 256 entries, the nearest"][1],
        "floored_tanh": MADE["a table of 256 entries, the one below"][0],
        "floored_sigmoid": MADE["a table of 256 entries, the one below"][1],
        "interpolated_tanh": MADE["a table of 256 entries, interpolated"][0],
        "interpolated_sigmoid": MADE["a table of 256 entries, interpolated"][1],
    }[name]
    u, generator = 2.0**-24, torch.Generator().manual_seed(0)
    s = torch.randn(4000, generator=generator, dtype=torch.float64) * 3
    s[:9] = torch.tensor([0.0, 1.0, -1.0, 1.1875, 2.375, -2.375, 5.0, 8.0, -8.0], dtype=torch.float64)
    s[9:265] = torch.linspace(-8, 8, 256, dtype=torch.float64) + 8 / 255  # where the nearest entry is another
    e = torch.rand(4000, generator=generator, dtype=torch.float64) * size
    v, bound = allowed(f, None, s, e, KERNEL * u, u)
    assert torch.equal(v, plain(f, None)(s))
    reached = torch.zeros_like(s)
    for at in torch.linspace(-1, 1, 41, dtype=torch.float64):
        given = torch.from_numpy(np.asarray(engine((s + at * e).float().numpy()))).double()
        assert bool(((given - v).abs() <= bound).all()), s[((given - v).abs() - bound).argmax()]
        reached = torch.maximum(reached, (given - v).abs())
    tight = reached + KERNEL * u * (1 + s.abs()) * 3
    # next to a jump an interval may barely reach over it; a place in a table is of x + 8
    assert size > 1 or float((bound <= 3 * tight + 64 * u).double().mean()) > 0.9


@pytest.mark.parametrize(("asked", "made"), [(0.2, 1 / 6), (1 / 6, 0.2), (0.25, 1 / 6)])
def test_another_slope_of_hard_sigmoid_is_named(asked: float, made: float, tmp_path: Path) -> None:
    torch.manual_seed(0)
    p = {name: 0.6 * w.detach() for name, w in nn.GRU(3, 4).named_parameters()}
    torch.save(p, tmp_path / "p.pt")
    x, h, output = 3 * torch.randn(40, 1, 3), torch.zeros(1, 4), []
    for x_t in x:
        i = (x_t @ p["weight_ih_l0"].T + p["bias_ih_l0"]).chunk(3, -1)
        r, z, n = (h @ p["weight_hh_l0"].T + p["bias_hh_l0"]).chunk(3, -1)
        r, z = (((made * (a + b)) + 0.5).clamp(0, 1) for a, b in zip(i[:2], (r, z), strict=True))
        h = torch.lerp((i[2] + r * n).tanh(), h, z)
        output.append(h)
    keys = {"activations": [f"hard_sigmoid({asked}, 0.5)", "tanh"], "weights": str(tmp_path / "p.pt")}
    spec = rnnspect.Spec(cell="gru", input_size=3, hidden_size=4, batch_first=False, **keys)
    found = rnnspect.check(spec, x, recorded=torch.stack(output))
    (cause,) = found.causes
    told = ("hard-sigmoid", "x / 6 + 0.5") if made < 0.2 else ("activations-ignored", "alpha and beta")
    assert (cause.name, *cause.parameters.values()) == told


def test_softplus_may_be_straight_where_that_of_torch_is() -> None:
    s = torch.linspace(15, 40, 2000, dtype=torch.float64)
    value, bound = allowed(Activation("softplus"), None, s, torch.zeros_like(s), 0.0, 2.0**-53)
    assert bool(((torch.nn.functional.softplus(s) - value).abs() <= bound).all())
    assert bool((bound[s < 19] < 1e-13).all())
