"""Runs of a drawn network, by implementations that are known to be right, and what was kept of them.

torch itself, its cells stepped one by one, onnxruntime, a loop in numpy that sums in an order of its own, and the
frameworks through rnnspect's engines. Every layer's numbers are (T, B, units), NaN nowhere but where the run has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspect.tracing.prepare import prepare

FRAMEWORKS = ("openvino", "keras", "flax")
Array = NDArray[Any]
Step = Callable[[Tensor, tuple[Tensor, ...]], dict[str, Tensor]]
"""From x (B, I) and the state (h,) or (h, c) to every quantity that is shown, states among them."""


@dataclass(frozen=True)
class Network:
    """A network with what it receives, time-major, and the implementation that runs it."""

    module: nn.RNNBase
    x: Tensor
    h0: Tensor | None
    c0: Tensor | None
    lengths: list[int] | None
    cell: str
    engine: str

    @property
    def directions(self) -> tuple[str, ...]:
        return ("forward", "reverse")[: 1 + self.module.bidirectional]

    def parameter(self, kind: str, layer: int, direction: str) -> Tensor | None:
        found = getattr(self.module, f"{kind}_l{layer}{'_reverse' * (direction == 'reverse')}", None)
        return None if found is None else found.detach()

    def state(self, layer: int, direction: str) -> tuple[Tensor, ...]:
        """(h,) or (h, c) of one layer and direction, (B, units)."""
        place, batch = layer * len(self.directions) + self.directions.index(direction), self.x.shape[1]
        h_units = self.module.proj_size or self.module.hidden_size
        h = self.x.new_zeros(batch, h_units) if self.h0 is None else self.h0[place]
        if not self.cell.startswith("lstm"):
            return (h,)
        return h, self.x.new_zeros(batch, self.module.hidden_size) if self.c0 is None else self.c0[place]


@dataclass(frozen=True)
class Run:
    """output (T, B, D·P), final states (L·D, B, units), and by layer and direction what was seen of it."""

    output: Tensor
    finals: dict[str, Tensor]
    layers: dict[tuple[int, str], dict[str, Tensor]]


def run(network: Network) -> Run:
    """The run, by the network's engine."""
    if network.engine == "torch":
        return _whole(network)
    if network.engine in FRAMEWORKS:
        return _framework(network)
    layers: dict[tuple[int, str], dict[str, Tensor]] = {}
    finals: dict[str, list[Tensor]] = {}
    x = network.x
    for layer in range(network.module.num_layers):
        for direction in network.directions:
            seen, final = _layer(network, x, layer, direction)
            layers[layer, direction] = seen
            for name, value in zip(("h_n", "c_n"), final, strict=False):
                finals.setdefault(name, []).append(value)
        x = torch.cat([layers[layer, direction]["h"] for direction in network.directions], -1)
    return Run(x, {name: torch.stack(values) for name, values in finals.items()}, layers)


def _whole(network: Network) -> Run:
    """torch's own stack."""
    module, first = network.module, network.module.batch_first
    x: Any = network.x.transpose(0, 1) if first else network.x
    state = None if network.h0 is None else network.h0 if network.c0 is None else (network.h0, network.c0)
    if network.lengths is not None:
        x = pack_padded_sequence(x, torch.tensor(network.lengths), first, enforce_sorted=False)
    output, final = module(x, state)
    if network.lengths is not None:
        output, _ = pad_packed_sequence(output, first)
    states = final if isinstance(final, tuple) else (final,)
    return Run(output.transpose(0, 1) if first else output, dict(zip(("h_n", "c_n"), states, strict=False)), {})


def _framework(network: Network) -> Run:
    """The layers of a framework, one after the other."""
    x = network.x.transpose(0, 1) if network.module.batch_first else network.x
    prepared = prepare(network.module, x, network.h0, network.c0, lengths=network.lengths)
    found = prepared.with_engine(network.engine).run()
    assert found.output is not None
    finals = {name: state for name, state in (("h_n", found.h_n), ("c_n", found.c_n)) if state is not None}
    return Run(found.output, finals, {place: {"h": h} for place, h in found.layers.items()})


def _layer(network: Network, x: Tensor, layer: int, direction: str) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Every quantity that is shown of one layer and direction, zero beyond an item's end, and its final states."""
    state = network.state(layer, direction)
    if network.engine == "onnxruntime":
        return _onnxruntime(network, x, layer, direction)
    step = _cell(network, layer, direction) if network.engine == "cells" else _loop(network, layer, direction)
    steps, batch = x.shape[:2]
    ends, each = torch.tensor(network.lengths or [steps] * batch), torch.arange(batch)
    order = range(steps - 1, -1, -1) if direction == "reverse" else range(steps)
    if min(ends) == steps:
        found = []
        for t in order:
            found.append(step(x[t], state))
            state = tuple(found[-1][name] for name in ("h", "c")[: len(state)])
        found = found[::-1] if direction == "reverse" else found
        return {name: torch.stack([q[name] for q in found]) for name in found[0]}, state
    seen: dict[str, Tensor] = {}
    for place in range(steps):
        inside = place < ends
        at = (ends - 1 - place).clamp(min=0) if direction == "reverse" else torch.full((batch,), place)
        q = step(x[at, each], state)
        if not seen:
            seen = {name: value.new_zeros(steps, *value.shape) for name, value in q.items()}
        rows = at[inside], each[inside]
        for name, value in q.items():
            seen[name][rows] = value[inside]
        state = tuple(
            torch.where(inside[:, None], q[name], before) for name, before in zip(("h", "c"), state, strict=False)
        )
    return seen, state


def _cell(network: Network, layer: int, direction: str) -> Step:
    """One of torch.nn's cells with this layer's parameters."""
    weights = [
        network.parameter(f"{kind}_{of}", layer, direction) for kind in ("weight", "bias") for of in ("ih", "hh")
    ]
    assert weights[0] is not None
    given: dict[str, Any] = {"bias": weights[2] is not None, "dtype": network.x.dtype}
    sizes = weights[0].shape[1], network.module.hidden_size
    cell: Any
    if network.cell.startswith("rnn"):
        cell = nn.RNNCell(*sizes, nonlinearity=network.cell[4:], **given)
    else:
        cell = (nn.GRUCell if network.cell == "gru" else nn.LSTMCell)(*sizes, **given)
    for name, value in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), weights, strict=True):
        if value is not None:
            getattr(cell, name).data.copy_(value)

    def step(x: Tensor, state: tuple[Tensor, ...]) -> dict[str, Tensor]:
        found = cell(x, state if len(state) > 1 else state[0])
        return dict(zip(("h", "c"), found if isinstance(found, tuple) else (found,), strict=False))

    return step


def _loop(network: Network, layer: int, direction: str) -> Step:
    """The equations of torch's documentation, in numpy. Half types sum in float32 and store each value in their own."""
    dtype = network.x.dtype
    half, wide = dtype in (torch.float16, torch.bfloat16), torch.float64 if dtype == torch.float64 else torch.float32
    order = network.engine.split()[1]

    def stored(v: Array) -> Array:
        return torch.from_numpy(v).to(dtype).float().numpy() if half else v

    def given(kind: str) -> Array | None:
        value = network.parameter(kind, layer, direction)
        return None if value is None else value.to(wide).numpy()

    w_ih, w_hh, w_hr = given("weight_ih"), given("weight_hh"), given("weight_hr")
    assert w_ih is not None
    assert w_hh is not None
    zero = np.zeros(len(w_ih), w_ih.dtype)
    b_ih, b_hh = (zero if b is None else b for b in (given("bias_ih"), given("bias_hh")))
    joined = np.concatenate([w_ih, w_hh], 1), b_ih + b_hh

    def sigmoid(s: Array) -> Array:
        return stored(1 / (1 + np.exp(-s)) if layer % 2 == 0 else 0.5 * (1 + np.tanh(0.5 * s)))

    def sums(x: Array, h: Array) -> Array:
        if order == "joined":
            return stored(_product(joined[0], np.concatenate([x, h], 1), joined[1], "sequential"))
        return stored(stored(_product(w_ih, x, b_ih, order)) + stored(_product(w_hh, h, b_hh, order)))

    def rnn(x: Array, h: Array) -> dict[str, Array]:
        s = sums(x, h)
        return {"h": stored(np.tanh(s) if network.cell == "rnn tanh" else np.maximum(s, 0))}

    def lstm(x: Array, h: Array, c: Array) -> dict[str, Array]:
        i, f, g, o = np.split(sums(x, h), 4, 1)
        i, f, g, o = sigmoid(i), sigmoid(f), stored(np.tanh(g)), sigmoid(o)
        c = stored(stored(f * c) + stored(i * g))
        m = stored(o * stored(np.tanh(c)))
        out = m if w_hr is None else stored(_product(w_hr, m, np.zeros(len(w_hr), w_hr.dtype), "pairwise"))
        return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": out}

    def gru(x: Array, h: Array) -> dict[str, Array]:
        apart = "sequential" if order == "joined" else order
        xr, xz, xn = np.split(stored(_product(w_ih, x, b_ih, apart)), 3, 1)
        hr, hz, hn = np.split(stored(_product(w_hh, h, b_hh, apart)), 3, 1)
        r, z = sigmoid(stored(xr + hr)), sigmoid(stored(xz + hz))
        n = stored(np.tanh(stored(xn + stored(r * hn))))
        mixed = stored(stored((1 - z) * n) + stored(z * h)) if layer % 2 else stored(n + stored(z * stored(h - n)))
        return {"r": r, "z": z, "n": n, "h": mixed}

    cell = rnn if network.cell.startswith("rnn") else gru if network.cell == "gru" else lstm

    def step(x: Tensor, state: tuple[Tensor, ...]) -> dict[str, Tensor]:
        with np.errstate(all="ignore"):
            found = cell(*(v.to(wide).numpy() for v in (x, *state)))
        return {name: torch.from_numpy(v).to(dtype) for name, v in found.items()}

    return step


def _product(w: Array, v: Array, b: Array, order: str) -> Array:
    """w v + b of each row v (B, k): (B, units), summed in one of several orders."""
    if order == "blas":
        return np.asarray(v @ w.T + b)
    products = v[:, None] * w
    if order == "pairwise":
        return np.asarray(products.sum(-1) + b)
    products = products if order == "sequential" else products[..., ::-1]
    products[..., 0] += b
    return np.asarray(products.cumsum(-1)[..., -1])  # one after the other


def _onnxruntime(
    network: Network, x: Tensor, layer: int, direction: str
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """One operator of ONNX, whose gates are i o f c and z r h."""
    import onnx
    import onnxruntime

    operator, gates = {"rnn": ("RNN", [0]), "lst": ("LSTM", [0, 3, 1, 2]), "gru": ("GRU", [1, 0, 2])}[network.cell[:3]]

    def packed(kind: str) -> Array | None:
        value = network.parameter(kind, layer, direction)
        return None if value is None else np.concatenate([np.split(value.numpy(), len(gates))[g] for g in gates])

    w, r, b_ih, b_hh = (packed(kind) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    assert w is not None
    assert r is not None
    biases = np.zeros(2 * len(w), np.float32) if b_ih is None or b_hh is None else np.concatenate([b_ih, b_hh])
    lengths = np.array(network.lengths or [len(x)] * x.shape[1], np.int32)
    state = [one[None].numpy() for one in network.state(layer, direction)]
    values = [x.numpy(), w[None], r[None], biases[None], lengths, *state]
    names, outputs = ["X", "W", "R", "B", "lengths", "h0", "c0"][: len(values)], ["Y", "h", "c"][: 1 + len(state)]
    more: dict[str, Any] = {"linear_before_reset": 1} if operator == "GRU" else {}
    if operator == "RNN":
        more["activations"] = [network.cell[4:].capitalize()]
    node = onnx.helper.make_node(operator, names, outputs, hidden_size=r.shape[1], direction=direction, **more)
    types = [onnx.TensorProto.INT32 if v.dtype == np.int32 else onnx.TensorProto.FLOAT for v in values]
    given = [onnx.helper.make_tensor_value_info(n, t, v.shape) for n, t, v in zip(names, types, values, strict=True)]
    wanted = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in outputs]
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "one", given, wanted),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y, *final = session.run(None, dict(zip(names, values, strict=True)))
    return {"h": torch.from_numpy(y[:, 0])}, tuple(torch.from_numpy(one[0]) for one in final)


def shown(run: Run, network: Network, what: str) -> dict[str, Tensor]:
    """What somebody records of a run, by the names that a recording has."""
    first = network.module.batch_first
    output = {"output": run.output.transpose(0, 1) if first else run.output}
    if what == "output":
        return output
    if what == "module":
        return output | run.finals
    if what == "final":
        return run.finals
    names = ("h", "c") if what == "layers" else ("i", "f", "g", "o", "r", "z", "n", "c", "h")
    return run.finals | {
        f"l{layer}.{direction}.{name}": seen[name].transpose(0, 1)
        for (layer, direction), seen in run.layers.items()
        for name in names
        if name in seen
    }


def kept(values: Tensor, way: str, narrow: bool) -> Any:
    """The numbers as they come back from where they were kept. With `narrow` text comes back in their own dtype, but
    for half types: that rounds a second time, to a grid of another base, and nothing shows afterwards what was lost."""
    kind, _, decimals = way.partition(":")
    if way == "exact":
        return values.contiguous()
    if way in ("float16", "bfloat16"):
        return values.to(getattr(torch, way))
    if way == "widened":
        return values.double()
    if kind == "np.round" and values.dtype in (torch.float32, torch.float64):
        return np.round(values.numpy(), int(decimals))
    wide = values.double().numpy()
    if kind == "json":
        back = np.array(json.loads(json.dumps(wide.tolist())))
    elif kind in ("decimals", "np.round"):
        back = np.round(wide, int(decimals))
    else:
        written = "%.18e" if way == "savetxt" else way
        back = np.array([float(written % v) for v in wide.ravel().tolist()]).reshape(wide.shape)
    return torch.from_numpy(back).to(values.dtype) if narrow and values.element_size() > 2 else back
