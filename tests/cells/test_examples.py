"""The cells of examples/cells/, and the one that `init --cell` writes, against loops in torch that share no line with
them (`loops.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.arithmetic.chain_rule import names_of_pre_activations
from rnnspect.cells import Cell
from rnnspect.cells.trial import bounds_steps_together
from rnnspect.cli.starting import cell as starter
from rnnspect.engines.own.loading import load_cell
from rnnspect.tracing.prepare import prepare
from tests.cells.loops import LOOPS
from tests.marks import sampled

FILES = {path.stem: path for path in (Path(__file__).parents[2] / "examples" / "cells").glob("*.py")}
STARTER = Path(starter.__file__)
LARGEST = {"gated_delta": 1.0}
"""What the weights may be multiplied with: with longer keys, β‖k‖² > 2, its state grows without end."""
VAGUE = ("layer_norm_lstm", "slstm", "mlstm", "s6", "lru")
EXAMPLES = sorted([*FILES, "mgu"])


def cell(name: str) -> Cell:
    return load_cell(f"{FILES.get(name, STARTER)}:{name}")


def test_each_is_one_short_file_with_its_source_and_its_loop() -> None:
    assert set(EXAMPLES) == set(LOOPS)
    for name, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 50
        assert "arXiv" in text
        assert cell(name).equations


def drawn(name: str, seed: int, **more: Any) -> tuple[rnnspect.Spec, Tensor]:
    """A network of the cell with weights of a size that is drawn, gains about 1, and an input."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (2,), generator=generator).tolist()
    hidden = sizes[1] * int(dict(cell(name).constants).get("heads", 1))
    spec = rnnspect.Spec(cell=cell(name), input_size=sizes[0], hidden_size=hidden, seed=seed, **more)
    scale = float(torch.empty(()).uniform_(-2, 2, generator=generator).exp())
    scale = min(scale, LARGEST.get(name, scale))
    drawn = {name: w.double() * scale for name, w in prepare(spec, "zeros:1").parameters.items()}
    weights = {name: (w + 1 if name.startswith("gain") else w).tolist() for name, w in drawn.items()}
    return spec.with_changes(weights=weights), torch.randn(70, sizes[0], generator=generator)


@pytest.mark.slow
@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", EXAMPLES)
def test_it_agrees_with_the_loop_and_not_with_a_changed_one(name: str) -> None:
    """In float32 and with weights of many sizes: no right run is called wrong; nearly every changed one is."""
    told, right = [], []
    count = 6 if bounds_steps_together(cell(name)) else 3  # one step at a time takes long
    for seed in range(count):
        spec, x = drawn(name, seed)
        right.append(rnnspect.check(spec, x, engine=LOOPS[name](False)).verdict)
        told.append(rnnspect.check(spec, x, engine=LOOPS[name](True)).verdict)
    # With one unit, or weights of nearly zero, some change nothing, and a lost state could not be seen.
    assert told.count("differ") >= count * 2 // 3
    assert right.count("agree") >= count - 1
    assert "differ" not in right


@pytest.mark.usefixtures("no_causes")
@pytest.mark.each_value_once
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize(
    "more", [{"dtype": "float64"}, {"dtype": "bfloat16"}, {"num_layers": 2, "bidirectional": True}]
)
def test_in_other_dtypes_and_stacks(name: str, more: dict[str, Any]) -> None:
    """In bfloat16 two norms, one after the other, leave nothing to tell of a gate, and so does the norm of one unit; of
    a cell state that is divided by another one, or of matrices, too little."""
    for seed in range(2):
        spec, x = drawn(name, seed, **more)
        vague = name in VAGUE and (spec.dtype == "bfloat16" or spec.hidden_size == 1)
        told = rnnspect.check(spec, x, engine=LOOPS[name](False)).verdict
        assert told == "agree" or (vague and told == "cannot tell")


@pytest.mark.parametrize("name", EXAMPLES)
def test_its_gradients_are_those_of_autograd(name: str) -> None:
    """In float64: some hundred roundings of 1e-16 of a step, over 40 steps."""
    spec = rnnspect.Spec(cell=cell(name), input_size=3, hidden_size=4, dtype="float64")
    run = prepare(spec, "randn:40", "randn")
    state = [one[:, 0] for one in run.sequence.state]
    found = rnnspect.gradients(spec, run.sequence.x[:, 0], *state, loss="sum")
    x = run.sequence.x.clone().requires_grad_()
    p = {key: values.clone().requires_grad_() for key, values in run.parameters.items()}
    named = {key.removesuffix("_l0"): values for key, values in p.items()}
    now: Any = run.sequence.state if len(state) > 1 else run.sequence.h0
    now = tuple(one[0] for one in now) if len(state) > 1 else now[0]
    loss = torch.zeros((), dtype=torch.float64)
    for x_t in x:
        now = LOOPS[name](False)(x_t, now, **named)
        loss = loss + (now[0] if len(state) > 1 else now).sum()
    loss.backward()
    assert {*found.parameters} == {*p}
    for key, one in p.items():
        torch.testing.assert_close(found.parameters[key].gradient.manual, one.grad, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found.x.manual[0], x.grad[:, 0], rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("name", sampled(EXAMPLES, 2))
def test_its_gradients_are_proved(name: str) -> None:
    """Those of autograd, in float32, at every step; those of the changed loop are not right."""
    spec = rnnspect.Spec(cell=cell(name), input_size=3, hidden_size=4)
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=LOOPS[name](False), backward=True).verdict == "agree"
    assert rnnspect.check(spec, x, engine=LOOPS[name](True), backward=True).verdict == "differ"


@pytest.mark.parametrize("name", sampled(EXAMPLES, 2))
def test_every_number_is_shown_as_arithmetic(name: str, tmp_path: Path) -> None:
    """The terms give the number that the trace has: in float64 to the last digits but a few."""
    spec = rnnspect.Spec(cell=cell(name), input_size=3, hidden_size=4, dtype="float64")
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen = rnnspect.trace(spec, x).layers[0].quantities
    for quantity in cell(name).quantities:
        for unit in {0, spec.units(quantity) // 2, spec.units(quantity) - 1}:
            derived = rnnspect.derive(spec, x, step=4, unit=unit, quantity=quantity)
            assert derived.value == pytest.approx(float(seen[quantity][0, 4, unit]), rel=1e-12, abs=1e-14)
    page = rnnspect.report(spec, x, engine=LOOPS[name](False), path=tmp_path / "page.html")
    assert page.verdict.verdict == "agree"


@pytest.mark.parametrize("name", sampled(EXAMPLES, 3))
def test_every_gradient_is_shown_as_arithmetic(name: str) -> None:
    """Those of pre-activations, of x and of the last entry of each parameter."""
    spec = rnnspect.Spec(cell=cell(name), input_size=3, hidden_size=4, dtype="float64")
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = rnnspect.gradients(spec, x)
    of_gates = found.layers[0].pre_activations.values()
    expected = {
        (f"{name}[{g.shape[-1] - 1}]", 3): g[0, 3, -1]
        for name, g in zip(names_of_pre_activations(cell(name)), of_gates, strict=True)
    }
    expected["x[1]", 3] = found.x.manual[0, 3, 1]
    for parameter, one in found.parameters.items():
        last = ", ".join(str(size - 1) for size in one.gradient.manual.shape)
        expected[f"{parameter}[{last}]", None] = one.gradient.manual.flatten()[-1]
    for (asked, step), value in expected.items():
        derived = rnnspect.derive(spec, x, gradient=asked, step=step)
        assert derived.value == pytest.approx(float(value), rel=1e-11, abs=1e-14)


def test_weights_of_a_cell_without_recurrent_ones_are_told_and_recovered() -> None:
    spec = rnnspect.Spec(cell=cell("mingru"), input_size=4, hidden_size=3, bias=True)
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    ours = prepare(spec, "zeros:1").parameters
    theirs = spec.with_changes(weights={name: (w * 0.9).tolist() for name, w in ours.items()})
    output = rnnspect.trace(theirs, x).output
    assert output is not None
    found = rnnspect.check(spec, x, recorded={"output": output.manual[0]}, recover=True, explain=0)
    assert isinstance(found, rnnspect.Verdict)
    assert found.verdict == "differ"
    assert found.recovered is not None
    (layer,) = found.recovered.layers
    assert layer.explains
    assert layer.count == sum(w.numel() for w in ours.values())
    assert layer.untold == 0
    assert any("0.9 times as large" in one.said for one in layer.likenesses)
    assert "{" not in " ".join(one.name for one in found.suspects)
