"""The last chunk of a form that is shorter than the others and is taken for a full one: the final state alone is
wrong."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.engines.own.loading import load_cell
from tests.cells.matrix_forms import SHORT, retnet
from tests.marks import sampled

CELL = load_cell("examples/cells/retnet.py:retnet")
RUNS = [(8, 19), (8, 5), (64, 70), (64, 100)]


def checked(engine: Any, steps: int, **keys: Any) -> Verdict:
    given = {"input_size": 3, "hidden_size": 6, "c0": "randn", "batch_first": True, **keys}
    return rnnspect.check(Spec(cell=CELL, **given), f"randn:{steps}", engine=engine)


@pytest.mark.parametrize("keys", [{}, {"dtype": "bfloat16"}, {"c0": None, "batch": 2}], ids=str)
@pytest.mark.parametrize(("chunk", "steps"), sampled(RUNS, 2))
def test_a_short_chunk_that_is_decayed_like_a_full_one(chunk: int, steps: int, keys: dict[str, Any]) -> None:
    """Of so many steps it may leave nearly nothing."""
    found = checked(retnet(chunk, SHORT), steps, **keys)
    assert found.verdict == "differ"
    (cause,) = found.causes
    assert cause.name == "padding-not-masked"
    assert f"that after {-steps % chunk} steps of zeros more" in cause.explanation
    assert not cause.left


@pytest.mark.parametrize("noise", [0.0, 1e-9])
def test_a_final_state_of_zeros_is_not_called_padded(noise: float) -> None:
    """Nor is one of next to nothing that no padding leaves."""
    right = retnet(8)

    def engine(x: Tensor, state: Any, weight_ih_l0: Tensor, bias_ih_l0: Tensor, theta_l0: Tensor) -> Any:
        output, (h, c) = right(x, state, weight_ih_l0, bias_ih_l0, theta_l0)
        return output, (h, noise * torch.randn(c.shape, generator=torch.Generator().manual_seed(0)))

    (cause,) = checked(engine, 19).causes
    assert cause.name == "state-not-carried"
