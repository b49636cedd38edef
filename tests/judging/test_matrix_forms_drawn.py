"""No correct form of a cell with matrices is called wrong, and none with a mistake agrees, whatever its network,
length, chunk and dtype.

A few here; 2,000 with `pytest -m campaign -s tests/judging/test_matrix_forms_drawn.py`, or as many as DRAWN says, from
the seed FIRST on.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

import rnnspect
from rnnspect import Verdict
from rnnspect.tracing.prepare import prepare
from tests.cells.matrix_forms import FORMS, LOGS, POSSIBLE, UNSCALED
from tests.cells.test_examples import cell
from tests.marks import sampled

pytestmark = pytest.mark.usefixtures("no_causes")
QUICK, DRAWN, FIRST = 8, int(os.environ.get("DRAWN", "2000")), int(os.environ.get("FIRST", "0"))


@dataclass(frozen=True)
class MatrixPlan:
    cell: str
    chunk: int
    dtype: str
    steps: int
    batch: int
    scale: float
    memory: float
    begun: bool
    seed: int
    says_chunk: bool = False
    """Whether the number of steps that logarithms are added up over is declared."""


def plan_of(seed: int) -> MatrixPlan:
    r = random.Random(seed)
    return MatrixPlan(
        cell=r.choice(sorted(FORMS)),
        chunk=r.choice([8, 16, 64, 128]),
        dtype=r.choice(["float32", "float32", "bfloat16", "float64"]),
        steps=r.choice([1, 7, 17, 33, 65, 131, 200, 300]),
        batch=r.choice([1, 1, 2]),
        scale=r.choice([0.5, 1.0, 2.0]),
        memory=r.choice([0.0, 0.0, 3.0, 6.0, 8.0]),
        begun=r.random() < 0.5,
        seed=seed,
        says_chunk=r.random() < 0.5,
    )


def network(plan: MatrixPlan) -> rnnspect.Spec:
    """With weights of the size that is drawn, and decays of the memory that is."""
    spec = rnnspect.Spec(
        cell=cell(plan.cell), input_size=5, hidden_size=8, dtype=plan.dtype, seed=plan.seed, batch_first=True
    )
    own = {name: values.double() for name, values in prepare(spec, "zeros:1").parameters.items()}
    longer = {"theta_l0": plan.memory, "dt_bias_l0": -plan.memory, "nu_log_l0": -plan.memory}
    if plan.cell == "lru":  # phases up to 2π
        own["theta_log_l0"] = math.log(2 * math.pi) + own["theta_log_l0"].clamp(max=0)
    if plan.cell == "mlstm":
        own["bias_ih_l0"][-10:-8] += plan.memory / plan.scale
    changed = {
        name: values * (plan.scale if "_ih" in name else 1) + longer.get(name, 0.0) for name, values in own.items()
    }
    return spec.with_changes(weights={name: values.tolist() for name, values in changed.items()})


def judged(plan: MatrixPlan, mistake: str = "") -> Verdict:
    spec = network(plan)
    state = "randn" if plan.begun and plan.cell != "mlstm" else None  # of its stabiliser not every number is a state
    more = {"batch": plan.batch, "c0": state, "input": f"randn:{plan.steps}"}
    how = f"{plan.dtype}-log-scan".removeprefix("float32-") if plan.cell in LOGS else None
    if how and plan.says_chunk and plan.cell != "mlstm":  # that one adds up over all steps
        how += f":{plan.chunk}"
    found = rnnspect.check(spec.with_changes(**more), engine=FORMS[plan.cell](plan.chunk, mistake), arithmetic=how)
    assert isinstance(found, Verdict)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("part", sampled(range(2), 2))
def test_no_correct_form_is_called_wrong(part: int) -> None:
    for plan in map(plan_of, range(part, QUICK, 2)):
        found = judged(plan)
        assert found.verdict != "differ", plan
        assert not found.suspects, plan


@pytest.mark.parametrize("name", sampled(FORMS, 2))
def test_no_mistake_of_a_form_agrees(name: str) -> None:
    for mistake in POSSIBLE[name]:
        plan = MatrixPlan(name, 16, "float32", 41, 1, 1.0, 0.0, name != "mlstm", 3)
        begun = name == "mlstm" and mistake == "state lost"  # its first state is zero, and lost without a trace
        assert judged(plan, mistake).verdict == ("agree" if begun else "differ"), mistake


@pytest.mark.campaign
def test_no_correct_form_of_very_many_is_called_wrong() -> None:
    began, answers, wrong = time.monotonic(), Counter[str](), []
    for plan in map(plan_of, range(FIRST, FIRST + DRAWN)):
        found = judged(plan)
        answers[f"{plan.dtype} {found.verdict}"] += 1
        if found.verdict == "differ" or found.suspects:
            wrong.append(plan)
            print(plan, found.first, [one.said for one in found.suspects], flush=True)
    print(f"\n{DRAWN} drawn in {time.monotonic() - began:.0f} s: {dict(sorted(answers.items()))}")
    assert not wrong


@pytest.mark.campaign
def test_sums_of_logarithms_that_nobody_declared_are_named() -> None:
    """An mLSTM over all of 1,200 steps at once in float32: right, and beyond the limit of any order."""
    spec = network(MatrixPlan("mlstm", 0, "float32", 1200, 1, 1.0, 0.0, False, 0)).with_changes(input="randn:1200")
    found = rnnspect.check(spec, engine=FORMS["mlstm"](0, ""))
    assert found.verdict == "differ"
    assert found.reason is not None
    assert found.reason.endswith("check with --arithmetic log-scan")
    assert rnnspect.check(spec, engine=FORMS["mlstm"](0, ""), arithmetic="log-scan").agrees
    wrong = rnnspect.check(spec, engine=FORMS["mlstm"](0, UNSCALED))
    assert wrong.verdict == "differ"
    assert wrong.reason is None
