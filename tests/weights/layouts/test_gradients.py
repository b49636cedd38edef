"""Gradients of a framework's arrays become those of PyTorch's parameters: the change of a loss is the same by both."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnnspect.network.parameters import LayerParameters
from rnnspect.weights import layouts
from rnnspect.weights.layouts.interface import FORMS
from rnnspect.weights.layouts.packing import pack, unpack_gradients

INPUTS, H = 3, 4
PACKINGS = [(layout.name, form) for layout in layouts.every() for form in layout.cells]


@pytest.mark.parametrize(("name", "form"), PACKINGS, ids=str)
def test_a_change_of_the_loss_is_the_same_by_both(name, form):
    """Σ gradient · change over the arrays, and over the parameters. 1e-12: sums of less than 300 products in float64
    whose factors are below 5."""
    layout, generator = layouts.find(name), torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows = len(FORMS[form]) * H
    p = LayerParameters(drawn(rows, INPUTS), drawn(rows, H), drawn(rows), drawn(rows), None)
    zeros = p.with_changes(**{name: torch.zeros_like(one) for name, one in p.tensors.items()})
    without = pack(layout, form, zeros)  # what the framework adds to f at run time is no change
    changes = {name: array - without[name] for name, array in pack(layout, form, p).items()}
    gradients = {name: drawn(*array.shape) for name, array in changes.items()}
    found = unpack_gradients(layout, form, gradients)
    if found.bias_hh is None:
        held = {gate for kind, side, gate in layout.packing(form).held if (kind, side) == ("b", "h")}
        assert held < set(FORMS[form])
        return
    ours = sum(float((gradients[name] * changes[name]).sum()) for name in changes)
    theirs = sum(float((one * p[name]).sum()) for name, one in found.tensors.items())
    assert theirs == pytest.approx(ours, abs=1e-12, rel=1e-12)
