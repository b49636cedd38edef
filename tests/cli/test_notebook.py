"""The notebook that the tool grew from, cell by cell, from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

# As printed in the notebook; it prints eight decimals of float32 in cell 7 and four in cell 6.
CELL_7 = [
    {"input": 1, "hidden": [-0.4701929, 0.58639044], "h": [-0.3519801, 0.52525216], "rnn": [-0.35198015, 0.52525216]},
    {"input": 2, "hidden": [-0.88883156, 1.2364398], "h": [-0.68424344, 0.76074266], "rnn": [-0.68424344, 0.76074266]},
    {"input": 3, "hidden": [-1.3074702, 1.8864892], "h": [-0.8649416, 0.9046636], "rnn": [-0.8649416, 0.90466356]},
]
CELL_6 = [[-0.3520, 0.5253], [-0.6842, 0.7607], [-0.8649, 0.9047]]


UNITS = 4
"""numpy prints the shortest text that names a float32, so its last place is that number's own unit. The notebook ran on
another machine: seven products and two biases, added in another order, round eight times by at most half a unit of
their sum. Between an AMD and an Intel machine two units were seen."""


def assert_as_printed(found: list[float], printed: list[float]) -> None:
    for value, shown in zip(found, printed, strict=True):
        assert abs(np.float32(value) - np.float32(shown)) <= UNITS * np.spacing(np.float32(abs(shown)))


def test_cell_1_parameter_shapes(rnnspect):
    document = json.loads(rnnspect("shapes", "--format", "json").out)
    shapes = {parameter["name"]: parameter["shape"] for parameter in document["parameters"]}
    assert shapes == {"weight_ih_l0": [2, 5], "weight_hh_l0": [2, 2], "bias_ih_l0": [2], "bias_hh_l0": [2]}


def test_cell_5_the_sequence(rnnspect):
    document = json.loads(rnnspect("trace", "--format", "json").out)
    assert document["sequence"]["x"] == [[[1.0] * 5, [2.0] * 5, [3.0] * 5]]


def test_cell_6_output_and_final_state(rnnspect):
    document = json.loads(rnnspect("run", "--format", "json").out)
    for found, printed in zip(document["output"][0], CELL_6, strict=True):
        assert found == pytest.approx(printed, abs=0.5e-4)
    assert document["h_n"][0][0] == pytest.approx(CELL_6[-1], abs=0.5e-4)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_cell_7_each_step_by_hand_beside_the_framework(rnnspect, step):
    document = json.loads(rnnspect("trace", "--format", "json").out)
    layer = document["layers"][0]
    printed = CELL_7[step]
    assert layer["quantities"]["x"][0][step] == [printed["input"]] * 5
    assert_as_printed(layer["quantities"]["input_projection"][0][step], printed["hidden"])
    assert_as_printed(layer["quantities"]["h"][0][step], printed["h"])
    assert_as_printed(layer["engine"]["h"][0][step], printed["rnn"])


def test_cell_7_in_the_table(rnnspect):
    """At six decimals the table shows the digits that numpy printed, and one place less is the same on any machine."""
    out = rnnspect("trace", "--precision", "6", "--steps", "1", "--quantities", "input_projection,h").out
    for value in ("-0.88883", "1.23644", "-0.68424", "0.76074"):
        assert value in out


def test_cell_8_the_model_by_its_shapes(rnnspect):
    """Its seed is not known, so its numbers cannot be."""
    out = rnnspect("run", "configs/notebook-model.yaml").out
    assert "RNN(64, 32, num_layers=2, batch_first=True)" in out
    assert "Linear(in_features=32, out_features=1, bias=True)" in out
    assert "h_n: torch.Size([2, 5, 32])" in out
    assert "head: torch.Size([5, 1])" in out
