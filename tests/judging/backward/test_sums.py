"""The gradient of a parameter beside the sum of its terms."""

from __future__ import annotations

import pytest
import torch

from rnnspect.arithmetic.bounded_values import Number
from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.judging.backward.sums import SumFinding, Sums, Term

ROWS, COLUMNS, STEPS = 700, 300, 20
"""More entries than are compared at once."""


def _found(off: dict[tuple[int, int], float]) -> SumFinding:
    """A gradient that is right to float64, but where it is off, in parts of its bound."""
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(STEPS, width, generator=draw) for width in (ROWS, COLUMNS))
    exact, sums = torch.zeros(()), Sums(SINGLE)
    sums.add([Term("weight_ih", Number(left, exact, SINGLE), Number(right, exact, SINGLE))])
    given = left.double().t() @ right.double()
    bound = sums.known(STEPS)["weight_ih"][1]
    for at, share in off.items():
        given[at] += share * bound[at]

    def never(_name: str, value: torch.Tensor, _ratio: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return value, torch.zeros_like(value)

    (found,) = sums.findings({"weight_ih": given}, STEPS, None, never)
    return found


@pytest.mark.parametrize("at", [(3, 7), (450, 120), (ROWS - 1, COLUMNS - 1)])
def test_the_entry_nearest_to_its_bound_is_told_wherever_it_is(at: tuple[int, int]) -> None:
    """The product of ours is in float32, off by some hundredths of the bound."""
    found = _found({at: 0.8})
    assert (found.worst.place, found.first, found.wrong, found.count) == (at, None, 0, ROWS * COLUMNS)
    assert 0.6 < found.worst.ratio < 1
    assert abs(found.worst.manual - found.worst.engine) == pytest.approx(found.worst.ratio * found.worst.bound)


def test_the_first_wrong_entry_is_told_row_by_row() -> None:
    found = _found({(600, 5): 9.0, (350, 299): 3.0, (350, 20): 0.8})
    assert (found.worst.place, found.wrong) == ((600, 5), 2)
    assert found.first is not None
    assert found.first.place == (350, 299)
