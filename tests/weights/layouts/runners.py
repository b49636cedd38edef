"""How to run one layer of each framework on arrays that are packed for it: what holds a row of the table to account.

Each takes the form, the packed arrays, x (B, T, I), h0 and c0 (B, H), all float32, and gives h (B, T, H). It raises
ImportError where the framework is not installed.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Arrays = dict[str, np.ndarray]
    Runner = Callable[[str, Arrays, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def pytorch(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    import torch

    layer = getattr(torch.nn, form.upper())(x.shape[2], h.shape[1], batch_first=True)
    layer.load_state_dict({f"{name}_l0": torch.from_numpy(value) for name, value in a.items()})
    state = [torch.from_numpy(value)[None] for value in ([h, c] if form == "lstm" else [h])]
    return layer(torch.from_numpy(x), tuple(state) if form == "lstm" else state[0])[0].detach().numpy()


def onnx(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    constants = (
        {name: value[None] for name, value in a.items()} | {"h": h[None]} | ({"c": c[None]} if form == "lstm" else {})
    )
    attributes = {"linear_before_reset": int(form == "gru")} if form.startswith("gru") else {}
    given = ["x", "W", "R", "B", "", "h", *(["c"] if form == "lstm" else [])]
    node = helper.make_node(form[:4].strip("-").upper(), given, ["y"], hidden_size=h.shape[1], **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None, x.shape[2]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x.swapaxes(0, 1).copy()})[0][:, 0].swapaxes(0, 1)


def keras(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    kinds = {"rnn": keras.layers.SimpleRNN, "lstm": keras.layers.LSTM}
    more = {"reset_after": form == "gru"} if form.startswith("gru") else {}
    layer = kinds.get(form, keras.layers.GRU)(h.shape[1], return_sequences=True, **more)
    layer.build(x.shape)
    layer.set_weights([a[weight.name] for weight in layer.weights])
    found = layer(x, initial_state=[h, c] if form == "lstm" else [h])
    return keras.ops.convert_to_numpy(found)


def keras_cudnn(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Keras 2's LSTM and GRU turn the arrays of CuDNNLSTM and CuDNNGRU into their own when they load them; the same
    lines as there, `_convert_rnn_weights` of keras/saving/legacy/hdf5_format.py, from_cudnn=True."""
    gates = {"lstm": 4, "gru": 3}[form]

    def transform(kernels: np.ndarray, turn: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        return np.hstack([turn(kernel) for kernel in np.hsplit(kernels, gates)])

    kernels = transform(a["kernel"], lambda kernel: kernel.T.reshape(kernel.shape, order="F"))
    recurrent = transform(a["recurrent_kernel"], lambda kernel: kernel.T)
    biases = np.split(a["bias"], 2)
    bias = biases[0] + biases[1] if form == "lstm" else np.stack(biases)
    return keras(form, {"kernel": kernels, "recurrent_kernel": recurrent, "bias": bias}, x, h, c)


def keras_1(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Keras 2's LSTM and GRU stack the arrays of Keras 1 when they load them, in their own order
    (`preprocess_weights_for_loading`, same file)."""
    order = {"lstm": "ifco", "gru-before": "zrh"}[form]
    names = {"kernel": "W", "recurrent_kernel": "U", "bias": "b"}
    fused = {name: np.concatenate([a[f"{old}_{gate}"] for gate in order], -1) for name, old in names.items()}
    return keras(form, fused, x, h, c)


def flax_nnx(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    from flax import nnx

    kinds = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
    cell = kinds[form](x.shape[2], h.shape[1], rngs=nnx.Rngs(0))
    for name, value in a.items():
        layer, _, kind = name.partition(".")
        getattr(getattr(cell, layer), kind)[...] = value
    return _loop(cell, (c, h) if form == "lstm" else h, x)


def flax_linen(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    from flax import linen
    from flax.traverse_util import unflatten_dict

    kinds = {"rnn": linen.SimpleCell, "lstm": linen.LSTMCell, "gru": linen.GRUCell}
    cell, params = kinds[form](h.shape[1]), unflatten_dict(a, sep=".")
    return _loop(lambda carry, x_t: cell.apply({"params": params}, carry, x_t), (c, h) if form == "lstm" else h, x)


def haiku(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    import haiku

    kinds = {"rnn": haiku.VanillaRNN, "lstm": haiku.LSTM, "gru-before": haiku.GRU}
    params: dict[str, dict[str, np.ndarray]] = {}
    for name, value in a.items():
        module, _, leaf = name.rpartition("/")
        params.setdefault("/".join(filter(None, ["cell", module])), {})[leaf] = value
    step = haiku.without_apply_rng(haiku.transform(lambda x_t, s: kinds[form](h.shape[1], name="cell")(x_t, s)))
    state: Any = haiku.LSTMState(h, c) if form == "lstm" else h
    return _loop(lambda state, x_t: step.apply(params, x_t, state)[::-1], state, x)


def equinox(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    import equinox
    import jax

    kinds = {"lstm": equinox.nn.LSTMCell, "gru": equinox.nn.GRUCell}
    cell = kinds[form](x.shape[2], h.shape[1], key=jax.random.PRNGKey(0))
    cell = equinox.tree_at(lambda cell: [getattr(cell, name) for name in a], cell, list(a.values()))

    def step(state: Any, x_t: Any) -> Any:
        new = jax.vmap(cell)(x_t, state)
        return new, new[0] if form == "lstm" else new

    return _loop(step, (h, c) if form == "lstm" else h, x)


def mlx(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    import mlx.core as mx
    import mlx.nn

    layer = getattr(mlx.nn, form.upper())(x.shape[2], h.shape[1])
    layer.load_weights([(name, mx.array(np.ascontiguousarray(value))) for name, value in a.items()])
    state = [mx.array(value) for value in ([h, c] if form == "lstm" else [h])]
    found = layer(mx.array(x), *state)
    return np.array(found[0] if form == "lstm" else found)


def openvino(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    import openvino
    from openvino import opset14 as ops

    size = h.shape[1]
    given = ops.parameter(list(x.shape), np.float32)
    packed = [ops.constant(a[name][None]) for name in "WRB"]
    lengths, state = ops.constant(np.full(len(x), x.shape[1], np.int32)), [ops.constant(h[:, None])]
    if form == "lstm":
        node = ops.lstm_sequence(given, *state, ops.constant(c[:, None]), lengths, *packed, size, "forward")
    elif form == "rnn":
        node = ops.rnn_sequence(given, *state, lengths, *packed, size, "forward")
    else:
        node = ops.gru_sequence(given, *state, lengths, *packed, size, "forward", linear_before_reset=form == "gru")
    model = openvino.Model([node.output(0)], [given])
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # the CPU plugin may else take bfloat16
    return openvino.compile_model(model, "CPU", exact)(x)[0][:, 0]


def tinygrad(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    os.environ.setdefault("DEV", "PYTHON")  # its CPU device wants a compiler
    from tinygrad import Tensor
    from tinygrad.nn import LSTMCell

    cell, found = LSTMCell(x.shape[2], h.shape[1]), []
    for name, value in a.items():
        setattr(cell, name, Tensor(value))
    state: Any = (Tensor(h), Tensor(c))
    for x_t in x.swapaxes(0, 1):
        state = cell(Tensor(x_t.copy()), state)
        found.append(state[0].numpy())
    return np.stack(found, 1)


def ncnn(form: str, a: Arrays, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> np.ndarray:
    import ncnn

    size, names = h.shape[1], ["x", "h0", *(["c0"] if form == "lstm" else [])]
    outs = ["y", "h1", *(["c1"] if form == "lstm" else [])]
    lines = ["7767517", f"{len(names) + 1} {len(names) + len(outs)}"]
    lines += [f"Input {name} 0 1 {name}" for name in names]
    lines += [
        f"{form.upper()} cell {len(names)} {len(outs)} {' '.join([*names, *outs])} 0={size} 1={a['weight_xc'].size} 2=0"
    ]
    raw = b"".join(bytes(4) + np.ascontiguousarray(a[name]).tobytes() for name in ("weight_xc", "bias_c", "weight_hc"))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "m.param").write_text("\n".join(lines) + "\n")
        Path(folder, "m.bin").write_bytes(raw)
        net = ncnn.Net()
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = net.opt.use_bf16_storage = (
            False
        )
        assert net.load_param(f"{folder}/m.param") == 0
        assert net.load_model(f"{folder}/m.bin") == 0
        found = []
        for b in range(len(x)):
            extractor = net.create_extractor()
            for name, value in zip(names, [x[b], h[b : b + 1], c[b : b + 1]], strict=False):
                extractor.input(name, ncnn.Mat(np.ascontiguousarray(value)).clone())
            found.append(np.array(extractor.extract("y")[1]))
    return np.stack(found)


def _loop(step: Callable[[Any, Any], Any], state: Any, x: np.ndarray) -> np.ndarray:
    found = []
    for x_t in x.swapaxes(0, 1):
        state, out = step(state, x_t)
        found.append(np.asarray(out))
    return np.stack(found, 1)


RUNNERS: dict[str, Runner] = {
    "pytorch": pytorch,
    "onnx": onnx,
    "keras": keras,
    "keras-cudnn": keras_cudnn,
    "keras-1": keras_1,
    "flax-nnx": flax_nnx,
    "flax-linen": flax_linen,
    "haiku": haiku,
    "equinox": equinox,
    "mlx": mlx,
    "openvino": openvino,
    "tinygrad": tinygrad,
    "ncnn": ncnn,
}
