"""Gradients of forms that compute many steps at once: a right one is not called wrong, a wrong one is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import rnnspect
from tests.causes.own_cells import MINGRU

SPEC = rnnspect.Spec(cell=MINGRU, input_size=5, hidden_size=3)


def form(lost: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    """Chunks of 16 steps in log space. `lost`: no gradient goes from a chunk to the one before."""

    def chunked(x: Tensor, state: Tensor, weight_ih_l0: Tensor, bias_ih_l0: Tensor) -> tuple[Tensor, Tensor]:
        z, n = (x @ weight_ih_l0.T + bias_ih_l0).chunk(2, -1)
        z, h, every = z.sigmoid(), state[0], []
        for start in range(0, x.shape[1], 16):
            logs = (1 - z[:, start : start + 16]).log().cumsum(1)
            added = z[:, start : start + 16] * n[:, start : start + 16]
            every.append(logs.exp() * (h[:, None] + (added * (-logs).exp()).cumsum(1)))
            h = every[-1][:, -1].detach() if lost else every[-1][:, -1]
        return torch.cat(every, 1), h[None]

    return chunked


@pytest.mark.parametrize("steps", [17, 100])
def test_a_right_form_is_not_called_wrong(steps: int) -> None:
    found = rnnspect.check(SPEC, f"randn:{steps}", engine=form(False), backward=True)
    assert found.verdict != "differ"
    if found.verdict == "cannot tell":
        assert "gradients of an engine that computes one step can be proved" in str(found.reason)


def test_an_example_of_the_documentation_is_not_called_wrong() -> None:
    assert rnnspect.check(SPEC, "randn:200", engine="examples/chunked.py:mingru", backward=True).verdict != "differ"


@pytest.mark.usefixtures("no_causes")
def test_a_wrong_form_is_called_wrong() -> None:
    """What is lost at the edges is far more than roundings can explain."""
    assert rnnspect.check(SPEC, "randn:100", engine=form(True), backward=True).verdict == "differ"


@pytest.mark.usefixtures("no_causes")
def test_one_step_is_held_to_the_limit_of_one_step() -> None:
    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        z, n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        z = torch.sigmoid(z)
        z = z + 1e-5 * (z - z.detach())  # the same value, and a gradient that is a little too large
        return (1 - z) * h + z * n

    assert rnnspect.check(SPEC, "randn:100", engine=step, backward=True).verdict == "differ"
