"""A correct engine never differs: drawn cases, and the ones that earlier bounds called wrong."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from tests.judging import loops
from tests.judging.cases import DTYPES, Case, draw, found, judge, of_case, prepared
from tests.marks import sampled

BLOCKS, EACH = 40, 125
KINDS = ("tanh", "relu", "gru", "lstm")
ENGINES = ("torch", "cell", "numpy", *loops.FLAGS)

needs_c = pytest.mark.skipif(not loops.HAS_C, reason="skipped: no gcc to compile the loops in C")
engines = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=needs_c) if name in loops.FLAGS else name for name in ENGINES]
)


def assert_right(case: Case) -> None:
    finding = found(case)
    assert finding.first is None, case
    assert finding.over is None, case


@pytest.mark.parametrize("block", sampled(range(BLOCKS), 40))
def test_drawn_cases(block: int) -> None:
    rng = random.Random(block)
    for _ in range(EACH):
        assert_right(draw(rng))


@pytest.mark.parametrize("seed", range(6))
def test_large_drawn_cases(seed: int) -> None:
    assert_right(replace(draw(random.Random(1000 + seed), 1024, 5e7), engine="torch", batch=1))


@pytest.mark.each_value_once
@engines
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("signal", "special"),
    [("random", "closed"), ("random", "open"), ("silence", ""), ("silence", "closed"), ("kink", ""), ("denormal", "")],
)
def test_what_is_hard(kind: str, engine: str, signal: str, special: str) -> None:
    """Closed gates (b_i = −12), gates that hold, silence then a faint input, relu on its kink, denormals."""
    for seed, dtype in enumerate(DTYPES if engine in ("torch", "cell") else DTYPES[:1]):
        assert_right(Case(kind, dtype, 60, 1, 24, 16, signal=signal, special=special, engine=engine, seed=seed))


@pytest.mark.each_value_once
@engines
@pytest.mark.parametrize("kind", KINDS)
def test_constant_input_of_4096(kind: str, engine: str) -> None:
    """The same rounding at every product: a plain loop errs by more than any √k."""
    assert_right(Case(kind, torch.float32, 6, 1, 4096, 8, signal="constant", engine=engine, scale=3))
    assert_right(Case(kind, torch.float32, 6, 1, 4096, 8, signal="ones", special="same", engine=engine))


@pytest.mark.parametrize("kind", sampled(KINDS, 3))
def test_second_look_is_needed_and_used(kind: str) -> None:
    """4096 equal products: a plain loop errs by more than λ√k u, every time."""
    case = Case(kind, torch.float32, 4, 1, 4096, 8, signal="ones", special="same", engine="numpy", scale=0.0005)
    finding = found(case)
    assert finding.cleared > 0
    assert finding.first is None
    assert finding.over is None


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recorded", ["decimals", "half"])
def test_recorded_coarsely(kind: str, recorded: str) -> None:
    for seed in range(8):
        case = Case(kind, torch.float32, 50, 2, 7, 9, seed=seed, recorded=recorded)
        assert_right(case)
        module, run, _ = prepared(case)
        assert judge(case, of_case(case, module), run).first, "without its resolution a rounded recording is wrong"


@pytest.mark.each_value_once
@pytest.mark.parametrize("kind", [*KINDS, "projected"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("ragged", [False, True], ids=["", "ragged"])
def test_directions_lengths_states(kind: str, dtype: torch.dtype, reverse: bool, ragged: bool) -> None:
    cell, proj = ("lstm", 3) if kind == "projected" else (kind, 0)
    for seed in range(3):
        assert_right(Case(cell, dtype, 30, 5, 4, 7, proj, seed=seed, reverse=reverse, ragged=ragged))


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_do_not_change_the_verdict(kind: str) -> None:
    case = Case(kind, torch.float32, 203, 3, 5, 8)
    module, run, u = prepared(case)
    whole = judge(case, of_case(case, module), run, u, 10**9)
    for rows in (1, 7, 30, 64, 300):
        cut = judge(case, of_case(case, module), run, u, rows)
        assert (cut.first, cut.over, cut.values, cut.steps) == (None, None, whole.values, whole.steps)
        assert cut.coarse() == whole.coarse()
