"""Every gradient that can be derived is autograd's, and what is written down adds up to it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.arithmetic.chain_rule import names_of_pre_activations
from rnnspect.cells import CELLS
from rnnspect.cells.interface import Cell
from rnnspect.network.losses import loss_of
from rnnspect.network.parameters import parameters_of
from rnnspect.network.spec import Spec
from rnnspect.reporting.data import Address
from rnnspect.reporting.gradients.data import GradientDerivation
from rnnspect.reporting.gradients.deriving import derive_gradient
from rnnspect.reporting.gradients.locating import located
from rnnspect.tracing.prepare import Prepared, prepare
from rnnspect.views.derive_gradient import gradient_document
from rnnspect.views.documents import as_json
from tests import readding
from tests.cells.test_one_file import minimal
from tests.marks import sampled
from tests.reporting.gradients import autograd

if TYPE_CHECKING:
    from collections.abc import Callable

CLOSE = 1e-12
"""Relative to the largest of the same name. Each of some 5 steps rounds some tens of times, by 1e-16 each."""

NETWORKS: list[dict[str, Any]] = [
    {"cell": "rnn"},
    {"cell": "rnn", "nonlinearity": "relu", "bidirectional": True, "num_layers": 2},
    {"cell": "gru", "bidirectional": True, "num_layers": 2, "lengths": [4, 2]},
    {"cell": "gru", "bias": False},
    {"cell": "gru", "reset": "before", "bidirectional": True, "lengths": [3, 4]},
    {"cell": "lstm", "lengths": [2, 4], "bidirectional": True, "num_layers": 2},
    {"cell": "lstm", "proj_size": 2, "num_layers": 2},
    {"cell": "lstm", "proj_size": 1, "bidirectional": True, "lengths": [1, 4]},
    {"cell": "lstm", "peepholes": True, "bidirectional": True, "lengths": [4, 3]},
    {"cell": "lstm", "input_forget": True, "reverse": True},
    {"cell": "lstm", "input_forget": True, "peepholes": True, "num_layers": 2},
    {"cell": "lstm", "clip": 0.4},
    {"cell": "gru", "clip": 0.3, "num_layers": 2},
    {"cell": "lstm", "activations": ["hard_sigmoid(0.3, 0.4)", "softsign", "scaled_tanh(1.5, 0.7)"]},
    {"cell": "gru", "activations": ["sigmoid", "softplus"], "reset": "before"},
    {"cell": "lstm", "activations": ["affine(0.5, 0.1)", "elu(0.5)", "leaky_relu(0.1)"], "clip": 0.5},
    {"cell": "rnn", "activations": ["thresholded_relu(0.1)"], "reverse": True},
]


def made(network: dict[str, Any]) -> Prepared:
    spec = Spec(input_size=3, hidden_size=3, dtype="float64", batch_first=False, seed=4, **network)
    x = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    return prepare(spec, x, *["randn"] * len(spec.cell_type.states))


def derived(prepared: Prepared, gradient: str, step: int | None = None, loss: str = "mean", **place: Any) -> Any:
    at = located(prepared, gradient, Address(step=0, unit=0, **place), step)
    return derive_gradient(prepared, at, loss_of(loss, prepared.spec, prepared.sequence, "loss"))


def theirs_of(prepared: Prepared) -> autograd.Found:
    """Of the mean of the output, inside each item's length."""
    spec, sequence = prepared.spec, prepared.sequence
    count = sum(map(sequence.length, range(sequence.batch))) * spec.output_size * spec.num_directions
    return autograd.gradients(prepared, lambda output: output.sum() / count)


def readded(derivation: GradientDerivation, parameters: dict[str, Tensor]) -> dict[str, Any]:
    """Every printed number of the document is what the numbers below it give."""
    document: dict[str, Any] = json.loads(as_json(gradient_document(derivation)))
    if document["equations"]:
        readding.readd(document, parameters)
    products = []
    for terms in document["terms"]:
        for one in terms["products"]:
            assert one["value"] == (one["left"] if one["right"] is None else one["left"] * one["right"])
        sizes = [abs(one["value"]) for one in terms["products"]]
        assert sizes == sorted(sizes, reverse=True)
        assert terms["value"] == math.fsum(one["value"] for one in terms["products"])
        products += terms["products"]
    if products:
        assert document["point"]["manual"] == math.fsum(one["value"] for one in products)
    return document


@pytest.mark.parametrize("network", sampled(NETWORKS, 3), ids=str)
def test_a_parameter(network: dict[str, Any]) -> None:
    prepared = made(network)
    theirs = theirs_of(prepared)
    for one in parameters_of(prepared.spec):
        whole = theirs[one.name,]
        for place in (one.count // 2 + 1, one.count - 1):
            index = tuple(int(at) for at in torch.unravel_index(torch.tensor(place % one.count), one.shape))
            found = derived(prepared, f"{one.name}[{','.join(map(str, index))}]")
            assert found.value == pytest.approx(float(whole[index]), rel=0, abs=CLOSE * float(whole.abs().max()))
            document = readded(found, prepared.parameters)
            inside = sum(map(prepared.sequence.length, range(2)))
            assert [len(terms["products"]) for terms in document["terms"]] == [inside]


@pytest.mark.parametrize("network", sampled(NETWORKS, 4), ids=str)
def test_every_gate_and_state(network: dict[str, Any]) -> None:
    assert_derived(made(network))


def test_a_cell_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its equations alone: nothing says what their derivatives are."""
    cell = Cell("mgu", "", ("f", "n"), ("h",), ("f", "n", "h"), ("sigmoid", "tanh"), minimal, mixes=True)
    monkeypatch.setitem(CELLS, "mgu", cell)
    prepared = made({"cell": "mgu", "num_layers": 2})
    assert_derived(prepared)
    found = derived(prepared, "weight_hh_l1[4,1]")
    whole = theirs_of(prepared)["weight_hh_l1",]
    assert found.value == pytest.approx(float(whole[4, 1]), rel=0, abs=CLOSE * float(whole.abs().max()))
    readded(found, prepared.parameters)


def assert_derived(prepared: Prepared) -> None:
    """At the first and last step, and one in between, of each layer, direction and item."""
    cell, theirs = prepared.spec.cell_type, theirs_of(prepared)
    names = names_of_pre_activations(cell)
    for layer, direction in prepared.spec.places:
        for step, batch in [(0, 0), (1, 1), (-1, 0)]:
            at = step % prepared.sequence.length(batch)
            packed = theirs[layer, direction, at, "pre"].chunk(len(names), -1)
            named = {name: theirs[layer, direction, at, name] for name in cell.quantities}
            for name, values in (named | dict(zip(names, packed, strict=True))).items():
                unit = values.shape[-1] - 1
                found = derived(prepared, f"{name}[{unit}]", at, layer=layer, direction=direction, batch=batch)
                most = max(float(values.abs().max()), 1e-3)
                assert found.value == pytest.approx(float(values[batch, unit]), rel=0, abs=CLOSE * most), (name, at)
                readded(found, prepared.parameters)


@pytest.mark.parametrize("network", sampled(NETWORKS, 3), ids=str)
def test_the_input_and_the_initial_states(network: dict[str, Any]) -> None:
    prepared = made(network)
    spec, theirs = prepared.spec, theirs_of(prepared)
    for batch in (0, 1):
        for step in range(prepared.sequence.length(batch)):
            found = derived(prepared, "x[2]", step, batch=batch)
            assert found.value == pytest.approx(float(theirs["x", step][batch, 2]), rel=CLOSE, abs=CLOSE)
            readded(found, prepared.parameters)
        for name in ("h0", "c0")[: len(spec.cell_type.states)]:
            for row, (layer, direction) in enumerate(spec.places):
                found = derived(prepared, f"{name}[-1]", layer=layer, direction=direction, batch=batch)
                value = float(theirs[name,][row, batch, -1])
                assert found.value == pytest.approx(value, rel=CLOSE, abs=CLOSE)
                readded(found, prepared.parameters)


@pytest.mark.parametrize("loss", ["sum", "mean", "last"])
def test_each_loss(loss: str) -> None:
    prepared = made({"cell": "lstm", "lengths": [2, 4]})
    lengths = prepared.sequence.lengths or ()
    losses = {
        "sum": lambda y: y.sum(),
        "mean": lambda y: y.sum() / (sum(lengths) * 3),
        "last": lambda y: sum(y[n - 1, item].sum() for item, n in enumerate(lengths)),
    }
    theirs = autograd.gradients(prepared, losses[loss])
    found = derived(prepared, "weight_hh_l0[4,1]", loss=loss)
    assert found.value == pytest.approx(float(theirs["weight_hh_l0",][4, 1]), rel=CLOSE)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("name", ["weight_hh_l0[0,0]", "bias_ih_l0[1]"])
def test_the_engine_goes_back_from_the_same_loss(cell: str, name: str) -> None:
    """Also where the loss takes final states, which have a gradient of their own."""
    prepared = made({"cell": cell})
    loss = "drawn:h_n,c_n" if cell == "lstm" else "drawn:h_n"
    found = derived(prepared, name, loss=loss)
    assert found.engine_value == pytest.approx(found.value, rel=CLOSE)
    assert found.value != pytest.approx(derived(prepared, name, loss="drawn").value, rel=1e-3)


def test_what_is_said_to_be_derived_in_turn_is_the_number_in_the_equation() -> None:
    """From a lower layer, so that x of the layer above is among them."""
    prepared = made({"cell": "gru", "num_layers": 2, "bidirectional": True})
    found = derived(prepared, "h[1]", 1, layer=0, direction="reverse")
    said = {one.what: one.arguments for one in found.in_turn}
    assert said["dL/doutput[step 1, 1]"] == {"gradient": "x[4]", "step": 1, "layer": 1}
    for one in found.equations[0].expression.leaves():
        what = found.names.address(one.of[0] if one.of else one, "k" if one.of else found.unit)
        if " · " in what or one.kind == "next quantity" or what not in said:
            continue
        arguments = dict(said[what])
        gradient, step = str(arguments.pop("gradient")).replace("k", "2"), int(str(arguments.pop("step")))
        again = derived(prepared, gradient, step, **arguments).value
        there = found.evaluation.factors(one, 1)[1][2] if one.of else found.evaluation.value(one, 1)
        assert again == pytest.approx(float(there), rel=CLOSE, abs=CLOSE * 1e-3), what


def test_the_sum_over_no_step_has_no_surprise() -> None:
    """One step, one item: the only product."""
    prepared = prepare(Spec(cell="rnn", hidden_size=2, dtype="float64"), "randn:1")
    found = derived(prepared, "weight_ih_l0[0,0]", loss="sum")
    [terms] = found.terms
    assert terms.products.tolist() == [found.value]


WRITTEN = [
    ({"cell": "gru"}, "weight_hh_l0[1,2]", "dL/ds_r[step, 1] · h[step before, 2]"),
    ({"cell": "gru"}, "weight_hh_l0[7,2]", "dL/ds_n[step, 1] · r[step, 1] · h[step before, 2]"),
    ({"cell": "gru"}, "bias_hh_l0[7]", "dL/ds_n[step, 1] · r[step, 1]"),
    ({"cell": "gru"}, "weight_ih_l0[7,2]", "dL/ds_n[step, 1] · x[step, 2]"),
    ({"cell": "gru", "reset": "before"}, "weight_hh_l0[7,2]", "dL/ds_n[step, 1] · r[step, 2] · h[step before, 2]"),
    ({"cell": "lstm", "proj_size": 2}, "weight_hr_l0[1,2]", "dL/dh[step, 1] · o[step, 2] · tanh(c[step, 2])"),
    ({"cell": "lstm", "peepholes": True}, "weight_ch_l0[7]", "dL/ds_o[step, 1] · c[step, 1]"),
    ({"cell": "lstm", "peepholes": True}, "weight_ch_l0[4]", "dL/ds_f[step, 1] · c[step before, 1]"),
]


@pytest.mark.parametrize(("network", "name", "written"), WRITTEN, ids=str)
def test_what_a_parameters_gradient_is_the_sum_of(network: dict[str, Any], name: str, written: str) -> None:
    [terms] = gradient_document(derived(made(network), name))["terms"]
    assert terms["written"] == f"Σ over steps and items: {written}"


IN_THE_LIBRARY: dict[str, Callable[[rnnspect.Gradients], Tensor]] = {
    "f[2]": lambda found: found.layers[1].quantities["f"][1, 3, 2],
    "s_o[1]": lambda found: found.layers[1].pre_activations["o"][1, 3, 1],
    "weight_ih_l1[4,2]": lambda found: found.parameters["weight_ih_l1"].gradient.manual[4, 2],
    "h0[1]": lambda found: found.h0.manual[1, 1, 1],
}


@pytest.mark.parametrize("name", IN_THE_LIBRARY)
def test_the_library_gives_it_by_its_name(name: str) -> None:
    """Of a live module, as `rnnspect.gradients` has it: both in float64, some hundreds of roundings of 1e-16 apart."""
    module = torch.nn.LSTM(3, 3, num_layers=2, dtype=torch.float64)
    x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    step = -2 if name in ("f[2]", "s_o[1]") else None
    item = 0 if name.startswith("weight") else 1
    found = rnnspect.derive(module, x, gradient=name, loss="last", batch_index=item, step=step, layer=1)
    expected = float(IN_THE_LIBRARY[name](rnnspect.gradients(module, x, loss="last")))
    assert found.value == pytest.approx(expected, rel=1e-10, abs=1e-13)
    assert found.loss == "the sum of the output at each item's last step"
    assert str(found).splitlines()[2].startswith(f"dL/d{found.at.address}")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, r'step: the step is missing; say which number: step=0, unit=0; or which gradient: gradient="weight_hh_l0\['),
    ({"step": 0}, "unit: the unit is missing"),
    ({"step": 0, "unit": 0, "loss": "sum"}, "loss: a loss has no effect on this number; pass gradient, too"),
    ({"gradient": "h[0]", "step": 0, "unit": 1}, "unit: has no effect on a gradient; write it into the name"),
    ({"gradient": "h[0]", "step": 0, "quantity": "h"}, "quantity: has no effect on a gradient"),
    ({"gradient": "h[0]"}, "step: the step of dL/dh is missing; expected 0 to 2"),
    ({"gradient": "s_h[0]", "step": 0}, r"gradient: this network has no 's_h'; .*; did you mean 's'\?"),
    ({"gradient": "f[0]", "step": 0}, "gradient: this network has no 'f'; expected h, s, x, h0, weight_ih_l0"),
    ({"gradient": "h[0]", "step": 0, "loss": "avg"}, "loss: "),
]


@pytest.mark.parametrize(("asked", "said"), WRONG)
def test_what_cannot_be_asked_for_is_said_in_python(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(rnnspect.InputError, match=f"^{said}"):
        rnnspect.derive(Spec(), "ramp:3", **asked)


def test_a_layer_that_does_not_exist_is_refused_and_one_from_the_end_found() -> None:
    prepared = prepare(Spec(input_size=2, hidden_size=5, num_layers=2, batch_first=False))
    for name in ("x[4]", "x[-1]"):
        assert located(prepared, name, Address(layer=-1, step=0, unit=0), 0).indices == (4,)
    for name, layer in (("x[0]", 2), ("weight_ih_l0[0,0]", 7), ("h[0]", -3)):
        with pytest.raises(rnnspect.InputError, match=f"no layer {layer}"):
            located(prepared, name, Address(layer=layer, step=0, unit=0), 0)
