"""The bound of a linear recurrence in any grouping of its steps, against forms in torch that group them differently."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnnspect.arithmetic.forms import TermSums, linear_state, regrouped
from rnnspect.arithmetic.roundoff import SINGLE, Roundoff
from rnnspect.cells import CELLS, VARIANTS
from rnnspect.engines.own.cell import load_cell
from tests.causes.own_cells import CARRYING
from tests.cells.forms import ANY_ORDER, LOG_SPACE, stepped


def test_the_state_that_is_a_linear_recurrence() -> None:
    found = {name: linear_state(load_cell(f"examples/cells/{name}.py:{name}")) for name in ("mingru", "minlstm")}
    assert found == {"mingru": "h", "minlstm": "h"}
    assert linear_state(load_cell("examples/cells/indrnn.py:indrnn")) == ""
    assert not any(map(linear_state, (*CELLS.values(), *VARIANTS.values())))


def test_a_cell_state_that_is_one() -> None:
    assert linear_state(CARRYING) == "c"


def drawn(kind: str, steps: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(steps, 16, generator=generator) * {"open": 1, "shut": 0.05, "long": 0.002}[kind] + 1e-6
    return 1 - share, share * torch.rand(steps, 16, generator=generator), torch.rand(16, generator=generator)


def allowed(a: Tensor, b: Tensor, h: Tensor, u: Roundoff, pieces: int) -> Tensor:
    """The bound, with the sums carried from piece to piece of the steps."""
    sums, found = TermSums.begin(h.double().abs()), []
    for one, other in zip(a.double().chunk(pieces), b.double().chunk(pieces), strict=True):
        own, sums = regrouped(one, other, sums, u)
        found.append(own)
    return torch.cat(found)


@pytest.mark.parametrize("name", [*ANY_ORDER, *LOG_SPACE])
@pytest.mark.parametrize("kind", ["open", "shut", "long"])
def test_every_form_stays_within_it(name: str, kind: str) -> None:
    """The truth is float64, whose own roundings are 2⁻²⁹ of those that are looked at. The chunks' division needs
    decays whose product is a number, which those of the open gates are in float32 for sixteen steps."""
    logs = name in LOG_SPACE
    u = Roundoff(SINGLE.sums, SINGLE.stored, SINGLE.tiny, regrouped=SINGLE.sums, logs=logs)
    for steps in (1, 17, 200):
        a, b, h = drawn(kind, steps, steps)
        error = ((ANY_ORDER | LOG_SPACE)[name](a, b, h).double() - stepped(a.double(), b.double(), h.double())).abs()
        bound = allowed(a, b, h, u, 1)
        assert bool((error <= bound).all())
        assert float((bound / error.clamp(min=1e-12)).median()) < 3000  # it says something


def test_it_is_the_same_in_pieces() -> None:
    """Both are computed in float64: some hundred of its roundings."""
    a, b, h = drawn("shut", 96, 3)
    for logs in (False, True):
        u = Roundoff(SINGLE.sums, SINGLE.stored, SINGLE.tiny, regrouped=SINGLE.sums, logs=logs)
        torch.testing.assert_close(allowed(a, b, h, u, 6), allowed(a, b, h, u, 1), rtol=1e-12, atol=0)
