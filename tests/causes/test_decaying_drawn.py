"""Mistakes in the decays of Mamba's scan and block, of the gated delta rule and of complex decays, planted in drawn
networks: the right cause is named wherever the run differs.

A few here; 60 with `pytest -m campaign -s tests/causes/test_decaying_drawn.py`, or as many as DRAWN says, from the seed
FIRST on.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.engines.own.loading import load_cell
from tests.causes.decaying import MISTAKES, NAMED, decaying
from tests.marks import sampled

DRAWN, FIRST = int(os.environ.get("DRAWN", "60")), int(os.environ.get("FIRST", "0"))
FEW = [
    ("mamba", "decay of the next step"),
    ("lru", "own step"),
    ("lru", "read early"),
    ("mamba", "not decayed"),
    ("s6", "no bias"),
    ("gated_delta", "own step"),
]


def checked(cell: str, mistake: str, seed: int, steps: int, batch: int = 1, dtype: str = "float32") -> Verdict:
    keys = {"input_size": 3, "hidden_size": 4, "seed": seed, "batch": batch, "dtype": dtype}
    spec = Spec(cell=load_cell(f"examples/cells/{cell}.py:{cell}"), input=f"randn:{steps}", **keys)
    found = rnnspect.check(spec, engine=decaying(cell, mistake))
    assert isinstance(found, Verdict)
    return found


def named(found: Verdict) -> set[str]:
    return {cause.name for cause in found.causes}


@pytest.mark.parametrize("cell", sampled(MISTAKES, 2))
def test_right_ones_agree(cell: str) -> None:
    assert checked(cell, "", 1, 20).agrees


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "mistake"), sampled(FEW, 2))
def test_each_is_told(cell: str, mistake: str) -> None:
    found = checked(cell, mistake, 3, 14)
    assert found.verdict == "differ"
    assert NAMED[mistake] in named(found)


def outcome(seed: int) -> str:
    """right; else what was said, and of what."""
    r = random.Random(seed)
    cell = r.choice([*MISTAKES])
    mistake = r.choice(MISTAKES[cell])
    dtype = r.choice(["float32", "float32", "float64"])
    found = checked(cell, mistake, seed, r.randint(10, 40), r.choice([1, 1, 2]), dtype)
    if found.verdict != "differ":
        return f"{found.verdict}: {mistake} of {cell} in {dtype}"
    if NAMED[mistake] in named(found):
        return "right"
    return f"{sorted(named(found)) or 'no cause'}: {mistake} of {cell} in {dtype}"


@pytest.mark.campaign
def test_very_many_are_told() -> None:
    outcomes = Counter[str]()
    for seed in range(FIRST, FIRST + DRAWN):
        said = outcome(seed)
        outcomes[said] += 1
        if said != "right":
            print(seed, said, flush=True)
    print(dict(outcomes))
    assert outcomes["right"] >= 0.95 * DRAWN
    assert not any(said.startswith("agree") for said in outcomes)
