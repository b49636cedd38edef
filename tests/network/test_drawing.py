"""What is drawn is what a person gets who seeds and builds the module in a notebook, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from torch import nn

from rnnspect import Spec, trace
from rnnspect.tracing.prepare import prepare
from tests.comparison import specs

if TYPE_CHECKING:
    from rnnspect.tracing.prepare import Prepared

SPECS: list[dict[str, Any]] = [
    {},
    {"cell": "rnn", "nonlinearity": "relu", "num_layers": 3},
    {"cell": "lstm", "hidden_size": 7},
    {"cell": "lstm", "hidden_size": 7, "proj_size": 3, "num_layers": 2, "bidirectional": True},
    {"cell": "gru", "hidden_size": 40, "num_layers": 2, "bidirectional": True, "batch": 3, "head": {"out_features": 2}},
    {"cell": "gru", "bias": False, "head": {"out_features": 1}, "input": "randn:100"},
    {"cell": "lstm", "batch": 2, "batch_first": False, "seed": 2**63, "head": {"out_features": 20}},
    {"input_size": 64, "hidden_size": 32, "num_layers": 2, "head": {"out_features": 1}, "batch": 5, "seed": 0},
]


def _as_in_a_notebook(spec: Spec) -> dict[str, torch.Tensor]:
    """What the lines that a person types give, global generator and all."""
    options: dict[str, Any] = {"proj_size": spec.proj_size} if spec.proj_size else {}
    if spec.nonlinearity:
        options["nonlinearity"] = spec.nonlinearity
    steps = int(str(spec.input).partition(":")[2])
    batch = () if spec.batch is None else (spec.batch,)
    stacked = spec.num_layers * (2 if spec.bidirectional else 1)
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        module = getattr(nn, spec.cell.upper())(
            spec.input_size,
            spec.hidden_size,
            spec.num_layers,
            bias=spec.bias,
            batch_first=spec.batch_first,
            bidirectional=spec.bidirectional,
            **options,
        )
        found = dict(module.named_parameters())
        if spec.head:
            width = (spec.proj_size or spec.hidden_size) * (2 if spec.bidirectional else 1)
            head = nn.Linear(width, spec.head.out_features)
            found |= {f"head.{name}": parameter for name, parameter in head.named_parameters()}
        shape = (*batch, steps) if spec.batch_first else (steps, *batch)
        found["x"] = torch.randn(*shape, spec.input_size)
        found["h0"] = torch.randn(stacked, *batch, spec.proj_size or spec.hidden_size)
        if spec.cell == "lstm":
            found["c0"] = torch.randn(stacked, *batch, spec.hidden_size)
    return {name: tensor.detach() for name, tensor in found.items()}


def _as_the_user_lays_it_out(prepared: Prepared) -> dict[str, torch.Tensor]:
    sequence, spec = prepared.sequence, prepared.spec
    x = sequence.x.transpose(0, 1) if sequence.batched and spec.batch_first else sequence.x
    found = prepared.parameters | {"x": x, "h0": sequence.h0} | ({} if sequence.c0 is None else {"c0": sequence.c0})
    if not sequence.batched:
        found |= {name: found[name].squeeze(1) for name in ("x", "h0", "c0") if name in found}
    return found


def _random(keys: dict[str, Any]) -> Spec:
    cell_state = {"c0": "randn"} if keys.get("cell") == "lstm" else {}
    return Spec(**{"input": "randn:7", "h0": "randn"} | cell_state | keys)


def _assert_drawn_as_in_a_notebook(spec: Spec) -> None:
    found, expected = _as_the_user_lays_it_out(prepare(spec)), _as_in_a_notebook(spec)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name].contiguous().view(torch.int32), tensor.view(torch.int32)), name


@pytest.mark.parametrize("keys", SPECS)
def test_float32_numbers_are_those_of_a_notebook(keys: dict[str, Any]):
    _assert_drawn_as_in_a_notebook(_random(keys))


@given(spec=specs(dtype="float32", input="randn:5", h0="randn", lengths=None))
def test_float32_numbers_are_those_of_a_notebook_whatever_the_spec(spec: Spec):
    _assert_drawn_as_in_a_notebook(spec.with_changes(c0="randn" if spec.cell == "lstm" else None))


def test_the_notebooks_own_numbers():
    """Cells 1, 5, 6 and 7 of the notebook: seed 1, five ones, twos and threes."""
    found = trace(Spec())
    printed = torch.tensor([[-0.35198015, 0.52525216], [-0.68424344, 0.76074266], [-0.8649416, 0.90466356]])
    hidden = torch.tensor([[-0.4701929, 0.58639044], [-0.88883156, 1.2364398], [-1.3074702, 1.8864892]])
    # The notebook prints 7 or 8 digits: one unit in the last of them, and one rounding of another processor.
    torch.testing.assert_close(found.output.engine[0], printed, rtol=0, atol=1.2e-7)
    torch.testing.assert_close(found.output.manual[0], printed, rtol=0, atol=1.2e-7)
    torch.testing.assert_close(found.layers[0].quantities["input_projection"][0], hidden, rtol=0, atol=2.4e-7)


@pytest.mark.parametrize("keys", SPECS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes_are_the_same_numbers_cast(keys: dict[str, Any], dtype: str):
    cast = _as_the_user_lays_it_out(prepare(_random(keys | {"dtype": dtype})))
    for name, tensor in _as_the_user_lays_it_out(prepare(_random(keys))).items():
        assert torch.equal(cast[name], tensor.to(getattr(torch, dtype))), name


def test_numbers_are_the_same_on_every_device(device: str):
    there, here = prepare(_random({"device": device})), prepare(_random({}))
    for name, tensor in here.parameters.items():
        assert torch.equal(there.parameters[name].cpu(), tensor), name
    assert torch.equal(there.sequence.x.cpu(), here.sequence.x)
    assert torch.equal(there.sequence.h0.cpu(), here.sequence.h0)


@pytest.mark.parametrize("keys", SPECS)
def test_the_callers_generator_is_left_alone(keys: dict[str, Any]):
    before = torch.random.get_rng_state()
    trace(_random(keys))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_callers_generator_changes_nothing():
    with torch.random.fork_rng():
        torch.manual_seed(11)
        one = trace(_random({}))
        torch.manual_seed(12)
        other = trace(_random({}))
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.output.manual, other.output.manual)


def test_another_seed_is_another_network():
    one, other = prepare(_random({})), prepare(_random({"seed": 2}))
    assert not torch.equal(one.parameters["weight_ih_l0"], other.parameters["weight_ih_l0"])
    assert not torch.equal(one.sequence.x, other.sequence.x)


def test_a_given_state_leaves_the_drawn_x_as_it_was():
    assert torch.equal(prepare(_random({"h0": "ones"})).sequence.x, prepare(_random({})).sequence.x)


def test_given_weights_leave_the_drawn_x_as_it_was():
    drawn = prepare(_random({}))
    numbers = {name: (tensor + 1).tolist() for name, tensor in drawn.parameters.items()}
    assert torch.equal(prepare(_random({"weights": numbers})).sequence.x, drawn.sequence.x)


def test_a_head_is_drawn_between_the_parameters_and_x():
    with_head, without = prepare(_random({"head": {"out_features": 1}})), prepare(_random({}))
    assert torch.equal(with_head.parameters["weight_ih_l0"], without.parameters["weight_ih_l0"])
    assert not torch.equal(with_head.sequence.x, without.sequence.x)


def test_the_callers_defaults_change_nothing():
    """torch.set_default_dtype and a device context would."""
    expected = trace(Spec(cell="lstm"), "randn:3")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = trace(Spec(cell="lstm"), "randn:3")
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(found.x, expected.x)
    assert torch.equal(found.output.manual, expected.output.manual)
    with torch.device("meta"):
        found = trace(Spec(cell="lstm"), "randn:3")
    assert torch.equal(found.output.manual, expected.output.manual)
