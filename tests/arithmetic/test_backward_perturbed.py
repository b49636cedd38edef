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
from rnnspect.arithmetic.roundoff import SINGLE
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
