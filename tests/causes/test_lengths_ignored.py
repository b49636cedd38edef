"""An engine that is given lengths and does not ask for them: it goes on over what lies behind the end of each shorter
item of a batch, and returns the state after the last step of all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.engines.own.loading import load_cell
from tests.marks import sampled

LENGTHS = [20, 9, 17, 9]


def of_torch(cell: str) -> Any:
    def run(x: Tensor, state: Any, parameters: dict[str, Tensor], lengths: Any = None) -> Any:
        module = getattr(torch.nn, cell.upper())(x.shape[-1], 4, batch_first=True).to(x.dtype)
        module.load_state_dict(parameters)
        with torch.no_grad():
            return module(x, state)

    return run


def mingru(x: Tensor, state: Tensor, weight_ih_l0: Tensor, bias_ih_l0: Tensor, lengths: Any = None) -> Any:
    z, n = (x @ weight_ih_l0.T + bias_ih_l0).chunk(2, -1)
    h, out = state[0], []
    for share, new in zip(z.sigmoid().unbind(1), n.unbind(1), strict=True):
        h = torch.lerp(h, new, share)
        out.append(h)
    return torch.stack(out, 1), h[None]


def checked(cell: str, **keys: Any) -> Verdict:
    own = cell == "mingru"
    named = load_cell("examples/cells/mingru.py:mingru") if own else cell
    spec = Spec(cell=named, input_size=3, hidden_size=4, lengths=LENGTHS, batch=len(LENGTHS), input="randn:20", **keys)
    found = rnnspect.check(spec, engine=mingru if own else of_torch(cell))
    assert isinstance(found, Verdict)
    return found


@pytest.mark.parametrize("dtype", sampled(["float32", "float64", "bfloat16"], 3))
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "mingru"])
def test_the_final_state_after_padding_is_called_so(cell: str, dtype: str) -> None:
    found = checked(cell, dtype=dtype)
    assert found.verdict == "differ"
    assert [one.name for one in found.causes] == ["padding-not-masked"]


def test_items_of_one_length_have_no_padding() -> None:
    spec = Spec(cell="gru", input_size=3, hidden_size=4, lengths=[20, 20], batch=2, input="randn:20")
    assert rnnspect.check(spec, engine=of_torch("gru")).agrees
