"""ONNX models in which a cell is written out in MatMul, Gemm, Add, Split, Sigmoid, Tanh and Mul, made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests import onnx_models as made

INPUTS, HIDDEN = 3, 4
SPLIT_AS = {"LSTM": "ifgo", "GRU": "rzn"}


@dataclass
class Graph:
    """Nodes under construction. Each method gives the name of what it adds."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    held: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, op: str, *inputs: str, count: int = 1, **attributes: object) -> list[str]:
        outputs = [f"{op.lower()}{len(self.nodes)}.{at}" for at in range(count)]
        self.nodes.append(helper.make_node(op, inputs, outputs, f"node{len(self.nodes)}", **attributes))
        return outputs

    def one(self, op: str, *inputs: str, **attributes: object) -> str:
        return self.add(op, *inputs, **attributes)[0]

    def constant(self, name: str, values: np.ndarray) -> str:
        self.held[name] = values
        return name


@dataclass(frozen=True)
class Form:
    """How the cell is written."""

    order: str
    """The order of the gates in the packed weights."""
    joined: bool = False
    """One product with [x, h] in place of two."""
    gemm: bool = True
    turned: bool = False
    """Weights stored as (in, out) for MatMul, or through a Transpose node."""


def weights(op: str, seed: int = 0) -> dict[str, np.ndarray]:
    """By gate and part, such as W_i, U_i, b_i and d_i: of x, of h, and the biases beside both."""
    rng = np.random.default_rng(seed)
    shapes = {"W": (HIDDEN, INPUTS), "U": (HIDDEN, HIDDEN), "b": (HIDDEN,), "d": (HIDDEN,)}
    return {
        f"{part}_{gate}": rng.normal(0, 0.5, shape).astype(np.float32)
        for gate in SPLIT_AS[op]
        for part, shape in shapes.items()
    }


def packed(held: dict[str, np.ndarray], part: str, order: Sequence[str]) -> np.ndarray:
    return np.concatenate([held[f"{part}_{gate}"] for gate in order])


def product(graph: Graph, form: Form, x: str, name: str, w: np.ndarray, bias: np.ndarray) -> str:
    """x W^T + bias."""
    if form.gemm:
        held = graph.constant(name, w.T.copy() if form.turned else w)
        return graph.one("Gemm", x, held, graph.constant(f"{name} bias", bias), transB=int(not form.turned))
    held = graph.constant(name, w.T.copy() if form.turned else w)
    turned = held if form.turned else graph.one("Transpose", held, perm=[1, 0])
    return graph.one("Add", graph.one("MatMul", x, turned), graph.constant(f"{name} bias", bias))


def lstm_step(graph: Graph, form: Form, held: dict[str, np.ndarray], x: str, h: str, c: str) -> tuple[str, str]:
    if form.joined:
        both = np.concatenate([packed(held, "W", form.order), packed(held, "U", form.order)], 1)
        bias = packed(held, "b", form.order)
        total = product(graph, form, graph.one("Concat", x, h, axis=-1), "both", both, bias)
    else:
        of_x = product(graph, form, x, "W", packed(held, "W", form.order), packed(held, "b", form.order))
        of_h = product(graph, form, h, "U", packed(held, "U", form.order), packed(held, "d", form.order))
        total = graph.one("Add", of_h, of_x)
    parts = dict(zip(form.order, graph.add("Split", total, count=4, axis=-1), strict=True))
    i, f, o = (graph.one("Sigmoid", parts[gate]) for gate in "ifo")
    kept, new = graph.one("Mul", c, f), graph.one("Mul", i, graph.one("Tanh", parts["g"]))
    c = graph.one("Add", new, kept)
    return graph.one("Mul", graph.one("Tanh", c), o), c


def gru_step(graph: Graph, form: Form, held: dict[str, np.ndarray], x: str, h: str, reset: str) -> str:
    order = form.order
    of_x = product(graph, form, x, "W", packed(held, "W", order), packed(held, "b", order))
    xs = dict(zip(order, graph.add("Split", of_x, count=3, axis=-1), strict=True))
    if reset == "after":
        of_h = product(graph, form, h, "U", packed(held, "U", order), packed(held, "d", order))
        hs = dict(zip(order, graph.add("Split", of_h, count=3, axis=-1), strict=True))
        r, z = (graph.one("Sigmoid", graph.one("Add", xs[gate], hs[gate])) for gate in "rz")
        n = graph.one("Tanh", graph.one("Add", graph.one("Mul", r, hs["n"]), xs["n"]))
        mixed = graph.one("Mul", graph.one("Sub", h, n), z)
        return graph.one("Add", mixed, n)
    gates = [gate for gate in order if gate != "n"]
    of_h = product(graph, form, h, "U", packed(held, "U", gates), packed(held, "d", gates))
    hs = dict(zip(gates, graph.add("Split", of_h, count=2, axis=-1), strict=True))
    r, z = (graph.one("Sigmoid", graph.one("Add", xs[gate], hs[gate])) for gate in "rz")
    of_n = product(graph, form, graph.one("Mul", r, h), "U n", held["U_n"], held["d_n"])
    n = graph.one("Tanh", graph.one("Add", of_n, xs["n"]))
    rest = graph.one("Sub", graph.constant("one", np.float32(1)), z)
    return graph.one("Add", graph.one("Mul", rest, n), graph.one("Mul", z, h))


def unrolled(op: str, form: Form, steps: int = 3, reset: str = "after") -> onnx.ModelProto:
    """A model of so many steps: x (T, B, 3), h and perhaps c (B, 4)."""
    graph, held, h, c = Graph(), weights(op), "h", "c"
    for step in range(steps):
        x = graph.one("Gather", "x", graph.constant(f"at {step}", np.array(step)), axis=0)
        if op == "LSTM":
            h, c = lstm_step(graph, form, held, x, h, c)
        else:
            h = gru_step(graph, form, held, x, h, reset)
    graph.nodes.append(helper.make_node("Identity", [h], ["y"]))
    inputs = [made.value("x", made.F, ["T", "B", INPUTS]), made.value("h", made.F, ["B", HIDDEN])]
    inputs += [made.value("c", made.F, ["B", HIDDEN])] if op == "LSTM" else []
    return made.model(graph.nodes, graph.held, inputs)


def in_loop(steps: int = 5, carried: bool = False) -> onnx.ModelProto:
    """A Loop over the steps of an LSTM, whose h and c go from one iteration to the next; `carried` weights do, too, as
    they are."""
    graph, held = Graph(), weights("LSTM")
    x = graph.one("Gather", "x", "i", axis=0)
    h, c = lstm_step(graph, Form("oifg"), held, x, "h in", "c in")
    graph.nodes += [helper.make_node("Identity", ["on"], ["on out"]), helper.make_node("Identity", [h], ["each h"])]
    states = {"h": ("h in", h), "c": ("c in", c)}
    if carried:
        graph.nodes += [helper.make_node("Identity", [name], [f"{name} out"]) for name in graph.held]
        states |= {f"{name} outside": (name, f"{name} out") for name in graph.held}
    body = helper.make_graph(
        graph.nodes, "body",
        [made.value("i", made.I64, []), made.value("on", made.B, []),
         *(made.value(taken, made.F) for taken, _ in states.values())],
        [made.value("on out", made.B, []), *(made.value(given, made.F) for _, given in states.values()),
         made.value("each h", made.F)],
        [] if carried else [numpy_helper.from_array(values, name) for name, values in graph.held.items()],
    )  # fmt: skip
    last = [f"{name} last" for name in states]
    loop = helper.make_node("Loop", ["steps", "yes", *states], [*last, "y"], name="rnn/loop", body=body)
    inputs = [made.value("x", made.F, [steps, "B", INPUTS])]
    inputs += [made.value(name, made.F, ["B", HIDDEN]) for name in "hc"]
    around = {f"{name} outside": values for name, values in graph.held.items()} if carried else {}
    return made.model([loop], {"steps": np.array(steps), "yes": np.array(True), **around}, inputs)
