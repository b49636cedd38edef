"""How far a gradient reaches, in a sentence."""

from __future__ import annotations

import pytest
import torch

import rnnspect
from rnnspect.views.reach import sentence


@pytest.mark.parametrize(("lost", "reverse", "step"), [(1, False, 0), (0, True, 1)])
def test_a_gradient_that_is_not_finite_at_the_first_step_is_not_called_zero(
    lost: int, reverse: bool, step: int
) -> None:
    x = torch.randn(1, 2, 3)
    x[0, lost] = torch.nan
    spec = rnnspect.Spec(cell="gru", input_size=3, hidden_size=4, reverse=reverse)
    found = rnnspect.gradients(spec, x, loss=torch.ones(1, 2, 4))
    assert f"is not finite, from step {step} on" in sentence(found.layers[0], 0, 2)
