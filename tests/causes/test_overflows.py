"""Runs that grow without end, or become NaN, since a softplus or σ is left out: the first steps tell it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict, engines
from rnnspect.tracing.prepare import prepare
from tests.causes.decaying import decaying
from tests.causes.elementwise import cell_of
from tests.marks import sampled

Terms = Callable[[Tensor, dict[str, Tensor]], tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]]


def _mingru(wx: Tensor, _p: dict[str, Tensor]) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    z, n = wx.chunk(2, -1)
    return 1 - z, z * n, lambda s: s


def _minlstm(wx: Tensor, _p: dict[str, Tensor]) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    f, i, n = wx.chunk(3, -1)
    f = f.sigmoid()
    return f / (f + i), i / (f + i) * n, lambda s: s


def _carrying(wx: Tensor, _p: dict[str, Tensor]) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
    f, n, o = wx.chunk(3, -1)
    return f, (1 - f) * n.tanh(), lambda s: o.sigmoid() * s


TERMS: dict[str, Terms] = {"mingru": _mingru, "minlstm": _minlstm, "carrying": _carrying}
"""A gate without its σ: what multiplies the state, what is added to it, and what is read."""
CELLS = (*TERMS, "s6", "mamba")


def without_function(cell: str) -> Callable[..., Any]:
    if cell not in TERMS:
        return decaying(cell, "no softplus")

    def engine(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        wx = x @ parameters["weight_ih_l0"].T + parameters["bias_ih_l0"]
        a, b, read = TERMS[cell](wx, parameters)
        has_c = isinstance(state, tuple)
        s, out = (state[1] if has_c else state)[0], []
        for t in range(x.shape[1]):
            s = a[:, t] * s + b[:, t]
            out.append(s)
        h = read(torch.stack(out, 1))
        return h, (h[:, -1][None], s[None]) if has_c else s[None]

    return engine


def checked(cell: str, **keys: Any) -> Verdict:
    spec = Spec(cell=cell_of(cell), **{"input_size": 3, "hidden_size": 6, "h0": "randn", **keys})
    found = rnnspect.check(spec, engine=without_function(cell))
    assert found.verdict == "differ"
    return found


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", sampled(["float32", "bfloat16", "float64"], 3))
@pytest.mark.parametrize("steps", [60, 400])
@pytest.mark.parametrize("cell", sampled(CELLS, 2))
def test_a_function_that_keeps_numbers_small_is_told_though_they_run_away(cell: str, steps: int, dtype: str) -> None:
    found = checked(cell, input=f"randn:{steps}", dtype=dtype)
    assert found.causes[0].name == "line-function-left-out"
    assert found.causes[0].parameters["operation"] == ("sigmoid" if cell in TERMS else "softplus")


def test_such_a_run_has_numbers_that_are_none() -> None:
    """Else the test above would ask nothing new: of so many steps that a state is infinite."""
    spec = Spec(cell=cell_of("s6"), input_size=3, hidden_size=6, input="randn:400", h0="randn")
    made = prepare(spec)
    ran = engines.find(without_function("s6")).run(spec, made.parameters, made.sequence)
    assert not ran.output.isfinite().all()
