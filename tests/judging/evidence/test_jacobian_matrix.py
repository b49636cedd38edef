"""Cells whose units have no parameters of their own: how h moves with each parameter, and what an engine's are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec
from rnnspect.arithmetic.roundoff import ROUNDOFF
from rnnspect.judging.assumption import Assumption, Stack
from rnnspect.judging.chunks import chunk_at
from rnnspect.judging.evidence.jacobian_matrix import JacobianMatrix
from rnnspect.judging.evidence.linearised import Steps
from rnnspect.judging.layer import cast
from rnnspect.tracing.prepare import prepare
from tests.causes.own_cells import READING
from tests.cells.loops import LOOPS
from tests.cells.test_examples import EXAMPLES, cell

TOGETHER = ("retnet", "mlstm", "slstm", "s6", "lru")
SLOW = pytest.mark.slow


def network(name: str, features: int = 4, units: int = 6, seed: int = 0) -> Spec:
    """One of the cells in examples/cells/, with gains about 1 and an input with the steps first."""
    spec = Spec(cell=cell(name), input_size=features, hidden_size=units, batch_first=False, seed=seed)
    drawn = {name: w + name.startswith("gain") for name, w in prepare(spec, "zeros:1").parameters.items()}
    return spec.with_changes(weights={name: w.tolist() for name, w in drawn.items()})


def given(spec: Spec, parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """h (T, B, P) of a loop in float32 that shares no line with the cell."""
    state = prepare(spec, x).sequence.state
    now, found = tuple(one[0] for one in state) if len(state) > 1 else state[0][0], []
    step = LOOPS[spec.cell_type.name](False)
    for x_t in x:
        now = step(x_t, now, **{name.removesuffix("_l0"): w for name, w in parameters.items()})
        found.append(now[0] if len(state) > 1 else now)
    return torch.stack(found)


def changed(spec: Spec, change: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: change(name, w) for name, w in prepare(spec, "zeros:1").parameters.items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_columns_are_the_derivatives_of_what_is_left(name: str) -> None:
    """Central differences of step 1e-6: their error is that step squared, and what is rounded over the step, 1e-9."""
    spec = network(name).with_changes(dtype="float64")
    p = dict(prepare(spec, "zeros:1").parameters)
    run = prepare(spec, torch.randn(9, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    h = torch.randn(9, 2, spec.output_size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).tanh() / 2
    stack = Stack.of(spec, p, run.sequence)
    one = Assumption.of(stack, (0, "forward"), run.sequence.x, None, ROUNDOFF[torch.float64], h)
    layer, steps = one.equations, Steps.of(chunk_at(one.run, 0, 9), one.run.c0)
    now = JacobianMatrix(layer, cast(one.p, torch.float64), steps)
    for column in range(0, now.matrix.shape[-1], 3):
        change = torch.zeros(now.matrix.shape[-1], dtype=torch.float64)
        change[column] = 1e-6
        left = [now.at(now.changed(sign * change)).residual for sign in (-1, 1)]
        name_of, at = now.entry(column)
        if name_of != "bias_hh":  # it comes with bias_ih, whose column has both
            numeric = (left[0] - left[1]) / 2e-6
            torch.testing.assert_close(now.moved(change / 1e-6), numeric, rtol=1e-5, atol=1e-8)
        assert now.p[name_of].shape[len(at) :] == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gated_delta", *(pytest.param(name, marks=SLOW) for name in TOGETHER)])
def test_the_parameters_are_recovered_and_what_cannot_be_told_is_said(name: str) -> None:
    """Queries may be larger and keys smaller: of such numbers others give the same h."""
    spec = network(name)
    theirs = changed(spec, lambda _, w: w * (1 + 0.01 * torch.randn_like(w)))
    x = torch.randn(150, 2, 4, generator=torch.Generator().manual_seed(2))
    h = given(spec, theirs, x)
    found = rnnspect.check(spec, x, recorded={"output": h}, explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.verdict == "differ"
    assert found.recovered is not None
    (layer,) = found.recovered.layers
    assert layer.explains
    assert layer.untold > 0
    again = spec.with_changes(weights={name: w.tolist() for name, w in found.recovered.parameters.items()})
    assert rnnspect.check(again, x, recorded={"output": h}, explain=0).verdict == "agree"
    for name, error in found.recovered.errors.items():
        told = error.isfinite() & (torch.tensor("bias" not in name))
        z = ((found.recovered.parameters[name] - theirs[name]) / error)[told]
        assert not len(z) or float(z.square().mean().sqrt()) < 5  # of few numbers; 0.3 to 2 here


def test_right_parameters_are_as_here() -> None:
    spec = network("retnet")
    x = torch.randn(100, 2, 4, generator=torch.Generator().manual_seed(2))
    h = given(spec, changed(spec, lambda _, w: w), x)
    found = rnnspect.check(spec, x, recorded={"output": h}, explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.recovered is not None
    (layer,) = found.recovered.layers
    assert layer.explains
    assert layer.likenesses == ()


def test_more_parameters_than_can_be_found_together_are_said() -> None:
    spec = Spec(cell=cell("retnet"), input_size=120, hidden_size=64, batch_first=False)
    x = torch.randn(20, 1, 120)
    found = rnnspect.check(spec, x, recorded={"output": torch.zeros(20, 1, 64)}, explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.recovered is not None
    assert found.recovered.layers == ()
    assert "weights that must be found together, which is too many" in found.recovered.left_out[0]


def test_a_cell_without_parameters_has_none_to_tell() -> None:
    spec = Spec(cell=READING, input_size=9, hidden_size=3, batch_first=False)
    x = torch.randn(30, 1, 9)
    found = rnnspect.check(spec, x, recorded={"output": torch.zeros(30, 1, 3)}, explain=0, recover=True)
    assert isinstance(found, rnnspect.Verdict)
    assert found.suspects == ()
    assert found.recovered is not None
    assert "it has no parameters" in found.recovered.left_out[0]
