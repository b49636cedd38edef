"""What goes with a block that keeps exponentials in range: an engine whose m is off by δ has the others off by e^−δ."""

from __future__ import annotations

import pytest
import torch

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.judging.cell_state import State
from rnnspect.network.spec import Spec
from tests.causes.own_cells import SOFTMAX
from tests.judging.test_matrix_forms import ORDERS, equations


@pytest.mark.parametrize("arithmetic", ORDERS)
def test_a_cell_state_whose_stabiliser_is_off_by_all_that_it_may_be(arithmetic: str) -> None:
    """m begins with about -1,000, where it rounds coarsely, and the weights after it are far apart, so that m is soon
    one of them and soon follows from decays alone."""
    layer = equations(Spec(cell=SOFTMAX, input_size=1, hidden_size=3), SOFTMAX, arithmetic)
    generator, none = torch.Generator().manual_seed(0), torch.zeros(1, 1, 3, dtype=torch.float64)
    c = State(none[0].repeat(1, 3), none[0].repeat(1, 3), layer.u)
    for step in range(30):
        s, s_f, n = torch.randn(3, 1, 1, 3, dtype=torch.float64, generator=generator)
        gates = (30 * s - (0 if step else 1000), s_f, n)
        wx = tuple(Number(gate, none, layer.u) for gate in gates)
        c = State.ending(layer.stepped(layer.wide, wx, Number(none, none, layer.u), c.number(torch.float64))["c"])
        (w, v, _), (e_w, e_v, off) = c.v.chunk(3, -1), c.e.chunk(3, -1)
        for value, allowed in ((w, e_w), (v, e_v)):
            # to the roundings of float64 in these limits themselves
            assert bool((value.abs() * off.expm1() <= allowed * (1 + 1e-12)).all())
