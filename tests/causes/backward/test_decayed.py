"""Weight decay in gradients that were recorded: a small one, and one before or after clipping or a mean."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.causes.backward.multiples import multiple_of

UNITS, STEPS, BATCH = 8, 30, 2
Recorded = dict[str, Tensor]


def named(change: Callable[[torch.nn.Module, Recorded], Recorded], layers: int = 1) -> rnnspect.Verdict:
    """What a check says of gradients whose parameters' part was changed after a right pass backwards."""
    torch.manual_seed(6)
    module = torch.nn.LSTM(4, UNITS, layers, batch_first=True)
    x, out = torch.randn(BATCH, STEPS, 4, requires_grad=True), torch.randn(BATCH, STEPS, UNITS)
    (module(x)[0] * out).sum().backward()
    g = change(module, {name: p.grad.clone() for name, p in module.named_parameters()})  # type: ignore[union-attr]
    recorded = {"grad.output": out, "grad.x": x.grad, **{f"grad.{name}": one for name, one in g.items()}}
    verdict = rnnspect.check(module, x.detach(), recorded=recorded, backward=True)
    assert isinstance(verdict, rnnspect.Verdict)
    return verdict


def decayed(module: torch.nn.Module, g: Recorded, factor: float, of: str = "") -> Recorded:
    return {name: g[name] + factor * p.detach() * (of in name) for name, p in module.named_parameters()}


def clipped(g: Recorded, limit: float) -> Recorded:
    norm = torch.stack([one.norm() for one in g.values()]).norm()
    return {name: one * (limit / (norm + 1e-6)) for name, one in g.items()}


def test_a_factor_is_as_short_as_what_is_known_of_it_allows() -> None:
    w, noise = torch.randn(2, 100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    allowed = torch.full((100,), 1e-3, dtype=torch.float64)
    for scatter, factor, written in ((1e-6, 1e-4, 1e-4), (1e-6, 1.234e-3, None), (1e-5, 1e-6, None)):
        found = multiple_of(w, factor * w + scatter * noise, allowed)
        assert found is not None
        assert found.written() == written


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1e-4, 3e-4])
def test_a_decay_that_the_numbers_show_is_named(factor: float) -> None:
    """As roundings of gradients are far below their bounds, so that a factor is measured more precisely than each
    number is known."""
    first = named(lambda module, g: decayed(module, g, factor)).causes[0]
    assert (first.name, first.parameters) == ("grad-decay-added", {"factor": factor, "of": "parameters"})


@pytest.mark.slow
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(
    ("change", "names", "parameters"),
    [
        (
            lambda module, g: clipped(decayed(module, g, 0.01), 1.0),
            ("grad-decay-added", "grad-clipped-by-norm"),
            [{"factor": 0.01, "of": "parameters"}, {"norm": 1.0}],
        ),
        (
            lambda module, g: clipped(decayed(module, g, 0.002, "weight"), 1.0),
            ("grad-decay-added", "grad-clipped-by-norm"),
            [{"factor": 0.002, "of": "weights"}, {"norm": 1.0}],
        ),
        (
            lambda module, g: decayed(module, clipped(g, 0.5), 0.003),
            ("grad-clipped-by-norm", "grad-decay-added"),
            [{"norm": 0.5}, {"factor": 0.003, "of": "parameters"}],
        ),
        (
            lambda module, g: decayed(module, {name: one / STEPS for name, one in g.items()}, 0.003),
            ("grad-mean-for-sum", "grad-decay-added"),
            [{"factor": 1 / STEPS, "of": "parameters"}, {"factor": 0.003, "of": "parameters"}],
        ),
    ],
    ids=["decayed, clipped", "weights decayed, clipped", "clipped, decayed", "mean, decayed"],
)
def test_decay_beside_clipping_or_a_mean_is_named_in_their_order(
    change: Callable[[torch.nn.Module, Recorded], Recorded],
    names: tuple[str, ...],
    parameters: list[dict[str, object]],
    layers: int,
) -> None:
    first, then, *_ = named(change, layers).causes
    assert first.together == then.together == names
    assert [first.parameters, then.parameters] == parameters


@pytest.mark.slow
def test_decay_beside_a_factor_that_nobody_writes_has_no_name() -> None:
    """Which came first, and by what factor the parameters were added then, cannot be told."""
    verdict = named(lambda module, g: {k: 0.12345 * one for k, one in decayed(module, g, 0.01).items()})
    assert (verdict.verdict, verdict.causes) == ("differ", ())
