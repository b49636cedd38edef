"""Mistakes in the norms of cells of one's own, each planted in a loop in torch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import rnnspect
from rnnspect.causes.known.norms import EPSILONS
from tests.causes.own_cells import NORMED
from tests.cells.loops import layer_norm_lstm
from tests.cells.test_norms import MIXED, WRONG, mixed_loop
from tests.marks import sampled


def with_epsilon(value: float) -> Callable[..., Tensor]:
    return lambda v, shape, gain=None, shift=None, eps=0.0: functional.layer_norm(v, shape, gain, shift, value)


PLANTED: dict[str, tuple[Any, str]] = {
    "unbiased variance": (layer_norm_lstm(False, WRONG["unbiased variance"]), "norm-unbiased"),
    "no mean taken off": (layer_norm_lstm(False, WRONG["no mean taken off"]), "norm-mean"),
    "each gate by itself": (layer_norm_lstm(True), "norm-apart"),
    "no gain": (layer_norm_lstm(False, WRONG["no gain"]), "line-parameter-left-out"),
    "no epsilon": (layer_norm_lstm(False, WRONG["no epsilon"]), "norm-epsilon"),
    **{f"epsilon {one:g}": (layer_norm_lstm(False, with_epsilon(one)), "norm-epsilon") for one in EPSILONS[4:]},
}
del PLANTED["epsilon 1e-05"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(PLANTED, 3))
def test_each_is_told_first(name: str) -> None:
    engine, cause = PLANTED[name]
    spec = rnnspect.Spec(cell=NORMED, input_size=4, hidden_size=6)
    found = rnnspect.check(spec, torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), engine=engine)
    assert found.verdict == "differ"
    assert found.causes[0].name == cause
    if name.startswith("epsilon"):
        assert name.removeprefix("epsilon ") in [one.parameters.get("value") for one in found.causes]


@pytest.mark.slow
def test_an_epsilon_that_few_values_show_is_said_to_be_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many values of h are wrong by little depends on the machine."""
    monkeypatch.setattr("rnnspect.causes.search.hypotheses.shows_enough", lambda *_: False)
    spec = rnnspect.Spec(cell=NORMED, input_size=4, hidden_size=6)
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    found = rnnspect.check(spec, x, engine=layer_norm_lstm(False, with_epsilon(1e-6)))
    assert (found.verdict, found.causes) == ("differ", ())
    said = "possibly ε of a norm, eps, is 1e-06 in the engine, not 1e-05, but so few values of h are wrong"
    assert any(said in note for note in found.notes), found.notes


@pytest.mark.slow
@pytest.mark.parametrize(("alone", "column"), [(0, 12), (1, 40)])
def test_one_of_two_norms_of_each_gate_by_itself(alone: int, column: int) -> None:
    calls = itertools.cycle((0, 1))  # of x, and of h

    def norm(v: Tensor, shape: tuple[int, ...], *given: Any, **named: Any) -> Tensor:
        apart = len(shape) > 1 and next(calls) == alone
        return functional.layer_norm(v, shape[-1:] if apart else shape, *given, **named)

    spec = rnnspect.Spec(cell=NORMED, input_size=4, hidden_size=6)
    (cause,) = rnnspect.check(spec, "randn:60", engine=layer_norm_lstm(False, norm)).causes
    assert (cause.name, cause.parameters) == ("norm-apart", {"place": f"17:{column}"})


def test_a_layer_norm_for_an_rms_norm() -> None:
    """Where a cell has both, both stand for each other."""
    spec = rnnspect.Spec(cell=MIXED, input_size=3, hidden_size=5)
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=mixed_loop()).agrees

    def turned(x_t: Tensor, h: Tensor, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Tensor:
        z, n = (x_t @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(2, -1)
        z = torch.sigmoid(functional.rms_norm(z, z.shape[-1:], eps=1e-5))
        n = torch.tanh(torch.maximum(functional.layer_norm(n, n.shape[-1:], eps=1e-5), 0.5 * n))
        return (1 - z) * h + z * n

    assert rnnspect.check(spec, x, engine=turned).causes[0].name == "norm-mean"
