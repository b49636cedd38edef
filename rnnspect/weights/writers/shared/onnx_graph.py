"""A network as one ONNX graph, for the file that `convert` writes and for every engine that runs ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import helper, numpy_helper

from rnnspect.cells.functions import KINDS, functions_of
from rnnspect.network.parameters import LayerParameters
from rnnspect.network.spec import form_of
from rnnspect.weights import layouts
from rnnspect.weights.layouts.packing import pack

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import ModelProto, NodeProto
    from torch import Tensor

    from rnnspect.network.spec import Spec

    Array = np.ndarray[Any, Any]

OPSET, IR = 14, 8
"""Old enough for every onnxruntime that is allowed; helper would write the newest that onnx knows."""
_INT32 = np.dtype(np.int32)


def graph_of(spec: Spec, parameters: Mapping[str, Tensor], lengths: bool) -> tuple[ModelProto, tuple[str, ...]]:
    """A model of one node a layer, of any length and batch, and the notes on what it has no place for.

    Inputs: X (T, B, I), sequence_lens (B) where there are lengths, initial_h_0 (D, B, H), initial_c_0 … a layer.
    Outputs: Y_0 (T, D, B, H), Y_h_0 (D, B, H), Y_c_0 … a layer.
    """
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    nodes: list[NodeProto] = []
    held: dict[str, Array] = {"side by side": np.array([0, 0, -1])}
    inputs = [helper.make_tensor_value_info("X", kind, ["T", "B", spec.input_size])]
    if lengths:
        inputs.append(helper.make_tensor_value_info("sequence_lens", helper.np_dtype_to_tensor_dtype(_INT32), ["B"]))
    outputs, notes, x = [], [], "X"
    for layer in range(spec.num_layers):
        arrays, lost = _packed(spec, parameters, layer)
        notes += lost
        held |= {f"{name}_{layer}": array for name, array in arrays.items()}
        given = [x, *(f"{name}_{layer}" if name in arrays else "" for name in "WRB")]
        given.append("sequence_lens" if lengths else "")
        states = [f"initial_{name}_{layer}" for name in spec.cell_type.states]
        looks = [f"P_{layer}"] if "P" in arrays else []
        out = [f"Y_{layer}", *(f"Y_{name}_{layer}" for name in spec.cell_type.states)]
        nodes.append(helper.make_node(spec.cell_type.torch_name, [*given, *states, *looks], out, **_attributes(spec)))
        shape = [spec.num_directions, "B", spec.hidden_size]
        inputs += [helper.make_tensor_value_info(name, kind, shape) for name in states]
        outputs += [helper.make_tensor_value_info(out[0], kind, ["T", *shape])]
        outputs += [helper.make_tensor_value_info(name, kind, shape) for name in out[1:]]
        if layer + 1 < spec.num_layers:
            x = f"X_{layer + 1}"
            nodes.append(helper.make_node("Transpose", [out[0]], [f"{x} turned"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"{x} turned", "side by side"], [x]))
    initial = [numpy_helper.from_array(array, name) for name, array in held.items()]
    graph = helper.make_graph(nodes, "network", inputs, outputs, initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)
    return model, tuple(notes)


def _packed(spec: Spec, parameters: Mapping[str, Tensor], layer: int) -> tuple[dict[str, Array], list[str]]:
    """W, R, B and P of one layer, (D, …) each, and the notes on what they do not hold."""
    layout, form = layouts.find("onnx"), form_of(spec)
    own = [LayerParameters.of(parameters, layer, direction) for direction in spec.directions]
    packed = [pack(layout, form, _with_f(p) if spec.input_forget else p) for p in own]
    arrays = {name: np.stack([one.arrays[name].numpy() for one in packed]) for name in packed[0].arrays}
    if spec.peepholes:
        arrays["P"] = np.stack([_peepholes(spec, p) for p in own])
    pairs = zip(spec.directions, packed, strict=True)
    return arrays, [f"layer {layer} {direction}: {lost}" for direction, one in pairs for lost in one.lost]


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
