"""One layer with random parameters, and the ONNX node that is it, run by onnxruntime or by onnx.reference.

The node is packed here by hand, and every mistake in it is made by hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import rnnspect
from rnnspect import Spec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rnnspect.judging.verdict import Verdict

Array = NDArray[np.float32]
STEPS, BATCH, INPUTS, HIDDEN = 9, 4, 3, 5
LENGTHS = [9, 4, 7, 2]
PYTORCH = {"rnn": "h", "gru": "rzn", "lstm": "ifgo"}
ONNX = {"rnn": "h", "gru": "zrn", "lstm": "iofg"}
"""Both orders of gates: torch.nn's documentation, and ONNX's Operators.md, where g is c and n is h."""


@dataclass(frozen=True)
class Layer:
    """`keys` are those of a spec beside the sizes."""

    keys: dict[str, Any]
    lengths: list[int] | None = None
    seed: int = 0
    drawn: dict[str, Array] = field(default_factory=dict)
    """Every array by its name: the parameters of each direction, x (T, B, I), h0 and c0 (D, B, H)."""

    def __post_init__(self) -> None:
        rng, peepholes = np.random.default_rng(self.seed), 2 if self.keys.get("input_forget") else 3
        shapes: dict[str, tuple[int, ...]] = {"x": (STEPS, BATCH, INPUTS)}
        shapes |= {state: (len(self.ends), BATCH, HIDDEN) for state in self.states}
        for end in self.ends:
            rows = len(self.gates) * HIDDEN
            shapes |= {f"weight_ih_l0{end}": (rows, INPUTS), f"weight_hh_l0{end}": (rows, HIDDEN)}
            shapes |= {f"bias_ih_l0{end}": (rows,), f"bias_hh_l0{end}": (rows,)}
            if self.keys.get("peepholes"):
                shapes[f"weight_ch_l0{end}"] = (peepholes * HIDDEN,)
        self.drawn.update({name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()})

    @property
    def cell(self) -> str:
        return str(self.keys["cell"])

    @property
    def gates(self) -> str:
        gates = PYTORCH[self.cell]
        return gates.replace("f", "") if self.keys.get("input_forget") else gates

    @property
    def ends(self) -> list[str]:
        both = self.keys.get("bidirectional")
        return ["", "_reverse"] if both else ["_reverse"] if self.keys.get("reverse") else [""]

    @property
    def states(self) -> list[str]:
        return ["h0", "c0"] if self.cell == "lstm" else ["h0"]

    @cached_property
    def spec(self) -> Spec:
        own = {name: value.tolist() for name, value in self.drawn.items() if name.startswith(("weight", "bias"))}
        return Spec(**self.keys, input_size=INPUTS, hidden_size=HIDDEN, batch_first=False, weights=own)

    def check(self, recorded: Mapping[str, Any]) -> Verdict:
        given = [self.drawn[name] for name in ("x", *self.states)]
        return rnnspect.check(self.spec, *given, lengths=self.lengths, recorded=recorded)

    def attributes(self) -> dict[str, Any]:
        """Of the node that is this layer."""
        directions = {"": "forward", "_reverse": "reverse"}
        said: dict[str, Any] = {"hidden_size": HIDDEN}
        said["direction"] = "bidirectional" if len(self.ends) > 1 else directions[self.ends[0]]
        if self.cell == "gru":
            said["linear_before_reset"] = int(self.keys.get("reset") != "before")
        said |= {"input_forget": 1} if self.keys.get("input_forget") else {}
        return said | ({"clip": self.keys["clip"]} if "clip" in self.keys else {})

    def inputs(self) -> dict[str, Array]:
        """Of the node that is this layer, by its names for them."""
        per_end = [self._packed(end) for end in self.ends]
        given = {name: np.stack([one[name] for one in per_end]) for name in per_end[0]}
        given |= {f"initial_{state[0]}": self.drawn[state] for state in self.states}
        if self.lengths:
            given["sequence_lens"] = np.array(self.lengths, np.int32)
        return given | {"X": self.drawn["x"]}

    def _packed(self, end: str) -> dict[str, Array]:
        def rows(name: str) -> Array:
            own = self.drawn[f"{name}_l0{end}"]
            blocks = dict(zip(self.gates, np.split(own, len(self.gates)), strict=True))
            return np.concatenate([blocks.get(gate, np.zeros_like(blocks[self.gates[0]])) for gate in ONNX[self.cell]])

        made = {"W": rows("weight_ih"), "R": rows("weight_hh")}
        made["B"] = np.concatenate([rows("bias_ih"), rows("bias_hh")])
        if self.keys.get("peepholes"):
            gates = "io" if self.keys.get("input_forget") else "ifo"
            seen = dict(zip(gates, np.split(self.drawn[f"weight_ch_l0{end}"], len(gates)), strict=True))
            made["P"] = np.concatenate([seen.get(gate, np.zeros(HIDDEN, np.float32)) for gate in "iof"])
        return made


def run(layer: Layer, runtime: str, inputs: Mapping[str, Array], attributes: Mapping[str, Any]) -> dict[str, Array]:
    """What a node gives: output (T, B, D·H), h_n and perhaps c_n (D, B, H)."""
    order = ["X", "W", "R", "B", "sequence_lens", "initial_h", *(["initial_c", "P"] if layer.cell == "lstm" else [])]
    given = [name if name in inputs else "" for name in order]
    outputs = ["Y", "Y_h", "Y_c"] if layer.cell == "lstm" else ["Y", "Y_h"]
    node = helper.make_node(layer.cell.upper(), given, outputs, **attributes)
    held = [numpy_helper.from_array(np.ascontiguousarray(v), name) for name, v in inputs.items() if name != "X"]
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, None, INPUTS])
    y = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph([node], "one node", [x], y, held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    found = _RUNTIMES[runtime](model, {"X": inputs["X"]})
    names = ["output", "h_n", "c_n"][: len(found)]
    return dict(zip(names, [found[0].transpose(0, 2, 1, 3).reshape(STEPS, BATCH, -1), *found[1:]], strict=True))


def _onnxruntime(model: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, feed))


def _reference(model: onnx.ModelProto, feed: dict[str, Array]) -> list[Array]:
    return [np.ascontiguousarray(one) for one in ReferenceEvaluator(model).run(None, feed)]


_RUNTIMES = {"onnxruntime": _onnxruntime, "onnx.reference": _reference}


def first(verdict: Verdict) -> tuple[str, dict[str, Any]]:
    """The cause that is named first, and accounts for all that differs."""
    assert verdict.verdict == "differ"
    assert verdict.causes, verdict.pattern
    cause = verdict.causes[0]
    assert cause.worst_ratio_after <= 1 < cause.worst_ratio_before
    assert cause.left == ()
    return cause.name, cause.parameters
