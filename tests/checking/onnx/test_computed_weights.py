"""Nodes whose weights the model computes when it runs, such as those of a quantised model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnnspect.cli import main

if TYPE_CHECKING:
    from pathlib import Path

UNITS, INPUTS = 4, 3
DRAW = np.random.default_rng(0)
ROWS = DRAW.normal(size=(1, 4 * UNITS, INPUTS)).astype(np.float32)
MADE: dict[str, tuple[str, list[Any], dict[str, int]]] = {
    "8 bits": ("DequantizeLinear", [np.round(ROWS * 50).clip(-127, 127).astype(np.int8), np.float32(0.02)], {}),
    "scaled": ("Mul", [ROWS, np.float32(0.5)], {}),
    "chosen": ("Gather", [np.concatenate([ROWS, -ROWS]), np.array([1])], {"axis": 0}),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("operator", "arrays", "how"), MADE.values(), ids=MADE)
def test_the_shape_of_weights_that_are_computed_follows_from_their_operators(
    tmp_path: Path, capsys: Any, operator: str, arrays: list[Any], how: dict[str, int], nested: bool
):
    """The graph says it of no tensor between two nodes."""
    held = {f"in{at}": values for at, values in enumerate(arrays)}
    held |= {"R": DRAW.normal(size=(1, 4 * UNITS, UNITS)).astype(np.float32), "yes": np.array(True)}
    nodes = [
        helper.make_node(operator, [name for name in held if name.startswith("in")], ["W"], **how),
        helper.make_node("LSTM", ["X", "W", "R"], ["Y"], name="rnn", hidden_size=UNITS),
    ]
    if nested:
        inner = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)]
        branches = [helper.make_graph(nodes, "then", [], inner)]
        other = helper.make_node("Constant", [], ["Y"], value=numpy_helper.from_array(np.zeros(1, np.float32)))
        branches.append(helper.make_graph([other], "else", [], inner))
        nodes = [helper.make_node("If", ["yes"], ["Z"], then_branch=branches[0], else_branch=branches[1])]
    x = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [5, 2, INPUTS])]
    y = [helper.make_tensor_value_info("Z" if nested else "Y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", x, y, [numpy_helper.from_array(one, name) for name, one in held.items()])
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    assert main(["check", str(path)]) == 0
    assert "AGREE" in capsys.readouterr().out
