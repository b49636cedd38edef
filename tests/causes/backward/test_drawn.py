"""No right pass backwards is called wrong: drawn networks, through the loops and through PyTorch's own engines.

A sample here; as many as DRAWN says, from the seed FIRST on, with
`pytest -m campaign -s tests/causes/backward/test_drawn.py`.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rnnspect import engines
from tests.causes.backward.drawn import Plan, checked

if TYPE_CHECKING:
    from rnnspect import Verdict

QUICK = 60
DRAWN, FIRST = int(os.environ.get("DRAWN", "10000")), int(os.environ.get("FIRST", "0"))


def draw(seed: int) -> tuple[Plan, str]:
    """A network and who runs it. numpy has no bfloat16, and adds up in float16 as it likes."""
    rng = np.random.default_rng(seed)

    def one_of(*values: str) -> str:
        return values[int(rng.integers(len(values)))]

    engine = one_of("loops", "torch", "torch-cell")
    kind = one_of("rnn", "lstm", "gru", *["gru-before"] * (engine == "loops"))
    dtype = one_of("float32", "float64") if engine == "loops" else one_of("float32", "float64", "float16", "bfloat16")
    layers, directions, batch = (int(rng.integers(1, n)) for n in (4, 3, 9))
    steps, units, features = (int(2 ** rng.uniform(0, n)) for n in (6, 5, 5))
    lengths, relu, finals = bool(rng.random() < 0.3), kind == "rnn" and bool(rng.random() < 0.4), rng.random() < 0.5
    hard = engine == "loops" and kind != "rnn" and bool(rng.random() < 0.2)
    return Plan(
        seed, kind, dtype, layers, directions, steps, batch, units, features, lengths, relu, hard, bool(finals)
    ), engine  # fmt: skip


def judged(plan: Plan, engine: str) -> Verdict:
    return checked(plan, {}, None if engine == "loops" else engines.find(engine))


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(n, marks=pytest.mark.slow) for n in range(12, QUICK))])
def test_a_right_pass_is_not_called_wrong(seed: int) -> None:
    plan, engine = draw(seed)
    verdict = judged(plan, engine)
    assert verdict.verdict != "differ", (plan, engine, verdict.first)


@pytest.mark.campaign
def test_no_drawn_pass_is_called_wrong() -> None:
    """Prints how many agree, by engine and dtype."""
    answers: Counter[tuple[str, str, str]] = Counter()
    wrong, begun = [], time.perf_counter()
    for plan, engine in map(draw, range(FIRST, FIRST + DRAWN)):
        verdict = judged(plan, engine)
        answers[engine, plan.dtype, verdict.verdict] += 1
        if verdict.verdict == "differ":
            wrong.append((plan, engine, verdict.first))
            print(f"differ: {plan} {engine} {verdict.first}")
    print(f"\n{DRAWN} passes, {1e3 * (time.perf_counter() - begun) / DRAWN:.0f} ms each, {len(wrong)} called wrong")
    for (engine, dtype, answer), count in sorted(answers.items()):
        print(f"{count:6d}  {engine} {dtype} {answer}")
    assert not wrong
