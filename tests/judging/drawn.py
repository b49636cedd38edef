"""Correct runs, drawn at random: the second generator, written without a look at the first.

`draw(seed)` says what a run is to be: a `Plan` that can be read, and made smaller field by field. `make(plan)` gives
the network, its input, and what was recorded of a run of it. The same plan gives the same run.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.judging.drawn_runs import Network, kept, run, shown

Array = NDArray[Any]
Random = np.random.Generator

CELLS = ("rnn tanh", "rnn relu", "lstm", "lstm proj", "gru")
WEIGHTS = ("default", "default", "trained", "trained", "chrono", "identity", "orthogonal", "sparse", "huge", "tiny")
WEIGHTS += ("integer", "counting")
INPUTS = ("randn", "randn", "constant", "sine", "one-hot", "audio", "ramp", "zeros", "spikes", "integer")
SUMS = ("blas", "sequential", "backwards", "pairwise", "joined")
WAYS = ("exact", "exact", "exact", "widened", "float16", "bfloat16", "%.3e", "%.6g", "%.9g", "savetxt", "json")
WAYS += ("decimals:3", "decimals:4", "decimals:6", "np.round:5")
GATES = {"rnn": 1, "lst": 4, "gru": 3}
DTYPES = ("float32",) * 15 + ("float64", "float64", "bfloat16", "bfloat16", "float16")


@dataclass(frozen=True)
class Plan:
    """What a run is to be. Numbers are drawn from `seed` when it is made."""

    seed: int
    cell: str
    dtype: str
    layers: int
    bidirectional: bool
    bias: bool
    units: int
    projected: int
    inputs: int
    batch: int
    steps: int
    lengths: bool
    weights: str
    input: str
    scale: float
    states: str
    """What h0 and c0 are: none, zeros or randn."""
    engine: str
    """torch, cells, onnxruntime, a framework, or the numpy loop with its order of summation: numpy blas, numpy
    sequential …"""
    shown: str
    """output, module, layers, final or all."""
    kept: str
    narrow: bool
    """Whether what was kept as text comes back in the run's own dtype, where float64 is usual."""
    mixed: bool
    """Whether the final states were kept exactly, whatever the rest was."""


@dataclass(frozen=True)
class Made:
    """A run: what `rnnspect.check` takes."""

    module: nn.RNNBase
    x: torch.Tensor
    h0: torch.Tensor | None
    c0: torch.Tensor | None
    lengths: list[int] | None
    recorded: dict[str, Any]


def draw(seed: int) -> Plan:
    """What the run of this seed is to be. Most are short, one in fifty has up to 5000 steps."""
    r = np.random.default_rng(seed)

    def one(of: tuple[Any, ...]) -> Any:
        return of[int(r.integers(len(of)))]

    longest = one(((1, 40),) * 35 + ((41, 200),) * 10 + ((200, 1000),) * 4 + ((1000, 5000),))
    steps = int(r.integers(longest[0], longest[1] + 1))
    cell, dtype = one(CELLS), one(DTYPES)
    units = int(r.integers(1, 9 if steps > 200 else 97 if r.random() < 0.15 else 25))
    cell = "lstm" if cell == "lstm proj" and units < 2 else cell
    engines = ["torch", "torch", "torch", f"numpy {one(SUMS)}", f"numpy {one(SUMS)}", f"numpy {one(SUMS)}"]
    engines += ["cells", "cells"] * (cell != "lstm proj") + ["onnxruntime"] * (
        cell != "lstm proj" and dtype == "float32"
    )
    engine = one(tuple(engines))
    views = ("output", "output", "module", "module", "final")
    views += ("layers",) * 2 * (engine != "torch") + ("all",) * 3 * engine.startswith("numpy")
    return Plan(
        seed=seed,
        cell=cell,
        dtype=dtype,
        layers=one((1, 1, 1, 2, 2, 3)),
        bidirectional=bool(r.random() < 0.3),
        bias=bool(r.random() < 0.8),
        units=units,
        projected=int(r.integers(1, units)) if cell == "lstm proj" else 0,
        inputs=int(r.integers(1, 17)),
        batch=one((1, 2) if steps > 200 else (1, 1, 2, 3, 4)),
        steps=steps,
        lengths=bool(r.random() < 0.2),
        weights=one(WEIGHTS),
        input=one(INPUTS),
        scale=float(10 ** r.uniform(-2, 2)) if r.random() < 0.3 else 1.0,
        states=one(("none", "zeros", "randn", "randn")),
        engine=engine,
        shown=one(views),
        kept=one(WAYS),
        narrow=bool(r.random() < 0.5),
        mixed=bool(r.random() < 0.1),
    )


def make(plan: Plan) -> Made:
    """The run itself, and what was recorded of it."""
    torch.manual_seed(plan.seed)
    r = np.random.default_rng((plan.seed, 1))
    dtype = getattr(torch, plan.dtype)
    module = _module(plan)
    own = {name: parameter.detach().double().numpy() for name, parameter in module.named_parameters()}
    given = weights_of(plan, own, GATES[plan.cell[:3]], r)
    most = min(1e30, float(torch.finfo(dtype).max)) / 4
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name in given:
                parameter.copy_(torch.from_numpy(np.clip(given[name], -most, most)))
    module = module.to(dtype)
    x = torch.from_numpy(np.clip(input_of(plan, r), -most, most)).to(dtype)
    lengths = None
    if plan.lengths:
        lengths = [int(n) for n in r.integers(1, plan.steps + 1, plan.batch)]
        lengths[int(r.integers(plan.batch))] = plan.steps
    h0, c0 = _states(plan, r)
    network = Network(module, x, h0, c0, lengths, plan.cell, plan.engine)
    with torch.no_grad(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported with oneDNN")
        seen = shown(run(network), network, plan.shown)
        recorded = {
            name: kept(values, "exact" if plan.mixed and name in ("h_n", "c_n") else plan.kept, plan.narrow)
            for name, values in seen.items()
        }
    x = x.transpose(0, 1).contiguous() if module.batch_first else x
    return Made(module, x, h0, c0, lengths, recorded)


def _module(plan: Plan) -> nn.RNNBase:
    given: dict[str, Any] = {
        "num_layers": plan.layers,
        "bidirectional": plan.bidirectional,
        "bias": plan.bias,
        "batch_first": plan.seed % 2 == 0,
    }
    sizes = plan.inputs, plan.units
    if plan.cell.startswith("rnn"):
        return nn.RNN(*sizes, nonlinearity=plan.cell[4:], **given)
    if plan.cell == "gru":
        return nn.GRU(*sizes, **given)
    return nn.LSTM(*sizes, proj_size=plan.projected, **given)


def _states(plan: Plan, r: Random) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """h0 (L·D, B, P), and c0 (L·D, B, H) for an LSTM."""
    if plan.states == "none":
        return None, None
    places = plan.layers * (1 + plan.bidirectional)

    def state(units: int) -> torch.Tensor:
        values = r.standard_normal((places, plan.batch, units)) * (plan.states == "randn")
        return torch.from_numpy(values).to(getattr(torch, plan.dtype))

    return state(plan.projected or plan.units), state(plan.units) if plan.cell.startswith("lstm") else None


def weights_of(plan: Plan, torchs: Mapping[str, Array], gates: int, r: Random) -> dict[str, Array]:
    """The parameters that are not torch's own, by name; each has the blocks of so many gates."""
    factor = 10 ** float(r.uniform(0.5, 2.5) if plan.weights == "huge" else -r.uniform(2, 8))
    memory = float(r.choice([10, 100, 1000, 10000]))
    found: dict[str, Array] = {}
    for name, own in torchs.items():
        shape = own.shape
        recurrent, bias = name.startswith("weight_hh"), name.startswith("bias")
        w: Array | None = None
        match plan.weights:
            case "trained":
                w = _trained(shape, r)
            case "chrono" if bias:
                w = _chrono(own, gates, name, memory, r)
            case "counting":
                w = own * 0.2 if not bias else _chrono(own, gates, name, 1e6, r)
            case "identity" if recurrent:
                w = np.tile(np.eye(*_block(shape, gates)), (gates, 1)) * float(r.choice([1.0, 1.0, 0.99, 0.5, -1.0]))
            case "identity" if bias:
                w = own * 0
            case "orthogonal" if recurrent:
                w = np.concatenate([_orthogonal(_block(shape, gates), r) for _ in range(gates)])
            case "sparse":
                w = 3 * r.standard_normal(shape) * (r.random(shape) < 0.1)
            case "huge" | "tiny":
                w = own * factor
            case "integer":
                w = np.rint(r.standard_normal(shape) * float(r.choice([0.4, 0.8, 2.0])))
        if w is not None:
            found[name] = w
    return found


def _block(shape: tuple[int, ...], gates: int) -> tuple[int, int]:
    return shape[0] // gates, shape[1]


def _trained(shape: tuple[int, ...], r: Random) -> Array:
    """A few strong directions in much noise, with outliers, as training leaves them; wide biases."""
    if len(shape) == 1:
        return r.standard_normal(shape) * 0.7
    rank = max(1, min(shape) // 4)
    w = r.standard_normal((shape[0], rank)) @ r.standard_normal((rank, shape[1])) / (rank * shape[1]) ** 0.5
    w = w * float(r.uniform(0.5, 2.5)) + r.standard_normal(shape) * 0.3 / shape[1] ** 0.5
    return np.where(r.random(shape) < 0.01, 6 * w, w)


def _chrono(own: Array, gates: int, name: str, memory: float, r: Random) -> Array:
    """Biases for a memory of so many steps (Tallec & Ollivier, Can recurrent neural networks warp time?, 2018)."""
    if not name.startswith("bias_ih"):
        return own
    blocks = list(np.split(own, gates))
    long = np.log(r.uniform(1, memory, blocks[0].shape) + 1e-3)
    if gates == 4:
        blocks[0], blocks[1] = blocks[0] - long, long
    elif gates == 3:
        blocks[1] = long
    return np.concatenate(blocks)


def _orthogonal(shape: tuple[int, int], r: Random) -> Array:
    """Orthogonal columns; of a projected LSTM, whose blocks are taller than wide, as many as there are."""
    q: Array = np.linalg.qr(r.standard_normal(shape))[0]
    return q


def input_of(plan: Plan, r: Random) -> Array:
    """x (T, B, I)."""
    T, B, n = plan.steps, plan.batch, plan.inputs
    shape, t = (T, B, n), np.arange(T)[:, None, None]
    match plan.input:
        case "randn":
            x = r.standard_normal(shape)
        case "constant":
            x = np.broadcast_to(r.standard_normal((1, B, n)), shape)
        case "sine":
            period = float(r.choice([4, 7.3, 16, 100]))
            x = np.sin(2 * np.pi * (t / period + r.random((1, B, n))))
        case "periodic":
            some = r.standard_normal((int(r.integers(2, 12)), B, n))
            x = some[np.arange(T) % len(some)]
        case "one-hot":
            x = np.eye(n)[r.integers(n, size=(T, B))]
        case "audio":
            x = _audio(shape, r)
        case "ramp":
            x = np.broadcast_to(t + 1.0, shape) / float(r.choice([1, T]))
        case "zeros":
            x = np.zeros(shape)
        case "spikes":
            x = np.where(r.random(shape) < 0.03, 20 * r.standard_normal(shape), 0)
        case _:
            x = np.rint(3 * r.standard_normal(shape))
    return np.array(x * plan.scale)


def _audio(shape: tuple[int, ...], r: Random) -> Array:
    """Resonant noise (two poles) that swells and fades."""
    noise, x = r.standard_normal(shape) * 0.3, np.zeros(shape)
    angle, radius = float(r.uniform(0.05, 2)), float(r.uniform(0.8, 0.99))
    for t in range(shape[0]):
        x[t] = noise[t]
        if t > 1:
            x[t] += 2 * radius * np.cos(angle) * x[t - 1] - radius**2 * x[t - 2]
    envelope = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(shape[0]) / float(r.uniform(20, 400)))
    return np.array(x * envelope[:, None, None])
