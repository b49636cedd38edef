"""Associative scans whose combine function takes its arguments in the other order, or that run along units."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from tests.causes.elementwise import CELLS, cell_of, exchanged
from tests.causes.own_cells import MINGRU
from tests.cells.forms import Form, mingru, scanned

HOW = {
    "added": "added to the first step",
    "decayed": "decayed by all steps",
    "element": "an element before the first step",
}
KEYS: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "batch": 3, "batch_first": True}


def checked(form: Form, h0: str = "randn") -> rnnspect.Verdict:
    return rnnspect.check(rnnspect.Spec(cell=MINGRU, **KEYS), "randn:12", h0=h0, engine=mingru(form))


@pytest.mark.parametrize("how", HOW)
def test_a_scan_in_the_right_order_agrees(how: str) -> None:
    assert checked(scanned(how, exchanged=False)).agrees


@pytest.mark.parametrize("chunk", [100, 5])
@pytest.mark.parametrize("how", HOW)
def test_exchanged_arguments_are_named(how: str, chunk: int) -> None:
    """With the way in which the initial state comes into the scan."""
    first, *_ = checked(scanned(how, chunk)).causes
    assert (first.name, first.parameters) == ("scan-order", {"state": HOW[how]})


@pytest.mark.parametrize(("prompt", "chunk"), [(7, 4), (8, 4), (6, 100)])
def test_a_prompt_alone_is_told(prompt: int, chunk: int) -> None:
    def form(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
        first = scanned("added", chunk)(a[:prompt], b[:prompt], h)
        return torch.cat([first, scanned("added", exchanged=False)(a[prompt:], b[prompt:], first[-1])])

    found, *_ = checked(form).causes
    assert (found.name, found.parameters) == ("scan-order", {"state": HOW["added"], "prompt": prompt})


def test_from_zeros_nothing_is_said_of_the_initial_state() -> None:
    first, *_ = checked(scanned("added"), h0="zeros").causes
    assert (first.name, first.parameters) == ("scan-order", {})


def test_a_scan_along_units_is_named_where_the_state_is_in_its_first_step() -> None:
    first, *_ = checked(scanned("added", exchanged=False, axis=2)).causes
    assert first.name == "decay-wrong-axis"
    assert first.parameters["axis"] == "unit"


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_exchanged_arguments_are_named_of_any_state(cell: str) -> None:
    states = {"h0": "randn", "c0": "randn"} if cell_of(cell).has_cell_state else {"h0": "randn"}
    spec = rnnspect.Spec(cell=cell_of(cell), input_size=3, hidden_size=8, input="randn:21", batch=3, **states)
    assert [one.name for one in rnnspect.check(spec, engine=exchanged(cell, 32)).causes] == ["scan-order"]
