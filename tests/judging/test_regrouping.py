"""Checks of implementations that compute many steps at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect.arithmetic.forms import TermSums, regrouped
from rnnspect.judging.chunks import LayerRun
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.judging.layer import LayerEquations
from rnnspect.judging.regrouping import with_regrouping
from rnnspect.network.parameters import LayerParameters
from rnnspect.tracing.prepare import prepare
from tests.causes.own_cells import MINGRU
from tests.cells.forms import ANY_ORDER, LOG_SPACE, Form, in_chunks, mingru, stepped, tree

U = ARITHMETICS["any-order"].roundoff
pytestmark = pytest.mark.usefixtures("no_causes")


def long_memory(seed: int, **keys: Any) -> tuple[rnnspect.Spec, Tensor]:
    """A network whose gates forget hardly anything, with positive candidates (a log of them is taken), and an input."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(12, 3, generator=generator).clamp(-2, 2) * 0.15
    bias = torch.cat([torch.full((6,), -7.0), torch.full((6,), 1.0)])
    weights = {"weight_ih_l0": weight.tolist(), "bias_ih_l0": bias.tolist()}
    spec = rnnspect.Spec(cell=MINGRU, input_size=3, hidden_size=6, batch_first=True, weights=weights, **keys)
    return spec, torch.randn(1, 500, 3, generator=generator).clamp(-1, 1)


def checked(form: Form, seed: int, arithmetic: str | None = None, **keys: Any) -> Any:
    spec, x = long_memory(seed, **keys)
    h0 = torch.full((1, 1, 6), 0.25)
    return rnnspect.check(spec, x, h0, engine=mingru(form), arithmetic=arithmetic)


@pytest.mark.each_value_once
@pytest.mark.parametrize("name", ANY_ORDER)
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_a_right_form_is_not_called_wrong(name: str, dtype: str) -> None:
    for seed in range(6):
        assert checked(ANY_ORDER[name], seed, dtype=dtype).verdict != "differ"


def test_what_the_order_of_steps_explains_is_said() -> None:
    found = [checked(tree, seed) for seed in range(6)]
    assert {one.verdict for one in found} == {"agree"}
    assert "float32, steps in any order" in {one.arithmetic for one in found}


@pytest.mark.parametrize("name", LOG_SPACE)
def test_a_form_in_log_space_is_declared(name: str) -> None:
    found = [checked(LOG_SPACE[name], seed, "log-scan") for seed in range(6)]
    assert {one.verdict for one in found} <= {"agree", "cannot tell"}
    assert {one.arithmetic for one in found} == {"float32, decays summed in log space"}


@pytest.mark.parametrize(
    ("dtype", "arithmetic", "meant"),
    [
        ("bfloat16", "log-scan", "bfloat16-log-scan"),
        ("bfloat16", "log-scan:16", "bfloat16-log-scan:16"),
        ("float16", "any-order", "float16-any-order"),
        ("bfloat16", "float32", "bfloat16"),
    ],
)
def test_a_half_type_that_is_held_to_float32_is_said(dtype: str, arithmetic: str, meant: str) -> None:
    form = LOG_SPACE[next(iter(LOG_SPACE))]
    found = checked(form, 0, arithmetic, dtype=dtype)
    assert found.verdict == "differ"
    assert found.reason is not None
    assert found.reason.startswith(f"the network is in {dtype}, but was checked as float32")
    assert found.reason.endswith(f"; --arithmetic {meant} is probably meant")
    under_it = checked(form, 0, meant, dtype=dtype).reason
    assert under_it is None or "is probably meant" not in under_it


@pytest.mark.parametrize("arithmetic", [None, "any-order", "log-scan"])
def test_a_state_that_is_dropped_at_the_edge_of_a_chunk_differs(arithmetic: str | None) -> None:
    found = checked(in_chunks(16, dropped=True), 0, arithmetic)
    assert found.verdict == "differ"
    assert found.first.step == 16


def test_an_engine_that_steps_has_no_leave_to_regroup() -> None:
    """It computes a step from the one before, so that the narrow bound holds: a part in 10⁵ is seen, which the order of
    steps would hide."""
    spec, x = long_memory(0)

    def step(x_t: Tensor, h: Tensor, weight_ih: Tensor, bias_ih: Tensor) -> Tensor:
        z, n = (x_t @ weight_ih.T + bias_ih).chunk(2, -1)
        z = z.sigmoid()
        return (1 - z) * h * (1 + 1e-5) + z * n

    assert rnnspect.check(spec, x, engine=step).arithmetic == "float32"
    assert rnnspect.check(spec, x, engine=step).verdict == "differ"


def test_each_step_may_be_off_and_the_one_before_it_too() -> None:
    """Errors of turning sign, each nearly as large as the order of steps allows."""
    spec, x = long_memory(0)
    weights = {f"{name}_l0": torch.tensor(spec.weights[f"{name}_l0"]).double() for name in ("weight_ih", "bias_ih")}
    h0 = torch.full((1, 1, 6), 0.25)
    z, n = (x[0].double() @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]).chunk(2, -1)
    a, b = 1 - z.sigmoid(), z.sigmoid() * n
    room, _ = regrouped(a, b, TermSums.begin(h0[0, 0].double().expand(6)), U)
    turned = torch.ones(len(a), 1, dtype=torch.float64)
    turned[::2] = -1
    h = stepped(a, b, h0[0, 0].double()) + 0.97 * turned * room
    assert rnnspect.check(spec, x, h0, recorded=h.float()[None]).arithmetic == "float32, steps in any order"
    assert rnnspect.check(spec, x, h0, recorded=h.float()[None]).verdict != "differ"
    assert rnnspect.check(spec, x, h0, recorded=h.float()[None] + 20 * room.float()).verdict == "differ"


@pytest.mark.parametrize("reverse", [False, True])
def test_an_item_of_a_padded_batch_has_the_room_that_it_has_alone(reverse: bool) -> None:
    spec, _ = long_memory(0)
    layer = LayerEquations(
        MINGRU, LayerParameters.of(prepare(spec, "zeros:1").parameters, 0, "forward", spec), U, "tanh"
    )
    lengths, generator = torch.tensor([9, 4, 1]), torch.Generator().manual_seed(0)
    x, h, h0 = (torch.randn(*shape, generator=generator) for shape in ((9, 3, 3), (9, 3, 6), (3, 6)))
    together = with_regrouping(layer, LayerRun(x, h, h0, lengths=lengths, reverse=reverse)).regrouped
    assert together is not None
    for item, steps in enumerate(lengths.tolist()):
        one = slice(item, item + 1)
        alone = with_regrouping(layer, LayerRun(x[:steps, one], h[:steps, one], h0[one], reverse=reverse)).regrouped
        assert alone is not None
        assert bool((alone > 0).all())
        torch.testing.assert_close(together[:steps, one], alone)
