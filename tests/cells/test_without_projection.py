"""A cell whose x is what goes into its gates: queries, keys, values and decays that something else has computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.arithmetic.bounded import Bounded
from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.cells import Arithmetic, Cell, V
from rnnspect.cells.trial import bounds_steps_together
from rnnspect.cli import main
from rnnspect.network.parameters import LayerParameters
from rnnspect.tracing.prepare import prepare
from rnnspect.views import text
from tests.causes.own_cells import READING
from tests.cells.loops import LOOPS
from tests.cells.test_examples import STARTER, cell

CELL = replace(cell("gated_delta"), name="given", has_projection_of_x=False)
ROWS = 2 * 8 + 8 + 2 * 2
"""Of q and k with two heads of four keys, v, β and g."""


def engine(changed: bool = False) -> Any:
    """The loop of the example, with the identity for weight_ih."""
    whole, one = LOOPS["gated_delta"](changed), torch.eye(ROWS)

    def step(x_t: Tensor, state: Any, A_log: Tensor, dt_bias: Tensor) -> Any:
        return whole(x_t, state, one.to(x_t.dtype), torch.zeros(ROWS, dtype=x_t.dtype), A_log, dt_bias)

    return step


def given(dtype: str = "float32") -> tuple[rnnspect.Spec, Tensor]:
    spec = rnnspect.Spec(cell=CELL, input_size=ROWS, hidden_size=8, dtype=dtype)
    return spec, torch.randn(60, ROWS, generator=torch.Generator().manual_seed(0)) / 2


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_has_no_weight_ih_and_is_proved(dtype: str) -> None:
    spec, x = given(dtype)
    assert [one.name for one in rnnspect.shapes(spec).parameters] == ["A_log_l0", "dt_bias_l0"]
    assert rnnspect.check(spec, x, engine=engine()).verdict == "agree"
    assert rnnspect.check(spec, x, engine=engine(changed=True)).verdict == "differ"
    seen = rnnspect.trace(spec, x).layers[0].quantities
    assert torch.equal(seen["q"], seen["x"][..., :8])
    assert rnnspect.check(spec, x, engine=engine(), backward=True).verdict == "agree"


def test_its_gates_are_exact() -> None:
    """A product with the identity would be allowed what adding up so many numbers errs by."""
    spec, x = given()
    p = LayerParameters.of(prepare(spec, "zeros:1").parameters, 0, "forward", spec)
    for gate, block in zip(Bounded(p, 5, SINGLE).input(x[:, None]), spec.gate_sizes, strict=True):
        assert gate.v.shape[-1] == block
        assert not bool(gate.e.any())


def test_x_has_as_many_features_as_its_gates() -> None:
    with pytest.raises(
        rnnspect.SpecError, match="takes what goes into its gates as x, of 28 features; input_size is 5"
    ) as told:
        rnnspect.Spec(cell=CELL, input_size=5, hidden_size=8)
    assert told.value.problems[0].where == "input_size"
    with pytest.raises(rnnspect.SpecError) as told:
        rnnspect.Spec(cell=CELL, hidden_size=8)  # nobody said the other
    assert told.value.problems[0].where == "hidden_size"
    with pytest.raises(rnnspect.InputError, match="layer 1 of cell given receives 8 features, and its gates take 28"):
        rnnspect.shapes(rnnspect.Spec(cell=CELL, input_size=ROWS, hidden_size=8, num_layers=2))


def test_its_numbers_and_gradients_are_shown_as_arithmetic(tmp_path: Path) -> None:
    spec, x = given("float64")
    x = x[:6].double()
    seen, found = rnnspect.trace(spec, x).layers[0].quantities, rnnspect.gradients(spec, x)
    for quantity in CELL.quantities:
        derived = rnnspect.derive(spec, x, step=4, unit=1, quantity=quantity)
        assert derived.value == pytest.approx(float(seen[quantity][0, 4, 1]), rel=1e-12, abs=1e-14)
    for feature in (0, 9, 17, ROWS - 1):
        derived = rnnspect.derive(spec, x, gradient=f"x[{feature}]", step=3).value
        assert derived == pytest.approx(float(found.x.manual[0, 3, feature]), rel=1e-11, abs=1e-14)
    assert rnnspect.report(spec, x, engine=engine(), path=tmp_path / "page.html").verdict.verdict == "agree"


def attending(a: Arithmetic[V], wx: V, _h: V, c: V) -> dict[str, V]:
    q, k, v, s_g = a.split(wx)
    g = a.sigmoid(s_g)
    c = a.carry(a.spread(g, c), c, a.outer(k, v, 2))
    return {"q": q, "k": k, "v": v, "g": g, "c": c, "h": a.by_key(c, q, 2)}


def test_what_is_as_large_as_the_cell_state_does_not_read_it() -> None:
    """So that many steps are bounded at once."""
    keys = ("heads", "d_k")
    attention = Cell(
        "attending", "", ("q", "k", "v", "g"), ("h", "c"), ("q", "k", "v", "g", "c", "h"), ("sigmoid",), attending,
        constants=(("heads", 2), ("d_k", 3)), sizes=(("q", keys), ("k", keys), ("g", keys)),
        cell_state=(("S", (*keys, "hidden_size/heads")),), is_recurrent=False, has_projection_of_x=False,
    )  # fmt: skip

    def step(x_t: Tensor, state: Any) -> Any:
        q, k, v, g = (one.unflatten(-1, (2, -1)) for one in x_t.split((6, 6, 8, 6), -1))
        kept = torch.sigmoid(g)[..., None] * state[1].view(-1, 2, 3, 4)
        s = kept + k[..., None] * v[..., None, :]
        return (s * q[..., None]).sum(-2).flatten(-2), s.flatten(1)

    assert bounds_steps_together(attention)
    spec = rnnspect.Spec(cell=attention, input_size=26, hidden_size=8)
    assert rnnspect.check(spec, "randn:60", engine=step).verdict == "agree"
    assert rnnspect.check(spec, "randn:60", engine=step, backward=True).verdict == "agree"


def test_what_goes_into_a_gate_is_called_what_it_is() -> None:
    """Also where the text of the cell has no equation of it."""
    spec, _ = given()
    assert text.quantity("input_projection q", spec) == "x of q"
    assert text.quantity("input_projection m", rnnspect.Spec(cell=cell("mgu"))) == "W_im x + b_im"


def test_without_an_engine_nothing_is_said_of_one(capsys: Any) -> None:
    assert main(["derive", "--cell", f"{STARTER}:mgu", "--step", "2", "--unit", "0"]) == 0
    shown = capsys.readouterr().out
    assert "h at step 1: from the equations\n" in shown
    assert "returns h" not in shown


def test_a_page_of_a_cell_without_any_parameter(tmp_path: Path) -> None:
    spec = rnnspect.Spec(cell=READING, input_size=12, hidden_size=4)
    for backward in (False, True):
        made = rnnspect.report(spec, "randn:5", path=tmp_path / "page.html", backward=backward)
        assert made.verdict.spec.cell_type == READING
        assert (tmp_path / "page.html").stat().st_size > 10_000


def test_its_gradients_are_shown_without_a_matrix_to_derive(capsys: pytest.CaptureFixture[str]) -> None:
    spec, x = given()
    shown = str(rnnspect.gradients(spec, x[:3]))
    assert "A_log_l0" in shown
    assert "gradient=" not in shown
    assert "A_log_l0" in str(rnnspect.gradients(spec, x))


def test_a_wrong_engine_of_a_cell_without_any_parameters_differs() -> None:
    def lines(a: Any, wx: Any, _h: Any, c: Any) -> dict[str, Any]:
        f, v = a.split(wx)
        c = a.carry(a.sigmoid(f), c, v)
        return {"f": f, "v": v, "c": c, "h": a.tanh(c)}

    cell = Cell(
        "bare", "", ("f", "v"), ("h", "c"), ("f", "v", "c", "h"), ("sigmoid", "tanh"), lines, is_recurrent=False,
        has_projection_of_x=False,
    )  # fmt: skip

    def step(off: float) -> Any:
        def one(x_t: Any, state: Any) -> Any:
            f, v = x_t.chunk(2, -1)
            c = torch.sigmoid(f) * state[1] + v
            return torch.tanh(c) + off * torch.sin(7 * v * f), c

        return one

    spec = rnnspect.Spec(cell=cell, input_size=8, hidden_size=4)
    x = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))
    assert rnnspect.check(spec, x, engine=step(0.0)).verdict == "agree"
    assert rnnspect.check(spec, x, engine=step(0.01)).verdict == "differ"
