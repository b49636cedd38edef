"""tanh(c) in place of c, planted in loops in torch: handed on at each step or between chunks, or returned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec
from tests.causes.chunked import cell_of, chunked


def told(cell: str, engine: Callable[..., Any], steps: int = 27) -> list[tuple[str, Any, tuple[str, ...]]]:
    spec = Spec(cell=cell_of(cell), input_size=3, hidden_size=6, input=f"randn:{steps}", c0="randn")
    found = rnnspect.check(spec, engine=engine)
    assert found.verdict == "differ"
    return [(one.name, one.parameters.get("where"), one.left) for one in found.causes]


def returned(cell: str) -> Callable[..., Any]:
    right = chunked(cell, 8)

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        output, (h, c) = right(x, state, parameters)
        return output, (h, torch.tanh(c))

    return run


@pytest.mark.parametrize("cell", ["lstm", "carrying"])
@pytest.mark.parametrize("steps", [27, 300])
def test_from_step_to_step(cell: str, steps: int) -> None:
    """A run may be longer than what chunks are looked for in."""
    assert told(cell, chunked(cell, 1, "tanh(c) is used as c"), steps) == [("cell-state-squashed", "each step", ())]


@pytest.mark.parametrize("cell", ["lstm", "carrying"])
def test_from_chunk_to_chunk(cell: str) -> None:
    assert told(cell, chunked(cell, 8, "tanh(c) is used as c")) == [("cell-state-squashed", "chunks", ())]


@pytest.mark.parametrize("cell", ["lstm", "carrying"])
def test_as_the_final_state(cell: str) -> None:
    assert told(cell, returned(cell)) == [("cell-state-squashed", None, ())]
