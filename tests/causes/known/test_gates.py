"""The orders of gates that are tried: every one of a few gates, and a bounded number of many."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import rnnspect
from rnnspect.causes.known.gates import MOST, orders
from rnnspect.engines.own.loading import load_cell
from tests.causes.decaying import decaying
from tests.cells.recurrent import nas


@pytest.mark.parametrize("count", range(1, 13))
def test_none_is_the_right_one_and_none_comes_twice(count: int) -> None:
    gates = tuple("ifgoklmnpqrs"[:count])
    found = list(orders(gates))
    assert len(found) == len({*found})
    assert gates not in found
    assert all(sorted(one) == sorted(gates) for one in found)
    # Exchanging neighbours and moving one by a place is the same.
    pairs = count * (count - 1) // 2 + (count - 1) ** 2 - (count - 1)
    assert len(found) == (math.factorial(count) - 1 if count <= MOST else pairs)


@pytest.mark.parametrize("order", ["k0 k6 k2 k3 k4 k5 k1 k7", "k7 k0 k1 k2 k3 k4 k5 k6"])
def test_of_eight_gates_the_order_is_named(order: str) -> None:
    """Two exchanged; or the last one moved to the front."""
    step = nas.loop(False)

    def own(x_t: Any, state: Any, weight_ih: Any, weight_hh: Any, bias_ih: Any, bias_hh: Any) -> Any:
        places = [order.split().index(f"k{gate}") for gate in range(8)]
        return step(
            x_t,
            state,
            *(torch.cat([w.chunk(8)[at] for at in places]) for w in (weight_ih, weight_hh, bias_ih, bias_hh)),
        )

    spec = rnnspect.Spec(cell=nas.CELL, input_size=3, hidden_size=4)
    found = rnnspect.check(spec, torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), engine=own)
    assert found.verdict == "differ"
    assert found.causes[0].name == "gate-order"
    assert found.causes[0].parameters["order"] == order


def test_gates_of_other_sizes_beside_them() -> None:
    """Exchanged are the first two, of 6 rows; the others have 4."""

    def own(x: torch.Tensor, state: Any, parameters: dict[str, torch.Tensor]) -> Any:
        turned = {
            name: torch.cat([v[6:12], v[:6], v[12:]]) if name in ("weight_ih_l0", "bias_ih_l0") else v
            for name, v in parameters.items()
        }
        return decaying("s6")(x, state, turned)

    spec = rnnspect.Spec(cell=load_cell("examples/cells/s6.py:s6"), input_size=3, hidden_size=6)
    found = rnnspect.check(spec, "randn:12", engine=own)
    assert (found.causes[0].name, found.causes[0].parameters) == ("gate-order", {"order": "d u b r"})


@pytest.mark.parametrize(("kind", "order"), [("GRU", (1, 0, 2)), ("LSTM", (0, 2, 1, 3))])
@pytest.mark.parametrize("which", ["weight_hh and bias_hh", "weight_ih and bias_ih"])
def test_one_of_the_two_linear_maps_alone(kind: str, order: tuple[int, ...], which: str) -> None:
    torch.manual_seed(0)
    module, theirs = (getattr(torch.nn, kind)(4, 6) for _ in range(2))
    x, weights = torch.randn(15, 2, 4), dict(module.state_dict())
    for name in which.split(" and "):
        blocks = weights[f"{name}_l0"].chunk(len(order))
        weights[f"{name}_l0"] = torch.cat([blocks[n] for n in order])
    theirs.load_state_dict(weights)
    (cause,) = rnnspect.check(module, x, recorded=theirs(x)[0].detach()).causes
    assert (cause.name, cause.parameters["in"]) == ("gate-order", which)
