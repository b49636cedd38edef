"""Final states alone are wrong, and every step is right: of loops in torch that know nothing of the package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.engines.own.loading import load_cell
from tests.causes.chunked import MORE_STEPS, STEPS, States, cell_of
from tests.cells.loops import LOOPS
from tests.marks import sampled

Ends = Callable[[States, Tensor, Callable[[Tensor, States], States]], States]
"""From the states after the last step, x (B, T, I) and a step to what is returned."""
CELLS = ("mingru", "minlstm", "lstm", "gru", "carrying")


def engine(cell: str, ends: Ends) -> Callable[..., Any]:
    step = (STEPS | MORE_STEPS)[cell]

    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        now: States = tuple(one[0] for one in (state if isinstance(state, tuple) else (state,)))
        out = []
        for t in range(x.shape[1]):
            now = step(x[:, t], now, parameters)
            out.append(now[0])
        final = tuple(one[None] for one in ends(now, x, lambda x_t, before: step(x_t, before, parameters)))
        return torch.stack(out, 1), final if len(final) > 1 else final[0]

    return run


def checked(cell: str, ends: Ends, dtype: str = "float32") -> Verdict:
    states = {"h0": "randn"} | ({"c0": "randn"} if cell in ("lstm", "carrying") else {})
    given: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "batch": 3, "batch_first": True, "dtype": dtype}
    return rnnspect.check(Spec(cell=cell_of(cell), **given, **states), "randn:11", engine=engine(cell, ends))


def further(step: int | None, count: int) -> Ends:
    """So many steps more: of zeros, or with the x of one of the steps."""

    def ends(now: States, x: Tensor, then: Callable[[Tensor, States], States]) -> States:
        for _ in range(count):
            now = then(torch.zeros_like(x[:, 0]) if step is None else x[:, step], now)
        return now

    return ends


def items(*order: int) -> Ends:
    return lambda now, _x, _then: tuple(one[list(order)] for one in now)


WRONG: dict[str, tuple[Ends, str, str]] = {
    "rolled": (items(2, 0, 1), "batch-mixed", "items 2, 0, 1 in the places of 0, 1, 2"),
    "turned": (items(2, 1, 0), "batch-mixed", "items 2, 1, 0 in the places of 0, 1, 2"),
    "expanded": (items(1, 1, 1), "batch-mixed", "item 1 for all"),
    "twice": (further(-1, 1), "chunk-step-apart", "the last step is processed twice"),
    "filled up with the last step": (further(-1, 5), "padding-not-masked", "more, each with the x of the last one"),
    "filled up with the first step": (
        further(0, 2),
        "padding-not-masked",
        "more, each with the x of the first one",
    ),
    "filled up with zeros": (further(None, 1), "padding-not-masked", "1 step of zeros more"),
}
EVERY = [(cell, wrong, dtype) for cell in CELLS for wrong in WRONG for dtype in ("float32", "float64", "bfloat16")]


@pytest.mark.parametrize(("cell", "wrong", "dtype"), sampled(EVERY, 12))
def test_what_a_run_ends_with_is_named(cell: str, wrong: str, dtype: str) -> None:
    ends, name, words = WRONG[wrong]
    found = checked(cell, ends, dtype)
    assert found.verdict == "differ"
    assert {cause.name for cause in found.causes} == {name}
    assert all(words in cause.explanation and not cause.left for cause in found.causes)


def first_alone(cell: str, count: int) -> Callable[..., Any]:
    """What it ends with is what it had after so many steps."""
    right = engine(cell, lambda now, _x, _then: now)
    return lambda x, state, parameters: (right(x, state, parameters)[0], right(x[:, :count], state, parameters)[1])


def last_alone(cell: str, start: int) -> Callable[..., Any]:
    """What it ends with is what the steps from one on make of zeros."""

    def ends(now: States, x: Tensor, then: Callable[[Tensor, States], States]) -> States:
        now = tuple(map(torch.zeros_like, now))
        for t in range(start, x.shape[1]):
            now = then(x[:, t], now)
        return now

    return engine(cell, ends)


PARTLY = [(cell, dtype) for cell in CELLS for dtype in ("float32", "float64", "bfloat16")]


@pytest.mark.parametrize(("cell", "dtype"), sampled(PARTLY, 4))
def test_steps_that_are_not_in_it(cell: str, dtype: str) -> None:
    given: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "batch": 2, "batch_first": True, "dtype": dtype}
    spec = Spec(cell=cell_of(cell), **given)
    found = rnnspect.check(spec, "randn:11", engine=first_alone(cell, 6))
    assert {(cause.name, cause.parameters["step"]) for cause in found.causes} == {("state-not-carried", 6)}
    found = rnnspect.check(spec, "randn:11", engine=last_alone(cell, 10))
    assert {(cause.name, cause.parameters["step"]) for cause in found.causes} == {("chunk-state-lost", 10)}


@pytest.mark.parametrize("cell", CELLS)
def test_what_is_nothing_of_the_run_has_no_name(cell: str) -> None:
    assert checked(cell, lambda now, _x, _then: now).agrees
    found = checked(cell, lambda now, _x, _then: tuple(one + 0.01 * torch.tensor([1.0, -1, 1, 1]) for one in now))
    assert found.verdict == "differ"
    assert not found.causes


BLOCKS = (("S", 4 * 4), ("n", 2 * 4), ("m", 2))
"""Of an mLSTM of four units."""
OF_BLOCKS = [
    (wrong, block, dtype)
    for wrong in ("zeros", "initial", "older", "twice")
    for block in range(3)
    for dtype in ("float32", "float64")
    if (wrong, block) != ("twice", 2)  # a maximum is the same after the same step
]
NAMES = {"zeros": "state-not-carried", "initial": "state-not-carried", "older": "shifted-by-one",
         "twice": "chunk-step-apart"}  # fmt: skip


@pytest.mark.parametrize(("wrong", "block", "dtype"), sampled(OF_BLOCKS, 4))
def test_a_block_of_several(wrong: str, block: int, dtype: str) -> None:
    def run(x: Tensor, state: Any, parameters: dict[str, Tensor]) -> Any:
        p = {key.removesuffix("_l0"): value for key, value in parameters.items()}
        step, now, before, out = LOOPS["mlstm"](False), (state[0][0], state[1][0]), state[1][0], []
        for t in range(x.shape[1]):
            before, now = now[1], step(x[:, t], now, **p)
            out.append(now[0])
        h, c = now
        other = {
            "zeros": torch.zeros_like(c),
            "initial": state[1][0],
            "older": before,
            "twice": step(x[:, -1], now, **p)[1],
        }
        parts = [one.split([size for _, size in BLOCKS], -1) for one in (c, other[wrong])]
        final = torch.cat([parts[int(at == block)][at] for at in range(len(BLOCKS))], -1)
        return torch.stack(out, 1), (h[None], final[None])

    given: dict[str, Any] = {"input_size": 3, "hidden_size": 4, "batch_first": True, "c0": "randn", "dtype": dtype}
    spec = Spec(cell=load_cell("examples/cells/mlstm.py:mlstm"), **given)
    cause = rnnspect.check(spec, "randn:9", engine=run).causes[0]
    assert (cause.name, cause.parameters["which"]) == (NAMES[wrong], BLOCKS[block][0])
    assert not cause.left
