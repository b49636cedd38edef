"""The manual path: against the engine, against an independent implementation, and against itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given

from rnnspect import Spec, Trace, trace
from rnnspect.arithmetic.unroll import unroll
from rnnspect.tracing.prepare import prepare
from rnnspect.tracing.running import trace_prepared
from tests.comparison import ARITHMETICS, CELLS, assert_engine_agrees, computing_with, specs
from tests.reference import reference

if TYPE_CHECKING:
    from collections.abc import Iterator

EXACT = {"rtol": 0, "atol": 1e-12}
"""float64 sums of a few dozen products of numbers near 1, in another order: some hundred roundings of 1e-16."""

cells = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())


@pytest.fixture(params=ARITHMETICS, scope="module", autouse=True)
def arithmetic(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds for both: which of them runs is a matter of speed."""
    with pytest.MonkeyPatch.context() as patch:
        computing_with(request.param, patch)
        yield


@given(spec=specs())
def test_manual_equals_engine(device: str, spec: Spec):
    assert_engine_agrees(trace(spec.with_changes(device=device)))


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@cells
def test_manual_equals_engine_when_wide_and_long(device: str, cell: dict[str, Any], dtype: str):
    spec = Spec(
        **cell,
        input_size=40,
        hidden_size=70,
        num_layers=2,
        bidirectional=True,
        dtype=dtype,
        device=device,
        input="randn:300",
        batch=2,
        lengths=[300, 270],
        h0="randn",
    )
    assert_engine_agrees(trace(spec))


@given(spec=specs(dtype="float64"))
def test_every_quantity_equals_an_independent_implementation(spec: Spec):
    prepared = prepare(spec)
    found = trace_prepared(prepared)
    parameters = {name: tensor.numpy() for name, tensor in prepared.parameters.items() if "head" not in name}
    c0 = None if found.c0 is None else found.c0.numpy()
    name = "relu" if spec.nonlinearity == "relu" else spec.cell
    expected = reference(
        name, parameters, found.x.numpy(), found.h0.numpy(), c0, found.lengths, bidirectional=spec.bidirectional
    )
    assert {(layer.layer, layer.direction) for layer in found.layers} == set(expected.layers)
    for layer in found.layers:
        for quantity, values in expected.layers[layer.layer, layer.direction].items():
            _assert_same(layer.quantities[quantity], values, found, f"{quantity} of layer {layer.layer}")
    _assert_same(found.output.manual, expected.output, found, "output")
    _assert_same(found.h_n.manual, expected.h_n, found, "h_n")
    if expected.c_n is not None:
        assert found.c_n is not None
        _assert_same(found.c_n.manual, expected.c_n, found, "c_n")


def _assert_same(manual: torch.Tensor, expected: np.ndarray, found: Trace, what: str) -> None:
    """To 1e-12 of the largest number, wherever the item has a step: padding has a test of its own."""
    inside = ~np.isnan(expected)
    assert manual.shape == expected.shape, what
    peak = max(1.0, np.abs(expected[inside]).max())
    np.testing.assert_allclose(manual.numpy()[inside], expected[inside], rtol=0, atol=1e-12 * peak, err_msg=what)


@pytest.mark.parametrize("bidirectional", [False, True])
@cells
def test_every_quantity_is_nan_beyond_an_items_length(cell: dict[str, Any], bidirectional: bool):
    spec = Spec(**cell, hidden_size=4, num_layers=2, bidirectional=bidirectional, batch=3, lengths=[3, 1, 2])
    padding = torch.tensor([[False] * 3, [False, True, True], [False, False, True]])
    for layer in trace(spec).layers:
        for name in spec.cell_type.quantities:
            values = layer.quantities[name]
            assert torch.equal(values.isnan(), padding[..., None].expand_as(values)), name


@pytest.mark.parametrize("name", ["x", "input_projection"])
def test_what_a_layer_is_given_is_nan_beyond_an_items_length(name: str):
    found = trace(Spec(num_layers=2, batch=2, lengths=[3, 1]))
    for layer in found.layers:
        assert layer.quantities[name][1, 1:].isnan().all(), f"layer {layer.layer}"


def _spec(cell: dict[str, Any], **keys: Any) -> Spec:
    return Spec(**{"hidden_size": 4, "num_layers": 2, "dtype": "float64", "seed": 3, "input": "randn:6"} | cell | keys)


def _same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, **EXACT, equal_nan=True)


def _state_of(found: Trace, rows: slice = slice(None)) -> dict[str, torch.Tensor]:
    """The final state as h0 and c0 of the next part."""
    c_n = {} if found.c_n is None else {"c0": found.c_n.manual[:, rows]}
    return {"h0": found.h_n.manual[:, rows]} | c_n


@cells
def test_an_absent_state_is_zeros(cell: dict[str, Any]):
    spec = _spec(cell, bidirectional=True)
    zeros = {"h0": "zeros"} | ({"c0": "zeros"} if cell["cell"] == "lstm" else {})
    assert torch.equal(trace(spec).output.manual, trace(spec.with_changes(**zeros)).output.manual)


@cells
def test_a_sequence_split_in_two_is_the_whole(cell: dict[str, Any]):
    spec = _spec(cell, batch=2)
    whole = trace(spec)
    first = trace(spec.with_changes(batch=None), whole.x[:, :2])
    second = trace(spec.with_changes(batch=None), whole.x[:, 2:], **_state_of(first))
    for all_of_it, left, right in zip(whole.layers, first.layers, second.layers, strict=True):
        for name, values in all_of_it.quantities.items():
            _same(torch.cat([left.quantities[name], right.quantities[name]], 1), values)
    _same(second.h_n.manual, whole.h_n.manual)


@cells
def test_a_batch_is_its_items_one_by_one(cell: dict[str, Any]):
    spec = _spec(cell, bidirectional=True, batch=3, h0="randn")
    whole = trace(spec)
    for item in range(3):
        c0 = None if whole.c0 is None else whole.c0[:, item]
        alone = trace(spec.with_changes(batch=None), whole.x[item], whole.h0[:, item], c0)
        for layer, one in zip(whole.layers, alone.layers, strict=True):
            for name, values in layer.quantities.items():
                _same(one.quantities[name][0], values[item])
        _same(alone.h_n.manual[:, 0], whole.h_n.manual[:, item])


@cells
def test_the_backward_direction_is_the_reversed_input(cell: dict[str, Any]):
    spec = _spec(cell, num_layers=1, bidirectional=True, h0="randn")
    both = prepare(spec)
    backward = {
        name.removesuffix("_reverse"): tensor.tolist()
        for name, tensor in both.parameters.items()
        if name.endswith("_reverse")
    }
    found = trace_prepared(both)
    c0 = None if found.c0 is None else found.c0[1:]
    alone = spec.with_changes(bidirectional=False, weights=backward)
    reversed_ = trace(alone, found.x.flip(1), found.h0[1:], c0)
    assert found.layers[1].direction == "reverse"
    for name, values in found.layers[1].quantities.items():
        _same(reversed_.layers[0].quantities[name].flip(1), values)
    _same(reversed_.h_n.manual[0], found.h_n.manual[1])


@pytest.mark.each_value_once
@pytest.mark.parametrize("bidirectional", [False, True])
@cells
def test_a_packed_batch_is_each_sequence_alone(cell: dict[str, Any], bidirectional: bool):
    lengths = [4, 6, 1]
    spec = _spec(cell, bidirectional=bidirectional, batch=3, h0="randn", lengths=lengths)
    packed = trace(spec)
    unpacked = spec.with_changes(batch=None, lengths=None)
    for item, length in enumerate(lengths):
        c0 = None if packed.c0 is None else packed.c0[:, item]
        alone = trace(unpacked, packed.x[item, :length], packed.h0[:, item], c0)
        for layer, one in zip(packed.layers, alone.layers, strict=True):
            for name, values in layer.quantities.items():
                _same(one.quantities[name][0], values[item, :length])
        _same(alone.h_n.manual[:, 0], packed.h_n.manual[:, item])
        _same(alone.output.manual[0], packed.output.manual[item, :length])
    assert (packed.output.manual[2, 1:] == 0).all()


@cells
def test_what_stands_in_the_padding_changes_nothing(cell: dict[str, Any]):
    spec = _spec(cell, bidirectional=True, batch=2, lengths=[6, 3])
    clean = trace(spec)
    dirty_x = clean.x.clone()
    dirty_x[1, 3:] = torch.nan
    dirty = trace(spec.with_changes(batch=None), dirty_x)
    assert torch.equal(clean.output.manual, dirty.output.manual)
    assert torch.equal(clean.h_n.manual, dirty.h_n.manual)


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@cells
def test_a_number_that_is_not_finite_flows_through(cell: dict[str, Any], number: float, dtype: str):
    x = [[0.5] * 5, [0.5, number, 0.5, 0.5, 0.5], [0.5] * 5, [0.5] * 5]
    found = trace(_spec(cell, dtype=dtype, input=x))
    before, at = found.layers[0].quantities["h"][0, 0], found.layers[0].quantities["input_projection"][0, 1]
    assert before.isfinite().all()
    assert not at.isfinite().any()
    assert_engine_agrees(found)


def test_a_long_sequence_is_kept_in_the_order_of_its_steps():
    """Longer than any block in which steps are worked on, and not a multiple of one."""
    spec = Spec(input_size=1, hidden_size=1, bidirectional=True, dtype="float64", input="sine:1037")
    found = trace(spec)
    assert_engine_agrees(found)
    assert found.layers[1].quantities["h"].shape == (1, 1037, 1)


def test_progress_counts_every_step_of_every_layer_and_direction():
    done: list[int] = []
    made = prepare(Spec(num_layers=2, bidirectional=True, input="ramp:300"))
    list(unroll(made.spec, made.parameters, made.sequence, done.append))
    assert sum(done) == 300 * 2 * 2


@pytest.mark.parametrize("mode", ["no_grad", "enable_grad", "inference_mode"])
def test_a_trace_can_be_used_in_autograd_whatever_mode_made_it(mode: str):
    """A tensor made in inference mode could not be: the caller did not ask for one."""
    with getattr(torch, mode)():
        found = trace(Spec())
    if mode != "inference_mode":
        assert not found.layers[0].quantities["h"].is_inference()
        assert not found.output.manual.is_inference()
    assert not found.output.manual.requires_grad
