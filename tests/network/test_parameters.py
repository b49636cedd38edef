"""The shapes are arithmetic; here they are held against the modules that PyTorch builds."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnspect import Spec, shapes, trace
from rnnspect.cells import CELLS
from rnnspect.network.parameters import LayerParameters, suffix
from rnnspect.network.quantities import PROJECTIONS
from rnnspect.tracing.prepare import prepare
from rnnspect.tracing.running import trace_prepared
from tests.reference import reference

GRID = [
    {"cell": cell, "num_layers": layers, "bidirectional": both, "bias": bias, "proj_size": proj}
    for cell, layers, both, bias, proj in itertools.product(
        ("rnn", "lstm", "gru"), (1, 2, 3), (False, True), (True, False), (0, 3)
    )
    if cell == "lstm" or not proj
]
SIZES = {"input_size": 6, "hidden_size": 4}

grid = pytest.mark.parametrize(
    "keys", GRID, ids=lambda k: f"{k['cell']}-{k['num_layers']}-{k['bidirectional']}-{k['bias']}-{k['proj_size']}"
)


def _module(keys: dict[str, Any]) -> nn.RNNBase:
    options = {name: value for name, value in (SIZES | keys).items() if name not in {"cell", "proj_size"}}
    if keys["proj_size"]:
        options["proj_size"] = keys["proj_size"]
    return getattr(nn, keys["cell"].upper())(**options, batch_first=True)


@grid
def test_parameters_are_those_of_the_module(keys: dict[str, Any]):
    named = [(name, tuple(parameter.shape)) for name, parameter in _module(keys).named_parameters()]
    found = shapes(Spec(**SIZES, **keys))
    assert [(parameter.name, parameter.shape) for parameter in found.parameters] == named
    assert found.total == sum(parameter.numel() for parameter in _module(keys).parameters())


@grid
def test_the_module_is_printed_as_pytorch_prints_it(keys: dict[str, Any]):
    assert shapes(Spec(**SIZES, **keys)).module == repr(_module(keys))


# PyTorch says so of its own projection: not what is tested.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@grid
@pytest.mark.parametrize("batch_first", [True, False])
def test_shapes_that_come_out_are_those_that_come_out(keys: dict[str, Any], batch_first: bool):
    module = _module(keys)
    module.batch_first = batch_first
    sizes = {"B": 2, "T": 3}
    found = shapes(Spec(**SIZES, **keys, batch_first=batch_first))

    def sized(axes: Any) -> tuple[int, ...]:
        assert len(axes.names) == len(axes.shape)
        return tuple(sizes.get(size, size) for size in axes.shape)

    with torch.no_grad():
        output, final = module(torch.zeros(sized(found.input)))
    h_n, c_n = final if isinstance(final, tuple) else (final, None)
    assert sized(found.output) == output.shape
    assert sized(found.h_n) == h_n.shape
    assert (found.c_n and sized(found.c_n)) == (None if c_n is None else c_n.shape)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_bytes_are_those_of_the_tensors(dtype: str):
    spec = Spec(cell="lstm", dtype=dtype, head={"out_features": 3})
    found = shapes(spec)
    tensors = prepare(spec).parameters
    assert {p.name: p.bytes for p in found.parameters} == {n: t.numel() * t.itemsize for n, t in tensors.items()}
    assert found.bytes == sum(t.numel() * t.itemsize for t in tensors.values())


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("proj_size", [0, 2])
def test_the_head_is_a_linear_on_the_final_hidden_state(bidirectional: bool, proj_size: int):
    spec = Spec(cell="lstm", hidden_size=4, proj_size=proj_size, bidirectional=bidirectional, head={"out_features": 3})
    found = shapes(spec)
    linear = nn.Linear((proj_size or 4) * (2 if bidirectional else 1), 3)
    named = [(f"head.{name}", tuple(parameter.shape)) for name, parameter in linear.named_parameters()]
    assert [(p.name, p.shape) for p in found.parameters if p.name.startswith("head.")] == named
    assert found.head is not None
    assert found.head.shape == ("B", 3)
    assert f"(head): {linear}" in found.module


def test_a_model_with_a_head_is_printed_as_pytorch_prints_it():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(64, 32, num_layers=2, batch_first=True, dropout=0.5)
            self.head = nn.Linear(32, 1)

    spec = Spec(input_size=64, hidden_size=32, num_layers=2, dropout=0.5, head={"out_features": 1})
    assert shapes(spec).module == repr(Model())


@pytest.mark.parametrize(
    ("keys", "name", "reads"),
    [
        ({"cell": "rnn"}, "weight_ih_l0", "hidden × input"),
        ({"cell": "rnn"}, "bias_hh_l0", "hidden"),
        ({"cell": "lstm"}, "weight_ih_l0", "4·hidden × input"),
        ({"cell": "lstm"}, "weight_ih_l1", "4·hidden × hidden"),
        ({"cell": "lstm", "proj_size": 3}, "weight_ih_l1", "4·hidden × proj"),
        ({"cell": "lstm", "proj_size": 3}, "weight_hh_l1", "4·hidden × proj"),
        ({"cell": "lstm", "proj_size": 3}, "weight_hr_l1", "proj × hidden"),
        ({"cell": "gru", "bidirectional": True}, "weight_ih_l1_reverse", "3·hidden × 2·hidden"),
        ({"cell": "gru", "bidirectional": True}, "head.weight", "out × 2·hidden"),
        ({"cell": "lstm", "proj_size": 3}, "head.weight", "out × proj"),
    ],
)
def test_a_shape_can_be_read(keys: dict[str, Any], name: str, reads: str):
    spec = Spec(hidden_size=4, num_layers=2, head={"out_features": 1}, **keys)
    assert {parameter.name: parameter.reads for parameter in shapes(spec).parameters}[name] == reads


@grid
def test_gate_rows_cover_a_packed_parameter_once(keys: dict[str, Any]):
    for parameter in shapes(Spec(**SIZES, **keys)).parameters:
        if parameter.name.startswith("weight_hr"):
            assert parameter.gates == ()
        else:
            rows = [row for gate in parameter.gates for row in range(gate.start, gate.stop)]
            assert rows == list(range(parameter.shape[0])), parameter.name
            assert [gate.name for gate in parameter.gates] == list(CELLS[keys["cell"]].gates)


# What a gate is when all that it sums is zero: σ(0), tanh(0).
AT_ZERO = {"i": 0.5, "f": 0.5, "g": 0.0, "o": 0.5, "r": 0.5, "z": 0.5, "n": 0.0}


@pytest.mark.parametrize(("cell", "gate"), [("lstm", g) for g in "ifgo"] + [("gru", g) for g in "rzn"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_the_rows_of_a_gate_make_that_gate_and_no_other(cell: str, gate: str, direction: str):
    """Zeroing them leaves σ(0) or tanh(0); at the first step processed, all other gates are as they were."""
    spec = Spec(cell=cell, hidden_size=3, bidirectional=True, dtype="float64", input="randn:4", h0="randn")
    prepared = prepare(spec)
    x, h0 = prepared.sequence.x.transpose(0, 1).numpy(), prepared.sequence.h0.numpy()
    c0 = None if prepared.sequence.c0 is None else prepared.sequence.c0.numpy()
    arrays = {name: tensor.numpy().copy() for name, tensor in prepared.parameters.items()}
    expected = reference(cell, arrays, x, h0, c0, bidirectional=True).layers[0, direction]
    for parameter in shapes(spec).parameters:
        rows = next(found for found in parameter.gates if found.name == gate)
        prepared.parameters[parameter.name][rows.start : rows.stop] = 0
    layer = trace_prepared(prepared).layers[direction == "reverse"]
    first = -1 if direction == "reverse" else 0
    assert np.abs(expected[gate][0, first] - AT_ZERO[gate]).min() > 1e-3
    assert (layer.quantities[gate][0] == AT_ZERO[gate]).all()
    inside = {"n"} if gate == "r" else set()  # a GRU's r is a factor in its n
    others = set(CELLS[cell].gates) - {gate} - inside
    for name in others:
        # Some ten roundings of numbers near 1 in float64.
        np.testing.assert_allclose(layer.quantities[name][0, first].numpy(), expected[name][0, first], atol=1e-14)


@pytest.mark.parametrize(
    ("layer", "direction", "expected"), [(0, "forward", "_l0"), (2, "forward", "_l2"), (1, "reverse", "_l1_reverse")]
)
def test_names_end_as_pytorch_ends_them(layer: int, direction: str, expected: str):
    assert suffix(layer, direction) == expected


def test_a_layer_without_bias_or_projection_has_none():
    prepared = prepare(Spec(bias=False))
    found = LayerParameters.of(prepared.parameters, 0, "forward")
    assert (found.bias_ih, found.bias_hh, found.weight_hr) == (None, None, None)


def test_shapes_of_a_live_module_are_those_of_its_spec():
    module = nn.LSTM(6, 4, 2, batch_first=True, proj_size=3, bidirectional=True)
    spec = Spec(cell="lstm", input_size=6, hidden_size=4, num_layers=2, proj_size=3, bidirectional=True)
    assert shapes(module).parameters == shapes(spec).parameters
    assert shapes(module).module == repr(module)


def test_a_size_that_no_machine_can_hold_still_has_a_shape():
    found = shapes(Spec(cell="lstm", input_size=2**31 - 1, hidden_size=2**31 - 1))
    assert found.parameters[0].shape == (4 * (2**31 - 1), 2**31 - 1)
    assert found.total == 8 * (2**31 - 1) * (2**31 - 1) + 8 * (2**31 - 1)


def test_quantities_of_a_trace_are_those_that_the_cell_names():
    for name, cell in CELLS.items():
        assert tuple(trace(Spec(cell=name)).layers[0].quantities) == ("x", *PROJECTIONS, *cell.quantities)
