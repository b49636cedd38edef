"""Where a sequence is cut into calls."""

from __future__ import annotations

import pytest

from rnnspect.errors import InputError
from rnnspect.network.split import Split


def test_the_calls_of_a_split() -> None:
    assert Split(3).calls(5) == [(0, 3), (3, 5)]
    assert Split(3, 1).calls(5) == [(0, 3), (3, 4), (4, 5)]
    assert Split(1, 2).calls(4) == [(0, 1), (1, 3), (3, 4)]


@pytest.mark.parametrize("split", [Split(64), Split(64, 1)])
def test_what_is_written_is_read(split: Split) -> None:
    assert Split.parse(str(split), "--split") == split


@pytest.mark.parametrize("text", ["", "x", "0", "64:", "64:0", "-3", "1:2:3", "٣", "9" * 5000])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="64:1"):
        Split.parse(text, "--split")
