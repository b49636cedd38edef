"""Every engine with gradients × cell × layers × directions × lengths: they are those of torch.autograd in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from rnnspect import Spec, engines
from rnnspect.engines.interface import GO_BACK, backward_of
from rnnspect.errors import EngineError
from rnnspect.tracing.prepare import prepare
from tests.engines.gradients import ROUNDINGS, apart, by_name, expected, upstream_of
from tests.engines.test_engines import CANNOT, CELLS, LENGTHS, find

STACKS: dict[str, dict[str, Any]] = {
    "one": {},
    "batch-of-one": {"batch": 1},
    "lengths": {"lengths": LENGTHS},
    "no-biases": {"bias": False},
    "stack": {"num_layers": 2, "bidirectional": True, "lengths": LENGTHS},
}


def prepared_of(cell: str, **more: Any) -> Any:
    sizes = {"input_size": 4, "hidden_size": 6, "input": "randn:7", "batch": 3, "h0": "randn"}
    return prepare(Spec(**{**CELLS[cell], **sizes, **more}))


def backward(engine: Any, prepared: Any, **options: Any) -> tuple[Any, Any]:
    upstream = upstream_of(prepared, **options)
    found = backward_of(engine).backward(prepared.spec, prepared.parameters, prepared.sequence, upstream)
    return found, expected(prepared, upstream)


@pytest.mark.filterwarnings("ignore")  # whatever a framework warns of is not ours
@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", [name for name in GO_BACK if name != "torch-compile"])
def test_they_are_those_of_autograd(name, cell, stack):
    engine = find(name)
    dtype = "float32" if name == "keras" else "float64"
    prepared = prepared_of(cell, dtype=dtype, **STACKS[stack])
    if CANNOT.get((name, cell)):
        with pytest.raises(EngineError, match="cannot run"):
            backward(engine, prepared)
        return
    if name == "flax" and cell == "gru":  # it has no b_hn
        for parameter, values in prepared.parameters.items():
            if parameter.startswith("bias_hh"):
                values[-6:] = 0
    found, right = backward(engine, prepared)
    given = by_name(found)
    if name == "flax" and cell == "gru":
        right = {key: values for key, values in right.items() if not key.startswith("bias_hh")}
    assert apart(given, right) <= ROUNDINGS
    assert not any(values.requires_grad for values in given.values())


@pytest.mark.slow  # the compiler takes a minute
def test_the_compilers_are_those_of_autograd():
    prepared = prepared_of("lstm", input="randn:3", batch=2)
    found, right = backward(find("torch-compile"), prepared)
    assert apart(by_name(found), right) <= ROUNDINGS


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("name", ["torch", "torch-cell"])
def test_in_every_dtype(name, cell, dtype):
    prepared = prepared_of(cell, dtype=dtype)
    found, right = backward(engines.find(name), prepared, states=False)
    assert apart(by_name(found), right) <= ROUNDINGS
    assert {values.dtype for values in by_name(found).values()} == {getattr(torch, dtype)}


@pytest.mark.parametrize("name", ["torch", "torch-cell"])
def test_whatever_autograd_is_told_outside(name):
    prepared = prepared_of("gru", lengths=LENGTHS)
    prepared.sequence.x[prepared.sequence.valid().logical_not()] = float("nan")  # what is padding is in no gradient
    with torch.inference_mode():
        inside = backward_of(engines.find(name)).backward(
            prepared.spec, prepared.parameters, prepared.sequence, upstream_of(prepared)
        )
    prepared.sequence.x.nan_to_num_(0)
    assert apart(by_name(inside), expected(prepared, upstream_of(prepared))) <= ROUNDINGS


MODULES = {
    "LSTM": lambda: nn.LSTM(4, 6, 2, dropout=0.5, batch_first=True),
    "GRU": lambda: nn.GRU(4, 6, bidirectional=True),
    "LSTMCell": lambda: nn.LSTMCell(4, 6),
    "weight_norm": lambda: parametrizations.weight_norm(nn.GRU(4, 6), "weight_hh_l0"),
    "weight_norm of a cell": lambda: parametrizations.weight_norm(nn.GRUCell(4, 6), "weight_hh"),
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_live_module_stays_as_it_is(kind):
    module: Any = MODULES[kind]().double().train()
    frozen = next(module.parameters()).requires_grad_(False)
    before = {name: values.detach().clone() for name, values in module.named_parameters()}
    for values in module.parameters():
        values.grad = None if values is frozen else torch.ones_like(values)
    generator = torch.Generator().manual_seed(0)
    prepared = prepare(module, torch.randn(3, 7, 4, generator=generator, dtype=torch.float64))
    found, right = backward(prepared.engine, prepared)
    assert apart(by_name(found), right) <= ROUNDINGS
    assert module.training
    assert not frozen.requires_grad
    assert frozen.grad is None
    for name, values in module.named_parameters():
        assert torch.equal(values, before[name])
        assert values is frozen or bool((values.grad == 1).all())
    assert getattr(module, "dropout", None) == {"LSTM": 0.5, "GRU": 0.0, "weight_norm": 0.0}.get(kind)


def test_a_cell_whose_weights_each_call_makes_anew_is_refused():
    with pytest.warns(FutureWarning):
        cell = nn.utils.weight_norm(nn.GRUCell(4, 6), "weight_hh")
    prepared = prepare(cell, torch.zeros(7, 4))
    with pytest.raises(EngineError, match=r"each call of it makes weight_hh anew"):
        backward(prepared.engine, prepared)


def test_a_module_of_inference_mode_is_refused():
    with torch.inference_mode():
        module = nn.GRU(4, 6)
    prepared = prepare(module, torch.zeros(7, 4))
    with pytest.raises(EngineError, match=r"the module was made in torch.inference_mode\(\)"):
        backward(prepared.engine, prepared)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", engines.names())
def test_who_has_none_is_refused_in_one_place(name):
    engine = find(name)
    if name in GO_BACK:
        assert backward_of(engine) is engine
        return
    with pytest.raises(EngineError, match=f"{name} has no backward pass; choose torch, torch-cell"):
        backward_of(engine)
