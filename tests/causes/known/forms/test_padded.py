"""Padding behind and before: the last chunk of a form that is shorter than the others and is taken for a full one, so
that the final state alone is wrong; and padding in front of the first step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.engines.own.loading import load_cell
from tests.causes.chunked import MORE_STEPS, STEPS, cell_of
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


def in_front(cell: str, count: int, zeros: bool) -> Any:
    """A loop over so many steps of padding, of zeros or of the first x, and then over those that are meant."""
    step = (STEPS | MORE_STEPS)[cell]

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        now = tuple(one[0] for one in (state if isinstance(state, tuple) else (state,)))
        for _ in range(count):
            now = step(torch.zeros_like(x[:, 0]) if zeros else x[:, 0], now, parameters)
        out = []
        for t in range(x.shape[1]):
            now = step(x[:, t], now, parameters)
            out.append(now[0])
        final = tuple(one[None] for one in now)
        return torch.stack(out, 1), final if len(final) > 1 else final[0]

    return run


FRONT = [
    (cell, zeros, dtype)
    for cell in ("mingru", "minlstm", "lstm", "gru", "carrying")
    for zeros in (True, False)
    for dtype in ("float32", "float64")
]


@pytest.mark.parametrize(("cell", "zeros", "dtype"), sampled(FRONT, 5))
def test_padding_in_front(cell: str, zeros: bool, dtype: str) -> None:
    given: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "batch": 2, "batch_first": True, "dtype": dtype}
    spec = Spec(cell=cell_of(cell), h0="randn", **given)
    assert rnnspect.check(spec, "randn:12", engine=in_front(cell, 0, zeros)).agrees
    found = rnnspect.check(spec, "randn:12", engine=in_front(cell, 3, zeros))
    assert {cause.name for cause in found.causes} == {"padding-not-masked"}
    of = "of zeros" if zeros else "with the x of the first one"
    assert f"3 steps {of} in front of the first one" in found.causes[0].explanation
    assert not found.causes[0].left


def decays_of_zeros(cell: str, p: dict[str, Tensor]) -> Tensor:
    """What a step of zeros multiplies the state by, of each unit."""
    s = p["bias_ih_l0"].chunk({"mingru": 2, "minlstm": 3, "carrying": 3}[cell])
    if cell == "minlstm":
        return s[0].sigmoid() / (s[0].sigmoid() + s[1].sigmoid())
    return 1 - s[0].sigmoid() if cell == "mingru" else s[0].sigmoid()


DECAYED = [(cell, dtype) for cell in ("mingru", "minlstm", "carrying") for dtype in ("float32", "float64", "bfloat16")]


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "dtype"), sampled(DECAYED, 3))
def test_padding_that_adds_nothing_and_decays(cell: str, dtype: str) -> None:
    right = in_front(cell, 0, True)

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        output, final = right(x, state, parameters)
        decays = decays_of_zeros(cell, parameters) ** 2
        return output, (final[0], final[1] * decays) if isinstance(final, tuple) else final * decays

    given: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "batch": 2, "batch_first": True, "dtype": dtype}
    found = rnnspect.check(Spec(cell=cell_of(cell), **given), "randn:30", engine=run)
    (cause,) = found.causes
    assert (cause.name, cause.parameters) == ("padding-not-masked", {"steps": 2, "of": "of zeros"})
    assert not cause.left


@pytest.mark.slow
def test_another_factor_is_no_padding() -> None:
    right = in_front("mingru", 0, True)

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        output, final = right(x, state, parameters)
        return output, final * (0.9 * decays_of_zeros("mingru", parameters) ** 2)

    given: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "batch": 2, "batch_first": True}
    assert not rnnspect.check(Spec(cell=cell_of("mingru"), **given), "randn:30", engine=run).causes
