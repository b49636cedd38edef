"""The equations that people read are those that are computed: each line is evaluated as it is written."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import rnnspect
from rnnspect import Spec
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.cells.interface import Cell
from rnnspect.engines.interface import NoEngine
from rnnspect.network.equations import equation_lines, written_equations
from rnnspect.tracing.prepare import prepare
from rnnspect.tracing.running import trace_prepared

SIZES: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "dtype": "float64"}
VARIANT_KEYS = {
    "reset before": {"reset": "before"},
    "coupled": {"input_forget": True},
    "peepholes": {"peepholes": True},
    "coupled, peepholes": {"input_forget": True, "peepholes": True},
}
SPECS = [
    Spec(cell="rnn", **SIZES),
    Spec(cell="rnn", nonlinearity="relu", **SIZES),
    Spec(cell="rnn", bias=False, **SIZES),
    Spec(cell="rnn", activations=["softsign"], **SIZES),
    Spec(cell="gru", **SIZES),
    Spec(cell="gru", bias=False, **SIZES),
    Spec(cell="gru", activations=["hard_sigmoid", "relu"], **SIZES),
    Spec(cell="lstm", **SIZES),
    Spec(cell="lstm", bias=False, **SIZES),
    Spec(cell="lstm", proj_size=2, **SIZES),
    Spec(cell="lstm", activations=["hard_sigmoid(0.2, 0.5)", "relu", "softsign"], **SIZES),
    *(Spec(cell=cell, **VARIANT_KEYS[variant], **SIZES) for cell, variant in VARIANTS if variant),
]
FUNCTIONS = {
    "σ": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
}


def parameters(spec: Spec, arrays: dict[str, Any]) -> dict[str, Any]:
    """W_ii, b_ii, p_i … by the names that the equations have for them."""
    gates, found = spec.cell_type.gates, {}
    for letter, side in (("i", "ih"), ("h", "hh")):
        for kind, name in (("W", f"weight_{side}_l0"), ("b", f"bias_{side}_l0")):
            if name in arrays:
                found[f"{kind}_{side}"] = arrays[name]
                blocks = np.split(arrays[name], len(gates))
                found |= {f"{kind}_{letter}{gate}": block for gate, block in zip(gates, blocks, strict=True)}
    if spec.proj_size:
        found["W_hr"] = arrays["weight_hr_l0"]
    if seeing := spec.cell_type.peepholes:
        blocks = np.split(arrays["weight_ch_l0"], len(seeing))
        found |= {f"p_{gate}": block for gate, block in zip(seeing, blocks, strict=True)}
    return found


def evaluated(lines: tuple[str, ...], known: dict[str, Any]) -> dict[str, Any]:
    for line in lines:
        name, _, right = line.partition(" = ")
        code = re.sub(r"(W_\w+) ", r"\1 @ ", right).replace("⊙", "*").replace("−", "-").replace("'", "_new")
        known[name.strip().replace("'", "_new")] = eval(code, FUNCTIONS | known)
    return known


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: " ".join(written_equations(spec)[-1:]))
def test_each_line_is_what_is_computed(spec: Spec) -> None:
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=(1, 3)), rng.normal(size=(1, spec.output_size))
    c = rng.normal(size=(1, 4)) if spec.cell_type.has_cell_state else None
    arrays = {one.name: rng.normal(size=one.shape) for one in rnnspect.shapes(spec).parameters}
    given = spec.with_changes(weights={name: array.tolist() for name, array in arrays.items()})
    prepared = prepare(given, torch.tensor(x), torch.tensor(h), None if c is None else torch.tensor(c))
    trace = trace_prepared(replace(prepared, engine=NoEngine("only the equations")))
    start = {"x": x[0], "h": h[0], "c": None if c is None else c[0]}
    known = evaluated(written_equations(spec), parameters(spec, arrays) | start)
    for name in spec.cell_type.quantities:
        found = known.get(f"{name}_new", known[name])
        # Two ways of summing nine terms of at most a few units each in float64: some tens of roundings of 2**-53.
        assert np.allclose(found, trace.layers[0].quantities[name][0, 0], rtol=0, atol=2.0**-44), name


def test_what_a_network_does_not_have_is_not_written() -> None:
    assert written_equations(Spec(cell="rnn", nonlinearity="relu", bias=False)) == ("h' = relu(W_ih x + W_hh h)",)
    assert written_equations(Spec(cell="lstm"))[-1] == "h' = o ⊙ tanh(c')"
    assert written_equations(Spec(cell="lstm", proj_size=1))[-1] == "h' = W_hr (o ⊙ tanh(c'))"


def test_other_functions_and_the_clip_are_told() -> None:
    spec = Spec(cell="rnn", bidirectional=True, activations=["tanh", "hard_sigmoid"], clip=3.0)
    assert equation_lines(spec) == (
        "h' = tanh(W_ih x + b_ih + W_hh h + b_hh)",
        "from the last step to the first:",
        "h' = hard_sigmoid(W_ih x + b_ih + W_hh h + b_hh)",
        "hard_sigmoid(x) = min(max(α x + β, 0), 1), α = 0.2, β = 0.5",
        "what goes into a function is limited to -3 … 3",
    )


@pytest.mark.parametrize("cell", [*CELLS.values(), *VARIANTS.values()], ids=lambda cell: f"{cell.name} {cell.variant}")
def test_every_cell_says_its_equations_in_words_that_are_understood(cell: Cell) -> None:
    """A line that no rule reads would be shown as it is, with φ or a remark in it."""
    keys = VARIANT_KEYS.get(cell.variant, {})
    assert not any("φ" in line or "only" in line for line in written_equations(Spec(cell=cell.name, **keys)))
