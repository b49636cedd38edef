"""A check inside torch.autocast: it tells the arithmetic that autocast made of the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspect

pytestmark = pytest.mark.usefixtures("no_causes")


@pytest.mark.parametrize("engine", ["torch", "torch-cell"])
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_run_under_autocast_is_held_to_the_half_type(kind: str, engine: str) -> None:
    torch.manual_seed(0)
    module, x = getattr(torch.nn, kind)(16, 32, num_layers=2), torch.randn(50, 2, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        verdict = rnnspect.check(module, x) if engine == "torch" else rnnspect.check(_spec(module), x, engine=engine)
    if (kind, engine) == ("LSTM", "torch-cell"):  # its h stays float32, and may be rounded once more at every product
        assert verdict.verdict != "differ"
    else:
        assert verdict.agrees, verdict.reason
    assert verdict.arithmetic == "bfloat16 by autocast, float32 sums"
    assert verdict.engine.precision == {"autocast": "bfloat16"}


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_mistake_under_autocast_differs(kind: str) -> None:
    torch.manual_seed(0)
    module, x = getattr(torch.nn, kind)(16, 32), torch.randn(50, 2, 16)
    spec = _spec(module)
    with torch.no_grad():
        module.bias_ih_l0 += 1
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = module(x)[0]
    assert rnnspect.check(spec, x, recorded=output, arithmetic="bfloat16", explain=0).verdict == "differ"


@pytest.mark.parametrize(("kind", "half"), [("RNN", "bfloat16"), ("GRU", "float16"), ("LSTM", "bfloat16")])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}])
def test_gradients_under_autocast_are_held_to_the_half_type(kind: str, half: str, options: dict[str, Any]) -> None:
    """What comes back to an output in the half type is rounded to it; h in float32 is on its way into a product."""
    torch.manual_seed(0)
    module, x = getattr(torch.nn, kind)(6, 9, **options), torch.randn(12, 4, 6)
    with torch.autocast("cpu", dtype=getattr(torch, half)):
        verdict = rnnspect.check(module, x, backward=True)
    assert verdict.verdict in (("agree", "cannot tell") if options else ("agree",)), verdict.reason
    assert verdict.engine.precision == {"autocast": half}


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_mistake_in_gradients_under_autocast_differs(kind: str) -> None:
    torch.manual_seed(0)
    module, x = getattr(torch.nn, kind)(6, 9), torch.randn(12, 4, 6)
    module.weight_hh_l0.register_hook(lambda g: g * 1.25)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert rnnspect.check(module, x, backward=True).verdict == "differ"


def test_autocast_leaves_float64_alone() -> None:
    module, x = torch.nn.GRU(4, 8).double(), torch.randn(9, 2, 4).double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        verdict = rnnspect.check(module, x)
    assert verdict.agrees
    assert verdict.arithmetic == "float64"


def _spec(module: torch.nn.RNNBase) -> rnnspect.Spec:
    weights = {name: parameter.tolist() for name, parameter in module.named_parameters()}
    return rnnspect.Spec(
        cell={"RNN_TANH": "rnn"}.get(module.mode, module.mode.lower()),
        input_size=module.input_size,
        hidden_size=module.hidden_size,
        num_layers=module.num_layers,
        batch_first=False,
        weights=weights,
    )
