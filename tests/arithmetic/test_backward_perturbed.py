"""The replicas of a free pass backwards move as far as the derivatives of correct engines lie apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from rnnspect import Spec
from rnnspect.arithmetic.activations import plain
from rnnspect.arithmetic.backward_perturbed import BackwardPerturbed
from rnnspect.arithmetic.perturbed import RUNS
from rnnspect.arithmetic.roundoff import ROUNDOFF, SINGLE
from rnnspect.arithmetic.slopes import spread as slopes_within
from rnnspect.judging.backward.replicas import spread
from rnnspect.judging.layer import cast
from rnnspect.network.parameters import LayerParameters, parameters_of

Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]
F = np.float32

FORMULAS: dict[str, Formula] = {
    "softsign": lambda s, _v: 1 / (1 + np.abs(s)) - np.abs(s) / (1 + np.abs(s)) / (1 + np.abs(s)),
    "elu(0.5)": lambda s, v: np.where(s < 0, v + F(0.5), F(1)),
    "scaled_tanh(1.5,0.7)": lambda _s, v: F(1.05) * (1 - (v / F(1.5)) ** 2),
    "softplus": lambda _s, v: 1 - np.exp(-v),
    "tanh": lambda _s, v: 1 - v * v,
    "sigmoid": lambda _s, v: v - v * v,
}
"""How engines take the derivative, in float32, of s and of what the function gave."""


@pytest.mark.parametrize("clip", [None, 500.0])
@pytest.mark.parametrize("size", [1, 7, 200])
@pytest.mark.parametrize("written", FORMULAS)
def test_a_derivative_that_is_a_difference_is_known_to_the_size_of_what_it_is_made_of(
    written: str, size: int, clip: float | None
) -> None:
    """All units are about as large: how far one is off is at least what is usual among them."""
    spec = Spec(cell="rnn", input_size=1, hidden_size=64, activations=[written], clip=clip)
    p = {one.name: torch.zeros(one.shape) for one in parameters_of(spec)}
    layer = cast(LayerParameters.of(p, 0, "forward", spec), torch.float64)
    a = BackwardPerturbed([layer], 1, spec.nonlinearity_of("forward"), SINGLE, 1)
    s = np.tile(np.concatenate([way * size * np.linspace(1, 1.1, 32) for way in (-1, 1)]), (1, RUNS, 1))
    f = a.functions.named("phi")
    a.begin_step()
    v = a.phi(s)
    exact, error = spread(torch.from_numpy(a.slope("phi", s, v))[0])
    narrow = s[0, 0].astype(F)
    theirs = FORMULAS[written](narrow, plain(f, clip)(torch.from_numpy(narrow)).numpy())
    off = np.abs(theirs.astype(np.float64) - exact.numpy())
    assert (off <= error.numpy()).all(), (off / error.numpy()).max()
    assert float(error.max()) < 128 * SINGLE.stored * max(1.05, float(exact.abs().max()))


@pytest.mark.parametrize(("written", "slopes"), [("elu(0.5)", (0.5, 1.0)), ("relu", (0.0, 1.0))])
@pytest.mark.parametrize("side", [-1, 1])
def test_some_run_is_on_either_side_of_a_kink(written: str, slopes: tuple[float, float], side: int) -> None:
    """Also where roundings carry every replica to the same one."""
    spec = Spec(cell="rnn", input_size=1, hidden_size=1, activations=[written])
    p = {one.name: torch.zeros(one.shape) for one in parameters_of(spec)}
    layer = cast(LayerParameters.of(p, 0, "forward", spec), torch.float64)
    a = BackwardPerturbed([layer], 1, spec.nonlinearity_of("forward"), SINGLE, 1)
    s = np.full((1, RUNS, 1), 1e-4 * side)
    s[0, 0] = 0
    a.begin_step()
    found = a.slope("phi", s, a.phi(s))
    assert {round(float(one), 2) for one in found.flat} == set(slopes)
    assert round(float(found[0, 0, 0]), 2) == slopes[0], "PyTorch's at 0"


def test_torch_has_softplus_straight_above_20() -> None:
    """It leaves out e⁻²⁰ there, which float64 shows: of the value, and of its derivative."""
    spec = Spec(cell="rnn", input_size=1, hidden_size=8, activations=["softplus"], dtype="float64")
    p = {one.name: torch.zeros(one.shape, dtype=torch.float64) for one in parameters_of(spec)}
    layer = LayerParameters.of(p, 0, "forward", spec)
    a = BackwardPerturbed([layer], 1, spec.nonlinearity_of("forward"), ROUNDOFF[torch.float64], 1)
    at = torch.linspace(19, 24, 8, dtype=torch.float64, requires_grad=True)
    theirs = torch.nn.functional.softplus(at)
    (slopes,) = torch.autograd.grad(theirs.sum(), at)
    s = at.detach().numpy() * np.ones((1, RUNS, 1))
    a.begin_step()
    v = a.phi(s)
    made = ((torch.from_numpy(v), theirs.detach()), (torch.from_numpy(a.slope("phi", s, v)), slopes))
    for runs, engine in made:
        exact, error = spread(runs[0])
        assert ((engine - exact).abs() <= error).all()
        assert (error < 1e-6).all()
    error = slopes_within(a.functions.named("phi"), None, at.detach(), torch.full((8,), 1e-15).double())
    assert ((slopes - torch.sigmoid(at)).abs() <= error + 1e-15).all()
