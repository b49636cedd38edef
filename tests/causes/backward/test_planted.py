"""Mistakes planted in the loops: each is found, called by its name, and never passes for a right pass.

`pytest -m campaign -s tests/causes/backward/test_planted.py` plants each in networks of all shapes and prints a table;
the seeds begin at FIRST, and PLANTED says how many there are.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections import Counter
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from rnnspect import Verdict
from rnnspect.causes.backward import known
from tests.causes.backward.drawn import Plan, checked
from tests.causes.backward.mistakes import MISTAKES, Mistake
from tests.marks import covered

PLANTED, FIRST = int(os.environ.get("PLANTED", "1000")), int(os.environ.get("FIRST", "0"))
SHAPES = tuple(product((1, 2), (1, 2), ("float32", "float64")))
EACH = [(mistake, cell) for mistake in MISTAKES for cell in mistake.cells]


def is_named(mistake: Mistake, verdict: Verdict) -> bool:
    """Whether the first cause is the mistake, with its parameters; a factor is that of the plan, to 9 digits."""
    if not verdict.causes or verdict.causes[0].name != mistake.name:
        return False
    found = verdict.causes[0].parameters
    return all(
        key in found and (found[key] == value or (isinstance(value, float) and abs(found[key] - value) < 1e-9))
        for key, value in mistake.expected.items()
    )


@pytest.mark.parametrize(
    ("mistake", "cell"),
    covered(EACH, lambda one: {one[0].name, one[1]}),
    ids=[f"{mistake.id} {cell}" for mistake, cell in EACH],
)
def test_a_planted_mistake_is_named(mistake: Mistake, cell: str) -> None:
    """In a layer of each float type, which are not the same arithmetic to a check."""
    n = EACH.index((mistake, cell))
    plan = Plan(n, cell, ("float32", "float64")[n % 2])
    verdict = checked(replace(plan, **mistake.needs), mistake.flags)
    assert verdict.verdict == "differ"
    assert is_named(mistake, verdict), [(cause.name, cause.parameters) for cause in verdict.causes]
    assert verdict.causes[0].worst_ratio_after <= 1 < verdict.causes[0].worst_ratio_before


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.id)
def test_it_is_named_in_every_layer_and_direction_that_has_it(mistake: Mistake) -> None:
    plan = replace(Plan(5, mistake.cells[-1], layers=2, directions=2), **mistake.needs)
    verdict = checked(plan, mistake.flags)
    assert verdict.verdict == "differ"
    assert is_named(mistake, verdict), [(cause.name, cause.parameters) for cause in verdict.causes]


def test_every_cause_is_planted() -> None:
    """By the ids that stand in the files of the families."""
    told = set()
    for family in known.families():
        source = inspect.getsource(importlib.import_module(f"{known.__name__}.{family}"))
        told |= set(re.findall(r'"(grad-[\w-]+)"', source))
    assert told == {mistake.name for mistake in MISTAKES}


@pytest.mark.parametrize("flag", ["upstream not turned", "dx not turned"])
def test_a_reverse_direction_of_items_of_unequal_length_is_explained(flag: str) -> None:
    verdict = checked(Plan(5034, "rnn", directions=2, lengths=True), {flag: True})
    assert [cause.name for cause in verdict.causes][:1] == ["grad-reverse-not-realigned"]


def test_two_mistakes_of_which_one_is_in_the_sums_are_named_together() -> None:
    verdict = checked(Plan(8), {"c lost": True, "biases": "half each"})
    assert [cause.name for cause in verdict.causes] == ["grad-c-path-lost", "grad-biases-shared"]
    assert verdict.causes[0].together == ("grad-c-path-lost", "grad-biases-shared")


def test_what_no_known_mistake_explains_is_said() -> None:
    verdict = checked(Plan(9), {"loss times": 1.37, "dx times": -1})
    assert verdict.verdict == "differ"
    assert verdict.causes == ()
    assert any("known mistakes of the backward pass" in note for note in verdict.notes)


@pytest.mark.campaign
def test_the_right_mistake_comes_first() -> None:
    """In at least 95 of 100, and none passes."""
    rng, answers = np.random.default_rng(FIRST), Counter[tuple[str, str]]()
    passed, total = [], Counter[str]()
    for n in range(PLANTED):
        mistake, cell = EACH[n % len(EACH)]
        layers, directions, dtype = SHAPES[int(rng.integers(len(SHAPES)))]
        steps, batch = (9, 3) if any(isinstance(one, float) for one in mistake.expected.values()) else (11, 4)
        plan = Plan(FIRST + n, cell, dtype, layers, directions, 9 if "truncated" in mistake.flags else steps, batch)
        plan = replace(plan, **mistake.needs)
        if "step" in mistake.expected or mistake.flags.get("loss times") == 1 / 3:
            plan = replace(plan, batch=3)
        verdict = checked(plan, mistake.flags)
        right = is_named(mistake, verdict)
        total[mistake.name] += 1
        answers[mistake.name, "first" if right else "not first"] += 1
        if verdict.verdict != "differ":
            passed.append((plan, mistake.id, verdict.verdict))
        if not right:
            print(plan, mistake.id, verdict.verdict, [(cause.name, cause.parameters) for cause in verdict.causes])
    print(f"\n{PLANTED} planted mistakes")
    for name, count in sorted(total.items()):
        print(f"{answers[name, 'first']:4d} of {count:4d} first  {name}")
    named = sum(count for (_, how), count in answers.items() if how == "first")
    print(f"{100 * named / PLANTED:.1f} % first, {len(passed)} not called wrong")
    assert not passed
    assert named >= 0.95 * PLANTED
