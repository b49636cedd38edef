"""ONNX models of one recurrent node, made by hand: in the main graph, in a function, in If, Loop and Scan."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

F, B, I64 = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
INPUTS, HIDDEN = 3, 4


def weights(op: str, directions: int = 1, seed: int = 0, peepholes: bool = False) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = GATES[op] * HIDDEN
    found = {"W": rng.normal(0, 0.5, (directions, rows, INPUTS)), "R": rng.normal(0, 0.5, (directions, rows, HIDDEN))}
    found["B"] = rng.normal(0, 0.5, (directions, 2 * rows))
    if peepholes:
        found["P"] = rng.normal(0, 0.5, (directions, 3 * HIDDEN))
    return {name: v.astype(np.float32) for name, v in found.items()}


def node(op: str, x: str = "x", y: str = "y", peepholes: bool = False, **attributes: Any) -> onnx.NodeProto:
    given = [x, "W", "R", "B", "", ""]
    if op == "LSTM":
        given += ["", "P" if peepholes else ""]
    return helper.make_node(op, given, [y], name="the node", hidden_size=HIDDEN, **attributes)


def value(name: str, kind: int = F, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes: list[onnx.NodeProto], held: dict[str, np.ndarray], inputs: Any = None, **more: Any) -> onnx.ModelProto:
    taken = inputs or [value("x", F, ["T", "N", INPUTS])]
    initial = [numpy_helper.from_array(v, name) for name, v in held.items()]
    graph = helper.make_graph(nodes, "g", taken, [value("y")], initial)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def of_node(op: str, **attributes: Any) -> onnx.ModelProto:
    directions = 2 if attributes.get("direction") == "bidirectional" else 1
    held = weights(op, directions, peepholes=attributes.get("peepholes", False))
    return model([node(op, **attributes)], held)


def in_if(op: str) -> onnx.ModelProto:
    """Two Ifs in one another: the node runs where both conditions hold, else another with other weights."""
    held = weights(op)
    other = {f"{name} else": v for name, v in weights(op, seed=1).items()}
    elsewhere = helper.make_node(op, ["x", "W else", "R else", "B else"], ["y else"], name="other", hidden_size=HIDDEN)
    one = helper.make_graph([node(op, y="y then")], "then", [], [value("y then")])
    two = helper.make_graph([elsewhere], "else", [], [value("y else")])
    inner = helper.make_node("If", ["inner"], ["y inner"], then_branch=one, else_branch=two)
    then = helper.make_graph([inner], "outer then", [], [value("y inner")])
    zero = helper.make_node("Identity", ["x"], ["y zero"])
    outer = helper.make_node(
        "If", ["outer"], ["y"], then_branch=then, else_branch=helper.make_graph([zero], "no", [], [value("y zero")])
    )
    inputs = [value("x", F, ["T", "N", INPUTS]), value("outer", B, []), value("inner", B, [])]
    return model([outer], held | other, inputs)


def in_loop(op: str) -> onnx.ModelProto:
    """A Loop of three iterations; x grows with the iteration."""
    turn = helper.make_node("Cast", ["i"], ["i float"], to=F)
    grown = helper.make_node("Add", ["x", "i float"], ["x now"])
    kept = helper.make_node("Identity", ["on"], ["on still"])
    body = helper.make_graph(
        [turn, grown, node(op, "x now", "y now"), kept], "body",
        [value("i", I64, []), value("on", B, [])], [value("on still", B, []), value("y now")],
    )  # fmt: skip
    held = weights(op) | {"three": np.array(3), "yes": np.array(True)}
    return model([helper.make_node("Loop", ["three", "yes"], ["y"], body=body)], held)


def in_scan(op: str) -> onnx.ModelProto:
    """A Scan over a first axis of x."""
    body = helper.make_graph(
        [node(op, "x now", "y now")], "body", [value("x now", F, ["T", "N", INPUTS])], [value("y now")]
    )
    scan = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1, scan_output_axes=[0])
    return model([scan], weights(op), [value("x", F, ["S", "T", "N", INPUTS])])


def in_function(op: str) -> onnx.ModelProto:
    inner = helper.make_node(op, ["a", "W", "R", "B"], ["b"], name="the node", hidden_size=HIDDEN)
    function = helper.make_function(
        "mine", "Layer", ["a", "W", "R", "B"], ["b"], [inner], [helper.make_opsetid("", 17)]
    )
    calls = [helper.make_node("Layer", ["x", "W", "R", "B"], ["y"], domain="mine", name="call")]
    return model(calls, weights(op), functions=[function])
