"""Keras files written by h5py, zipfile and json alone, as Keras 2 and Keras 3 lay them out, and Keras' equations as
plain loops over the kernels in Keras' own order. Nothing here comes from rnnspect."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

INPUTS, UNITS = 3, 4
CLASSES = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
SNAKE = {"lstm": "lstm", "gru": "gru", "rnn": "simple_rnn"}
FUNCTIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "relu": lambda v: np.maximum(v, 0),
    "linear": lambda v: v,
    "softsign": lambda v: v / (1 + np.abs(v)),
    "softplus": lambda v: np.log1p(np.exp(v)),
    "elu": lambda v: np.where(v >= 0, v, np.expm1(v)),
    "leaky_relu": lambda v: np.where(v >= 0, v, 0.2 * v),
    "hard_sigmoid 2": lambda v: np.clip(0.2 * v + 0.5, 0, 1),
    "hard_sigmoid 3": lambda v: np.clip(v / 6 + 0.5, 0, 1),
}


@dataclass
class Layer:
    """One layer and its weights, a set for each direction: kernel, recurrent_kernel, and perhaps a bias."""

    cell: str
    name: str
    config: dict[str, Any] = field(default_factory=dict)
    bidirectional: bool = False
    inputs: int = INPUTS
    seed: int = 0

    def __post_init__(self):
        made = np.random.default_rng(self.seed)
        columns = GATES[self.cell] * UNITS
        shapes = [(self.inputs, columns), (UNITS, columns)]
        if self.config.get("use_bias", True):
            shapes.append((2, columns) if self.cell == "gru" and self.config.get("reset_after") else (columns,))
        ways = 1 + self.bidirectional
        self.weights = [[made.normal(0, 0.6, shape).astype(np.float32) for shape in shapes] for _ in range(ways)]

    def entry(self, **more: Any) -> dict[str, Any]:
        """As in a config."""
        config = {"name": self.name, "units": UNITS, "activation": "tanh", **self.config}
        config |= {} if self.cell == "rnn" else {"recurrent_activation": config.get("recurrent_activation", "sigmoid")}
        one = {"class_name": CLASSES[self.cell], "config": config, **more}
        if not self.bidirectional:
            return one
        both = {"name": self.name, "merge_mode": "concat", "layer": one}
        return {"class_name": "Bidirectional", "config": both, **more}

    def output(self, x: np.ndarray, major: int = 3) -> np.ndarray:
        """(B, T, units), each step at its place in the input, in float64."""
        backwards = self.config.get("go_backwards", False)
        ways = [loop(self, self.weights[0], x[:, ::-1] if backwards else x, major)]
        ways = [ways[0][:, ::-1]] if backwards else ways
        if self.bidirectional:
            ways.append(loop(self, self.weights[1], x[:, ::-1], major)[:, ::-1])
        return np.concatenate(ways, -1)


def loop(layer: Layer, weights: list[np.ndarray], x: np.ndarray, major: int) -> np.ndarray:
    """keras layers/rnn/lstm.py, gru.py and simple_rnn.py, `call` of the cells."""
    kernel, recurrent, *bias = [w.astype(np.float64) for w in weights]
    act, gate = (layer.config.get(key, usual) for key, usual in (("activation", "tanh"), ("recurrent_activation", "")))
    phi, sigma = (FUNCTIONS[f"{name} {major}" if name == "hard_sigmoid" else name] for name in (act, gate or "sigmoid"))
    b = bias[0] if bias else np.zeros(kernel.shape[1])
    h = c = np.zeros((x.shape[0], UNITS))
    out = []
    for t in range(x.shape[1]):
        if layer.cell == "rnn":
            h = phi(x[:, t] @ kernel + h @ recurrent + b)
        elif layer.cell == "lstm":
            zi, zf, zc, zo = np.split(x[:, t] @ kernel + h @ recurrent + b, 4, -1)
            c = sigma(zf) * c + sigma(zi) * phi(zc)
            h = sigma(zo) * phi(c)
        else:
            given, own = (b[0], b[1]) if b.ndim == 2 else (b, np.zeros_like(b))
            xz, xr, xn = np.split(x[:, t] @ kernel + given, 3, -1)
            rz, rr, rn = np.split(recurrent, 3, -1)
            bz, br, bn = np.split(own, 3)
            z, r = sigma(xz + h @ rz + bz), sigma(xr + h @ rr + br)
            after = layer.config.get("reset_after")
            n = phi(xn + (r * (h @ rn + bn) if after else (r * h) @ rn))
            h = z * h + (1 - z) * n
        out.append(h)
    return np.stack(out, 1)


def model(entries: list[dict[str, Any]], kind: str = "Sequential") -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "model", "layers": entries}}


def write_vars(group: h5py.Group, layer: Layer, path: str, names: bool = True) -> None:
    """A layer in the form of Keras 3; newer versions write its name beside."""
    ways = ["/forward_layer", "/backward_layer"] if layer.bidirectional else [""]
    for way, weights in zip(ways, layer.weights, strict=True):
        for at, values in enumerate(weights):
            group[f"{path}{way}/cell/vars/{at}"] = values
    if names:
        group.create_group(f"{path}/vars").attrs["name"] = layer.name


def write_named(group: h5py.Group, layer: Layer, path: str = "", end: str = ":0", cell: str = "cell") -> None:
    """A layer in the form of Keras 2: lstm/lstm_cell/kernel:0."""
    snake = SNAKE[layer.cell]
    ways = [f"/forward_{snake}", f"/backward_{snake}"] if layer.bidirectional else [""]
    for at, (way, weights) in enumerate(zip(ways, layer.weights, strict=True)):
        inner = f"{path}{layer.name}{way}/{snake}_{cell}{f'_{at}' if at else ''}"
        for name, values in zip(("kernel", "recurrent_kernel", "bias"), weights, strict=False):
            group[f"{inner}/{name}{end}"] = values


def keras_3(path: Path, layers: list[Layer], packed: int = zipfile.ZIP_STORED, **also: str) -> Path:
    """A Sequential of these layers as .keras."""
    memory, used = io.BytesIO(), {}
    with h5py.File(memory, "w") as file:
        for layer in layers:
            kind = "bidirectional" if layer.bidirectional else SNAKE[layer.cell]
            used[kind] = used.get(kind, -1) + 1
            write_vars(file, layer, f"layers/{kind}{f'_{used[kind]}' if used[kind] else ''}")
    entries = [{"class_name": "InputLayer", "config": {}}]
    entries += [layer.entry(module="keras.layers", registered_name=None) for layer in layers]
    return zipped(path, json.dumps(model(entries)), memory.getvalue(), packed, **also)


def zipped(path: Path, config: str, weights: bytes, packed: int = zipfile.ZIP_STORED, version: str = "3.15.1") -> Path:
    with zipfile.ZipFile(path, "w", packed) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights)
    return path


def keras_2(path: Path, layers: list[Layer], version: str = "2.15.0") -> Path:
    """A Sequential of these layers as .h5."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["backend"] = "tensorflow"
        file.attrs["model_config"] = json.dumps(model([layer.entry() for layer in layers])).encode()
        for layer in layers:
            group = file.create_group(f"model_weights/{layer.name}")
            write_named(group, layer)
    return path


def cudnn(layer: Layer) -> dict[str, Any]:
    """Turns a layer's weights into those of CuDNNLSTM or CuDNNGRU, as Keras 2 does (`_convert_rnn_weights` of
    saving/legacy/hdf5_format.py, from_cudnn=False), and gives the layer's entry in a config."""
    gates = GATES[layer.cell]
    for weights in layer.weights:
        turned = [kernel.T.reshape(kernel.shape) for kernel in np.hsplit(weights[0], gates)]
        weights[0] = np.hstack(turned)
        weights[1] = np.hstack([kernel.T for kernel in np.hsplit(weights[1], gates)])
        weights[2] = np.tile(0.5 * weights[2], 2) if layer.cell == "lstm" else weights[2].reshape(-1)
    kind = f"CuDNN{CLASSES[layer.cell]}"
    one = {"class_name": kind, "config": {"name": layer.name, "units": UNITS}}
    both = {"name": layer.name, "merge_mode": "concat", "layer": one}
    return {"class_name": "Bidirectional", "config": both} if layer.bidirectional else one


def write_keras_1(group: h5py.Group, layer: Layer, fused: bool = False, end: str = "") -> None:
    """A layer as Keras 1 wrote it (keras 1.2.2 layers/recurrent.py, wrappers.py): lstm_1/lstm_1_W_i, an array for each
    gate, or one for all of them where consume_less="gpu"."""
    own = group.create_group(layer.name)
    order = {"lstm": "ifco", "gru": "zrh", "rnn": ""}[layer.cell]
    ways = ("forward_", "backward_") if layer.bidirectional else ("",)
    for way, weights in zip(ways, layer.weights, strict=True):
        for name, values in zip("WUb", weights, strict=True):
            if fused or not order:
                own[f"{way}{layer.name}_{name}{end}"] = values
            else:
                for gate, part in zip(order, np.split(values, len(order), -1), strict=True):
                    own[f"{way}{layer.name}_{name}_{gate}{end}"] = part
