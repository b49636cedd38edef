"""States that stand in each other's place where a chunk begins, planted in loops in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec
from rnnspect.engines.own.loading import load_cell
from tests.causes import carried
from tests.causes.chunked import EXCHANGED, cell_of, chunked
from tests.cells.loops import LOOPS

SHAPE = (2, 3, 3)
"""Heads, keys and values of the matrices of six units."""
CHANGED: dict[str, Callable[[Tensor], Tensor]] = {
    "heads 0 and 1 of S are swapped": lambda s: s.flip(-3),
    "the last two axes of S are swapped": lambda s: s.transpose(-1, -2),
}


def in_calls(chunk: int, change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """A retention, a call for each chunk, with the matrices changed between two."""
    right = carried.carried("retnet", 1000)

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        out = []
        for start in range(0, x.shape[1], chunk):
            if start:
                s = state[1].reshape(*state[1].shape[:-1], *SHAPE)
                state = state[0], change(s).flatten(-3)
            h, state = right(x[:, start : start + chunk], state, parameters)
            out.append(h)
        return torch.cat(out, 1), state

    return run


def told(spec: Spec, engine: Callable[..., Any]) -> list[tuple[str, Any]]:
    found = rnnspect.check(spec, engine=engine)
    assert found.verdict == "differ"
    assert not found.causes[0].left
    return [(cause.parameters["what"], cause.parameters["step"]) for cause in found.causes if "exchanged" in cause.name]


@pytest.mark.each_value_once
@pytest.mark.parametrize("state", [{}, {"h0": "randn", "c0": "randn"}], ids=["from zeros", "from drawn states"])
@pytest.mark.parametrize("mistake", EXCHANGED)
@pytest.mark.parametrize("cell", ["lstm", "carrying"])
def test_h_and_c(cell: str, mistake: str, state: dict[str, Any]) -> None:
    """Where no line reads h, it makes no difference which of the two was done."""
    spec = Spec(cell=cell_of(cell), input_size=3, hidden_size=6, input="randn:27", **state)
    said = told(spec, chunked(cell, 8, mistake))
    assert (mistake, 8) in said
    assert len(said) == (1 if cell == "lstm" else 2)


@pytest.mark.slow
@pytest.mark.each_value_once
@pytest.mark.parametrize("state", [{}, {"c0": "randn"}], ids=["from zeros", "from a drawn state"])
@pytest.mark.parametrize("mistake", CHANGED)
def test_matrices(mistake: str, state: dict[str, Any]) -> None:
    spec = Spec(cell=carried.cell_of("retnet"), input_size=3, hidden_size=6, input="randn:27", **state)
    assert told(spec, in_calls(8, CHANGED[mistake])) == [(mistake, 8)]


def test_right_states_are_told_nothing_of() -> None:
    spec = Spec(cell=carried.cell_of("retnet"), input_size=3, hidden_size=6, input="randn:27")
    assert rnnspect.check(spec, engine=in_calls(8, lambda s: s)).agrees


@pytest.mark.parametrize("where", ["initial", "final"])
@pytest.mark.parametrize("what", CHANGED)
def test_where_a_run_begins_or_ends(what: str, where: str) -> None:
    """Of the final state every step is right."""
    right = carried.carried("retnet", 1000)

    def exchanged(c: Tensor) -> Tensor:
        return CHANGED[what](c.reshape(*c.shape[:-1], *SHAPE)).flatten(-3)

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        begun = exchanged(state[1]) if where == "initial" else state[1]
        output, (h, c) = right(x, (state[0], begun), parameters)
        return output, (h, exchanged(c) if where == "final" else c)

    spec = Spec(cell=carried.cell_of("retnet"), input_size=3, hidden_size=6, input="randn:9", c0="randn")
    cause = rnnspect.check(spec, engine=run).causes[0]
    assert (cause.name, cause.explanation) == ("chunk-state-exchanged", f"{what} in the {where} state")


AXES: dict[str, tuple[str, Callable[[Tensor], Tensor]]] = {
    "the last two axes of S are swapped": (
        "retnet",
        lambda c: c.unflatten(-1, (2, 3, 4)).transpose(-1, -2).flatten(-3),
    ),
    "S is taken as 4 × 3, and its last two axes are swapped": (
        "retnet",
        lambda c: c.unflatten(-1, (2, 4, 3)).transpose(-1, -2).flatten(-3),
    ),
    "re, im are interleaved": ("lru", lambda c: torch.stack(c.chunk(2, -1), -1).flatten(-2)),
    "re, im are taken apart as if they were interleaved": (
        "lru",
        lambda c: torch.cat([c[..., ::2], c[..., 1::2]], -1),
    ),
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("where", ["initial", "final"])
@pytest.mark.parametrize("what", AXES)
def test_axes_of_two_lengths(what: str, where: str, dtype: str) -> None:
    """Of eight units, in the state that a run is given, or in the one that it ends with."""
    name, exchanged = AXES[what]

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        p = {key.removesuffix("_l0"): value for key, value in parameters.items()}
        step, now, out = LOOPS[name](False), (state[0][0], state[1][0]), []
        now = (now[0], exchanged(now[1])) if where == "initial" else now
        for t in range(x.shape[1]):
            now = step(x[:, t], now, **p)
            out.append(now[0])
        h, c = now
        return torch.stack(out, 1), (h[None], (exchanged(c) if where == "final" else c)[None])

    given: dict[str, Any] = {"input_size": 3, "hidden_size": 8, "batch_first": True, "c0": "randn", "dtype": dtype}
    spec = Spec(cell=load_cell(f"examples/cells/{name}.py:{name}"), **given)
    cause = rnnspect.check(spec, "randn:9", engine=run).causes[0]
    assert (cause.name, cause.explanation) == ("chunk-state-exchanged", f"{what} in the {where} state")
