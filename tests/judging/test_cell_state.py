"""The cell state that is handed on from one chunk of steps to the next, with what its limit is made of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

import rnnspect
from rnnspect.arithmetic.forms import TermSums
from rnnspect.judging.cell_state import State
from rnnspect.judging.chunks import LayerRun, chunks
from rnnspect.judging.layer import ComparedChunk, LayerEquations
from rnnspect.network.spec import Spec
from tests.causes.own_cells import CARRYING
from tests.judging.test_matrix_forms import ORDERS, equations

STEPS, ITEMS, UNITS = 120, 3, 5
SPEC = Spec(cell=CARRYING, input_size=4, hidden_size=UNITS)
ALL = slice(None)
X = torch.randn(STEPS, ITEMS, 4, generator=torch.Generator().manual_seed(0))


def after(layer: LayerEquations, compared: ComparedChunk) -> State | None:
    return layer.after(compared)


def ending(_layer: LayerEquations, compared: ComparedChunk) -> State | None:
    return State.ending(compared.q["c"])


def in_items(layer: LayerEquations, compared: ComparedChunk) -> State | None:
    """Taken apart and joined again, as of a batch in parts."""
    made = layer.after(compared)
    assert made is not None
    return State.side_by_side([made.of(slice(item, item + 1), ALL) for item in range(ITEMS)])


def ended(layer: LayerEquations, steps: int, hand_on: Callable[[LayerEquations, ComparedChunk], State | None]) -> State:
    """The state after chunks of so many steps. No line of the cell reads h."""
    none = torch.zeros(ITEMS, UNITS)
    state = layer.begin(none)
    for chunk in chunks(LayerRun(X, none.expand(STEPS, ITEMS, UNITS), none, none), steps * ITEMS):
        state = hand_on(layer, layer.compare(chunk, state, layer.wide))
    assert state is not None
    return state


def alike(layer: LayerEquations) -> float:
    """A slope of σ is taken at the largest error of a chunk, and grows by exp(2e) at most; beside that there are the
    roundings of float64, of which a step makes some ten."""
    peak = max(float(gate.e.max()) for gate in layer.wide.input(X.double()))
    return math.expm1(2 * peak) + 10 * STEPS * 2.0**-52


@pytest.mark.parametrize("arithmetic", ORDERS)
@pytest.mark.parametrize("hand_on", [after, ending, in_items], ids=lambda one: one.__name__)
def test_its_limit_does_not_depend_on_where_chunks_end(
    arithmetic: str, hand_on: Callable[[LayerEquations, ComparedChunk], State | None]
) -> None:
    """What the terms of its sum amount to is handed on, too."""
    layer = equations(SPEC, CARRYING, arithmetic)
    whole = ended(layer, STEPS, after)
    assert whole.sums is not None
    for steps in (1, 7):
        made = ended(layer, steps, hand_on)
        assert made.sums is not None
        pairs = [(made.v, whole.v), (made.e, whole.e)]
        pairs += [(getattr(made.sums, one.name), getattr(whole.sums, one.name)) for one in dataclasses.fields(TermSums)]
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=alike(layer), atol=0)


def test_a_float32_state_may_err_itself_as_a_correct_engine_may() -> None:
    """Where it goes on in float64, what is judged by it is allowed both: its error, and the engine's."""
    v, e = torch.randn(ITEMS, UNITS), torch.rand(ITEMS, UNITS)
    made = State(v, e, equations(SPEC, CARRYING, "float32").u)
    assert torch.equal(made.number(torch.float32).e, e)
    assert torch.equal(made.number(torch.float64).e, 2 * e.double())
    wide = State(v.double(), e.double(), made.u)
    assert torch.equal(wide.number(torch.float64).e, e.double())


@pytest.mark.usefixtures("no_causes")
@pytest.mark.parametrize("way", ["o is shut", "tanh(c) is flat"])
def test_a_cell_state_that_h_does_not_tell_is_judged_by_what_was_carried(way: str) -> None:
    """c is computed back from h = o tanh(c) only where both tell it: o is known to half of its size, and h is clearly
    less than o. Elsewhere the limit of what is computed back would be negative, and no number beyond it."""
    torch.manual_seed(0)
    lstm, x = torch.nn.LSTM(3, 8), torch.randn(40, 1, 3)
    with torch.no_grad():
        if way == "o is shut":
            lstm.bias_ih_l0[24] = -15
        else:  # i and f of unit 0 are 1, and c is near 30
            lstm.bias_ih_l0[[0, 8, 16]] = torch.tensor([8.0, 8.0, 1.0])
        output, (h_n, c_n) = lstm(x)
    recorded = {"output": output, "h_n": h_n, "c_n": c_n.clone()}
    assert rnnspect.check(lstm, x, recorded=recorded).agrees
    recorded["c_n"][..., 0] += 0.03 if way == "o is shut" else 0.3
    verdict = rnnspect.check(lstm, x, recorded=recorded)
    assert verdict.first is not None
    assert (verdict.first.quantity, verdict.first.unit) == ("c_n", 0)
