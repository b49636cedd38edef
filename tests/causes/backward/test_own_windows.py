"""Windows of backpropagation through time that overlap: which outputs go back together, and how far."""

from __future__ import annotations

import pytest
import torch

from rnnspect.causes.backward.own_windows import _of_some, _Windows


@pytest.mark.parametrize("steps", range(3, 14))
@pytest.mark.parametrize("order", [None, 2, 5, 8])
def test_windows_of_a_group_never_overlap(steps: int, order: int | None) -> None:
    """Each output is in one of them, and begins where the last one that ends after it shows."""
    for one in _of_some(steps, order) if order is None or order < steps else ():
        assert_apart(one, steps)


def assert_apart(windows: _Windows, steps: int) -> None:
    numbers = windows.of(torch.arange(steps))
    for group in range(windows.groups):
        ends = [min((int(n) + 1) * windows.every, windows.end) for n in numbers.unique() if n % windows.groups == group]
        begin = windows.begin(group).tolist()
        assert [end - windows.steps for end in ends] == begin[: len(ends)]
        assert all(later >= end for end, later in zip(ends, begin[1:], strict=False))
