"""onnxruntime as an engine: a graph of one recurrent node, built and run here; a loop that shares no code with torch.

Both packages are imported when first used: everything else here runs without them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

    from rnnspect.network.parameters import LayerParameters

MISSING = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]

OPERATORS = {"tanh": "RNN", "relu": "RNN", "gru": "GRU", "lstm": "LSTM"}
ORDER = {"tanh": (0,), "relu": (0,), "gru": (1, 0, 2), "lstm": (0, 3, 1, 2)}
"""ONNX's gates, z r h and i o f c, by their places in PyTorch's r z n and i f g o."""

_OPSET, _IR = 14, 8
"""Old enough for every onnxruntime that is allowed; helper would write the newest that onnx knows."""


def in_onnxruntime(
    kind: str, p: LayerParameters, x: Tensor, h0: Tensor, c0: Tensor, lengths: Tensor | None, reverse: bool
) -> Tensor:
    """x (T, B, I) in float32; (T, B, H), zeros after an item's end."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    feed = {"X": x.numpy(), "initial_h": h0[None].numpy()}
    if kind == "lstm":
        feed["initial_c"] = c0[None].numpy()
    if lengths is not None:
        feed["sequence_lens"] = lengths.int().numpy()
    graph = _graph(kind, p, feed, reverse)
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (y,) = session.run(["Y"], feed)
    return torch.from_numpy(y[:, 0])  # Y has an axis of directions


def _graph(kind: str, p: LayerParameters, feed: dict[str, np.ndarray[Any, Any]], reverse: bool) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    held = {"W": _rows(kind, p.weight_ih), "R": _rows(kind, p.weight_hh)}
    if p.bias_ih is not None and p.bias_hh is not None:
        held["B"] = np.concatenate([_rows(kind, p.bias_ih), _rows(kind, p.bias_hh)], axis=1)
    names = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c"][: 7 if kind == "lstm" else 6]
    attributes: dict[str, Any] = {"hidden_size": p.weight_hh.shape[1], "direction": "reverse" if reverse else "forward"}
    if kind == "gru":
        attributes["linear_before_reset"] = 1  # r ⊙ (W_hn h + b_hn), as in PyTorch
    if OPERATORS[kind] == "RNN":
        attributes["activations"] = [kind.capitalize()]
    given = [name if name in held or name in feed else "" for name in names]  # an empty name is an input left out
    node = helper.make_node(OPERATORS[kind], given, ["Y"], **attributes)
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for name, v in feed.items()
    ]
    output = helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)
    initial = [numpy_helper.from_array(v, name) for name, v in held.items()]
    graph = helper.make_graph([node], "layer", inputs, [output], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    serialised: bytes = model.SerializeToString()
    return serialised


def _rows(kind: str, w: Tensor) -> np.ndarray[Any, Any]:
    """(G·H, …) in ONNX's order of gates, with its axis of directions before."""
    order = list(ORDER[kind])
    blocks = w.numpy().reshape(len(order), -1, *w.shape[1:])
    return blocks[order].reshape(1, *w.shape)
