"""W_hh h + b_hh of every step: what the cell's own lines computed, of each gate the block that it is made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from rnnspect import Spec
from rnnspect.arithmetic.hidden_calls import hidden_calls
from rnnspect.arithmetic.unroll import unroll
from rnnspect.causes.known._operations import with_operations
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.cli import main
from rnnspect.tracing.prepare import prepare

SPECS = {
    "rnn": {"cell": "rnn"},
    "lstm": {"cell": "lstm"},
    "projected": {"cell": "lstm", "proj_size": 2},
    "both directions": {"cell": "gru", "bidirectional": True},
    "no bias": {"cell": "gru", "bias": False},
    "coupled": {"cell": "lstm", "input_forget": True},
    "reset before": {"cell": "gru", "reset": "before"},
}


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("hidden_size", [4, 300], ids=["numpy", "torch"])
def test_it_is_the_product_with_the_state_before(name, hidden_size):
    """Which it is, is written here once more, with torch: a block of W_hh times h of the step before, or r ⊙ h."""
    spec = Spec(**SPECS[name], hidden_size=hidden_size, dtype="float64", input="randn:6", h0="randn", batch=2)
    made = prepare(spec)
    for layer in unroll(spec, made.parameters, made.sequence):
        end = "_l0_reverse" if layer.direction == "reverse" else "_l0"
        weight, bias = made.parameters[f"weight_hh{end}"], made.parameters.get(f"bias_hh{end}")
        h0, h = made.sequence.h0[spec.row(0, layer.direction)][None], layer.quantities["h"]
        before = torch.cat([h[1:], h0] if layer.direction == "reverse" else [h0, h[:-1]])
        expected = linear(before, weight, bias)
        if name == "reset before":
            rows = slice(2 * hidden_size, None)
            assert bias is not None
            expected[..., rows] = linear(layer.quantities["r"] * before, weight[rows], bias[rows])
        near = 4 * hidden_size * 2.0**-53  # sums of so many numbers of size 1 in float64, in any order
        torch.testing.assert_close(layer.quantities["hidden_projection"], expected, rtol=near, atol=near)


def test_which_call_each_gate_is_made_of():
    calls = {cell: hidden_calls(cell) for cell in (*CELLS.values(), *VARIANTS.values())}
    assert calls.pop(VARIANTS["gru", "reset before"]) == (0, 0, 1)
    assert {call for each in calls.values() for call in each} == {0}


def test_it_is_the_same_where_every_operation_of_the_lines_is_called_by_another_function():
    """As it is in a cell with a changed line, whose packed products come as plain tuples."""
    for cell in (*CELLS.values(), *VARIANTS.values()):
        same = with_operations(cell, lambda _a, _number, _operation, meant, values: meant(*values))
        assert hidden_calls(same) == hidden_calls(cell)


def test_a_learner_sees_both_halves_of_the_sum(capsys):
    """The notebook computes W_xh x + b_xh, and then W_hh h + b_hh: together they are what tanh is applied to."""
    assert main(["trace", "--precision", "6"]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    found = {}
    for row in rows:
        cells = [cell.strip() for cell in row if cell.strip()]
        for at, cell in enumerate(cells):
            if cell in ("W_ih x + b_ih", "W_hh h + b_hh", "h"):
                found.setdefault(cell, []).append([float(one) for one in cells[at + 1 : at + 3]])
    both = np.add(found["W_ih x + b_ih"], found["W_hh h + b_hh"])
    assert both.shape == (3, 2)
    assert np.abs(np.tanh(both) - found["h"]).max() < 2e-6  # three numbers in six decimals


def test_of_several_gates_it_is_shown_when_asked_for(capsys):
    assert main(["trace", "--cell", "lstm"]) == 0
    assert "W_hf h + b_hf " not in capsys.readouterr().out
    assert main(["trace", "--cell", "gru", "--quantities", "hidden_projection"]) == 0
    out = capsys.readouterr().out
    assert [out.count(f"W_h{gate} h + b_h{gate} ") for gate in "rzn"] == [3, 3, 3]
