"""No correct form of a linear recurrence is called wrong, whatever its network, input, length, chunk and dtype.

A few here; 10,000 with `pytest -m campaign -s tests/judging/test_forms_drawn.py`, or as many as DRAWN says, from the
seed FIRST on. A form that divides by cumulated decays is drawn only where these are well above the smallest number: it
is wrong where they are not.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspect
from rnnspect import Verdict
from rnnspect.cells import Cell
from rnnspect.engines.own.loading import load_cell
from tests.causes.own_cells import CARRYING, MINGRU
from tests.cells.forms import ANY_ORDER, LOG_SPACE, Form, in_chunks
from tests.marks import sampled

pytestmark = pytest.mark.usefixtures("no_causes")
QUICK, DRAWN, FIRST = 60, int(os.environ.get("DRAWN", "10000")), int(os.environ.get("FIRST", "0"))
MINLSTM = load_cell("examples/cells/minlstm.py:minlstm")
SMALLEST = 1e-25
"""Of a product of decays that is divided by."""


class NoFormError(Exception):
    """The division would lose all digits."""


def divided(size: int) -> Form:
    form = in_chunks(size)

    def checked(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
        if any(float(part.double().prod(0).min()) < SMALLEST for part in a.split(size)):
            raise NoFormError
        return form(a, b, h)

    return checked


def mingru(wx: Tensor) -> tuple[Tensor, Tensor]:
    z, n = wx.chunk(2, -1)
    z = z.sigmoid()
    return 1 - z, z * n


def minlstm(wx: Tensor) -> tuple[Tensor, Tensor]:
    f, i, n = wx.chunk(3, -1)
    f, i = f.sigmoid(), i.sigmoid()
    return f / (f + i), i / (f + i) * n


def carrying(wx: Tensor) -> tuple[Tensor, Tensor]:
    f, n, _ = wx.chunk(3, -1)
    return f.sigmoid(), (1 - f.sigmoid()) * n.tanh()


CELLS: dict[str, tuple[Cell, Callable[[Tensor], tuple[Tensor, Tensor]], float]] = {
    "mingru": (MINGRU, mingru, -1.0),
    "minlstm": (MINLSTM, minlstm, 1.0),
    "carrying": (CARRYING, carrying, 1.0),
}
"""The cell, a and b from W_ih x + b_ih, and the sign that a bias of the first gate has where the memory is long."""


@dataclass(frozen=True)
class FormPlan:
    cell: str
    form: str
    chunk: int
    dtype: str
    steps: int
    batch: int
    units: int
    scale: float
    memory: float
    input: str
    begun: bool


def plan_of(seed: int) -> FormPlan:
    r = random.Random(seed)
    return FormPlan(
        cell=r.choice(sorted(CELLS)),
        form=r.choice(["chunks", "chunks", "tree", "stepped", *LOG_SPACE]),
        chunk=r.choice([4, 16, 64]),
        dtype=r.choice(["float32", "float32", "bfloat16", "float64"]),
        steps=r.choice([1, 2, 15, 17, 33, 63, 65, 129, 200, 300, 500]),
        batch=r.choice([1, 1, 3]),
        units=r.choice([1, 4, 16]),
        scale=r.choice([0.1, 0.5, 1.0, 2.0]),
        memory=r.choice([0.0, 0.0, 3.0, 6.0, 9.0]),
        input=r.choice(["randn", "steady", "periodic", "one-hot"]),
        begun=r.random() < 0.5,
    )


def input_of(plan: FormPlan, generator: torch.Generator) -> Tensor:
    shape = plan.batch, plan.steps, 3
    match plan.input:
        case "steady":
            return torch.randn(plan.batch, 1, 3, generator=generator).expand(shape).clone()
        case "periodic":
            return torch.sin(
                torch.arange(plan.steps).view(1, -1, 1) * torch.rand(plan.batch, 1, 3, generator=generator)
            )
        case "one-hot":
            return torch.nn.functional.one_hot(torch.randint(3, shape[:2], generator=generator), 3).float()
    return torch.randn(shape, generator=generator)


def judged(plan: FormPlan, seed: int) -> Verdict:
    """Raises `NoFormError` where the plan's form has no correct run."""
    cell, coefficients, sign = CELLS[plan.cell]
    generator, dtype = torch.Generator().manual_seed(seed), getattr(torch, plan.dtype)
    weight = torch.randn(len(cell.gates) * plan.units, 3, generator=generator) * plan.scale
    bias = torch.randn(len(weight), generator=generator) * 0.3
    bias[: plan.units] += sign * plan.memory
    form = form_of(plan)
    failed: list[NoFormError] = []

    def forward(x: Tensor, state: Any, weight_ih_l0: Tensor, bias_ih_l0: Tensor) -> Any:
        wx = x.transpose(0, 1) @ weight_ih_l0.T + bias_ih_l0
        first = (state[-1] if cell.has_cell_state else state)[0]
        try:
            found = form(*coefficients(wx), first)
        except NoFormError as error:
            failed.append(error)
            found = torch.zeros(*wx.shape[:2], plan.units, dtype=wx.dtype)
        if not cell.has_cell_state:
            return found.transpose(0, 1), found[-1:]
        h = wx.chunk(3, -1)[2].sigmoid() * found
        return h.transpose(0, 1), (h[-1:], found[-1:])

    weights = {"weight_ih_l0": weight.to(dtype).tolist(), "bias_ih_l0": bias.to(dtype).tolist()}
    keys = {"input_size": 3, "hidden_size": plan.units, "batch_first": True, "dtype": plan.dtype, "weights": weights}
    state = torch.randn(1, plan.batch, plan.units, generator=generator) * plan.begun
    states = (torch.zeros_like(state), state) if cell.has_cell_state else (state,)
    scan = "log-scan" if plan.dtype == "float32" else f"{plan.dtype}-log-scan"
    verdict = rnnspect.check(
        rnnspect.Spec(cell=cell, **keys),
        input_of(plan, generator).to(dtype),
        *(one.to(dtype) for one in states),
        engine=forward,
        arithmetic=scan if plan.form in LOG_SPACE else None,
    )
    if failed:
        raise failed[0]
    assert isinstance(verdict, Verdict)
    return verdict


def form_of(plan: FormPlan) -> Form:
    if plan.form == "chunks":
        return divided(plan.chunk)
    return signed(LOG_SPACE[plan.form]) if plan.form in LOG_SPACE else ANY_ORDER[plan.form]


def signed(form: Form) -> Form:
    """A form in log space, which knows positive numbers alone, of the positive terms and of the negative ones; in
    float32, as people have it for half types."""

    def both(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
        dtype, tiny = a.dtype, 1e-30
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        a, b, h = (one.to(wide) for one in (a, b, h))
        parts = [form(a.clamp(min=tiny), (sign * b).clamp(min=tiny), (sign * h).clamp(min=tiny)) for sign in (1, -1)]
        return (parts[0] - parts[1]).to(dtype)

    return both


def wrong_in(verdict: Verdict) -> str | None:
    if verdict.suspects:
        return "; ".join(one.said for one in verdict.suspects)
    return f"differ: {verdict.first}" if verdict.verdict == "differ" else None


@pytest.mark.parametrize("part", sampled(range(3), 3))
def test_no_correct_form_is_called_wrong(part: int) -> None:
    for seed in range(part, QUICK, 3):
        plan = plan_of(seed)
        try:
            assert not wrong_in(judged(plan, seed)), (seed, plan)
        except NoFormError:
            continue


@pytest.mark.campaign
def test_no_correct_form_of_very_many_is_called_wrong() -> None:
    began, answers, wrong = time.monotonic(), Counter[str](), []
    for seed in range(FIRST, FIRST + DRAWN):
        plan = plan_of(seed)
        try:
            verdict = judged(plan, seed)
        except NoFormError:
            answers["no such form"] += 1
            continue
        answers[f"{plan.dtype} {verdict.verdict}"] += 1
        if said := wrong_in(verdict):
            wrong.append((seed, plan, said))
            print(seed, plan, said, flush=True)
    print(f"\n{DRAWN} drawn in {time.monotonic() - began:.0f} s: {dict(sorted(answers.items()))}")
    assert not wrong
