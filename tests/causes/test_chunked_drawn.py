"""Mistakes at the edges of chunks, planted in six cells: the right cause comes first, and no such run agrees.

A few here; 300 with `pytest -m campaign -s tests/causes/test_chunked_drawn.py`, or as many as DRAWN says, from the seed
FIRST on.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

import rnnspect
from rnnspect import Spec, Verdict
from tests.causes.chunked import AT_EDGES, MORE_STEPS, STEPS, cell_of, chunked

QUICK, DRAWN, FIRST = 5, int(os.environ.get("DRAWN", "300")), int(os.environ.get("FIRST", "0"))
CAUSES = {
    "zeros": "chunk-state-lost",
    "initial": "chunk-state-lost",
    "doubled": "chunk-state-doubled",
    "earlier": "chunk-step-apart",
    "twice": "chunk-step-apart",
    "padded": "padding-not-masked",
}
WITH_CELL_STATE = ("lstm", "carrying")


@dataclass(frozen=True)
class PlantedChunk:
    cell: str
    mistake: str
    chunk: int
    steps: int
    batch: int
    units: int
    dtype: str
    seed: int


def planted(seed: int) -> PlantedChunk:
    r = random.Random(seed)
    chunk = r.choice([4, 8, 16])
    return PlantedChunk(
        cell=r.choice([*STEPS, *MORE_STEPS]),
        mistake=r.choice([*AT_EDGES, "padded"]),
        chunk=chunk,
        steps=chunk * r.randint(2, 5) + r.randint(1, chunk - 1),
        batch=r.choice([1, 1, 3]),
        units=r.choice([4, 8]),
        dtype=r.choice(["float32", "float32", "float64", "bfloat16"]),
        seed=seed,
    )


def judged(plan: PlantedChunk) -> Verdict:
    states = {"h0": "randn"} | ({"c0": "randn"} if plan.cell in WITH_CELL_STATE else {})
    keys = {"dtype": plan.dtype, "seed": plan.seed, "batch": plan.batch, "input": f"randn:{plan.steps}"}
    spec = Spec(cell=cell_of(plan.cell), input_size=3, hidden_size=plan.units, **keys, **states)
    found = rnnspect.check(spec, engine=chunked(plan.cell, plan.chunk, plan.mistake))
    assert isinstance(found, Verdict)
    return found


def outcome(plan: PlantedChunk, found: Verdict) -> str:
    if found.verdict != "differ":
        return found.verdict
    first = found.causes[0].name if found.causes else None
    return "right" if first == CAUSES[plan.mistake] else "no cause" if first is None else f"wrong: {first}"


@pytest.mark.slow
def test_each_is_told() -> None:
    outcomes = Counter(outcome(plan, judged(plan)) for plan in map(planted, range(QUICK)))
    assert set(outcomes) <= {"right", "cannot tell"}
    assert outcomes["right"] >= QUICK - 1


@pytest.mark.campaign
def test_very_many_are_told() -> None:
    began, outcomes = time.monotonic(), Counter[str]()
    for plan in map(planted, range(FIRST, FIRST + DRAWN)):
        said = outcome(plan, judged(plan))
        outcomes[said] += 1
        if said != "right":
            print(said, plan, flush=True)
    print(f"\n{DRAWN} drawn in {time.monotonic() - began:.0f} s: {dict(sorted(outcomes.items()))}")
    assert outcomes["right"] >= 0.95 * DRAWN
    assert not outcomes["agree"]
