"""A network as one ONNX model: what `convert` writes, and what every engine that runs ONNX runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor

from rnnspect.cells.functions import KINDS, functions_of
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.recording import STATES
from rnnspect.network.spec import Spec, form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts.packing import pack

Array = np.ndarray[Any, Any]

OPSET, IR = 14, 8
"""Old enough for every onnxruntime that is allowed; helper would write the newest that onnx knows."""
_SIDE_BY_SIDE, _ROWS = "side by side", "rows of a layer"


def model_of(spec: Spec, parameters: Mapping[str, Tensor], lengths: bool, batch_first: bool) -> ModelProto:
    """A model with a node for each layer, B and T free.

    Inputs: x (B, T, I) or (T, B, I), as `batch_first` says; h0 (L·D, B, H); c0 of an LSTM; lengths (B,), int32, where
    they are wanted. Outputs: output (B, T, D·H) or (T, B, D·H), h_n and c_n as in torch.nn. Inside the node of layer l
    gives Y_l (T, D, B, H).
    """
    every = range(spec.num_layers)
    held: dict[str, Array] = {_SIDE_BY_SIDE: np.array([0, 0, -1])}
    before, nodes, after = [], list[NodeProto](), []
    starts, ends = [], []
    for state in spec.cell_type.states:
        given, final = STATES[state]
        starts.append([f"initial_{state}_{at}" for at in every] if len(every) > 1 else [given])
        ends.append([f"Y_{state}_{at}" for at in every] if len(every) > 1 else [final])
        if len(every) > 1:
            before.append(helper.make_node("Split", [given, _ROWS], starts[-1], f"{given} by layer", axis=0))
            after.append(helper.make_node("Concat", ends[-1], [final], f"{final} of all layers", axis=0))
    x = "x turned" if batch_first else "x"
    if batch_first:
        before.append(helper.make_node("Transpose", ["x"], [x], "batch last", perm=[1, 0, 2]))
    for layer in every:
        arrays = _packed(spec, parameters, layer)
        held |= {f"{name}_{layer}": array for name, array in arrays.items()}
        inputs = [x, *(f"{name}_{layer}" if name in arrays else "" for name in "WRB"), "lengths" if lengths else ""]
        inputs += [names[layer] for names in starts] + ([f"P_{layer}"] if "P" in arrays else [])
        outputs = [f"Y_{layer}", *(names[layer] for names in ends)]
        op = spec.cell_type.torch_name
        nodes.append(helper.make_node(op, inputs, outputs, f"{op.lower()}_l{layer}", **_attributes(spec)))
        if layer + 1 < len(every):
            x = f"X_{layer + 1}"
            nodes.append(helper.make_node("Transpose", [f"Y_{layer}"], [f"{x} turned"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"{x} turned", _SIDE_BY_SIDE], [x]))
    perm = [2, 0, 1, 3] if batch_first else [0, 2, 1, 3]
    after.append(helper.make_node("Transpose", [f"Y_{every[-1]}"], ["Y turned"], "units last", perm=perm))
    after.append(helper.make_node("Reshape", ["Y turned", _SIDE_BY_SIDE], ["output"], "output"))
    held |= {_ROWS: np.full(len(every), spec.num_directions, np.int64)} if len(every) > 1 else {}
    constants = [numpy_helper.from_array(array, name) for name, array in held.items()]
    declared = _declared(spec, lengths, batch_first)
    graph = helper.make_graph([*before, *nodes, *after], "network", *declared, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)


def _declared(spec: Spec, lengths: bool, batch_first: bool) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """The inputs and the outputs."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    steps = ["B", "T"] if batch_first else ["T", "B"]
    stacked = [len(spec.places), "B", spec.hidden_size]
    states = [STATES[state] for state in spec.cell_type.states]
    inputs = [helper.make_tensor_value_info("x", kind, [*steps, spec.input_size])]
    inputs += [helper.make_tensor_value_info(name, kind, stacked) for name, _ in states]
    inputs += [helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"])] if lengths else []
    outputs = [helper.make_tensor_value_info("output", kind, [*steps, spec.num_directions * spec.hidden_size])]
    outputs += [helper.make_tensor_value_info(name, kind, stacked) for _, name in states]
    return inputs, outputs


def _packed(spec: Spec, parameters: Mapping[str, Tensor], layer: int) -> dict[str, Array]:
    """W, R, B and P of one layer, (D, …) each. They have a place for every parameter but weight_hr."""
    layout, form = layouts.find("onnx"), form_of(spec)
    own = [LayerParameters.of(parameters, layer, direction) for direction in spec.directions]
    packed = [pack(layout, form, _with_f(p) if spec.input_forget else p) for p in own]
    arrays = {name: np.stack([one[name].numpy() for one in packed]) for name in packed[0]}
    if spec.peepholes:
        arrays["P"] = np.stack([_peepholes(spec, p) for p in own])
    return arrays


def _attributes(spec: Spec) -> dict[str, Any]:
    attributes: dict[str, Any] = {"hidden_size": spec.hidden_size}
    attributes["direction"] = "bidirectional" if spec.bidirectional else spec.directions[0]
    if form_of(spec) == "gru":
        attributes["linear_before_reset"] = 1  # r ⊙ (W_hn h + b_hn), as in PyTorch
    if spec.input_forget:
        attributes["input_forget"] = 1
    if spec.clip is not None:
        attributes["clip"] = spec.clip
    return attributes | _activations(spec)


def _activations(spec: Spec) -> dict[str, Any]:
    """Every function of every direction, with the α and β of those that have them one after the other."""
    if spec.activations is None and spec.nonlinearity != "relu":
        return {}
    functions = [functions_of(spec.nonlinearity_of(direction)) for direction in spec.directions]
    chosen = [getattr(own, name) for own in functions for name in spec.cell_type.functions]
    attributes: dict[str, Any] = {"activations": [f.name.title().replace("_", "") for f in chosen]}
    for number in ("alpha", "beta"):
        if values := [getattr(f, number) for f in chosen if number in KINDS[f.name].numbers]:
            attributes[f"activation_{number}"] = values
    return attributes


def _with_f(p: LayerParameters) -> LayerParameters:
    """With zero rows for f, which the operator wants even where the gates are coupled, and then does not use."""

    def of(values: Tensor) -> Tensor:
        i, g, o = values.chunk(3)
        return torch.cat([i, torch.zeros_like(i), g, o])

    b_ih, b_hh = (None if b is None else of(b) for b in (p.bias_ih, p.bias_hh))
    return LayerParameters(of(p.weight_ih), of(p.weight_hh), b_ih, b_hh, None)


def _peepholes(spec: Spec, p: LayerParameters) -> Array:
    """(3·H,) in ONNX's order i o f; zero for a gate that does not see the cell state."""
    assert p.weight_ch is not None
    zeros = p.weight_ch.new_zeros(spec.hidden_size)
    seen = dict(zip(spec.cell_type.peepholes, p.weight_ch.chunk(len(spec.cell_type.peepholes)), strict=True))
    whole: Array = torch.cat([seen.get(gate, zeros) for gate in "iof"]).numpy()
    return whole
