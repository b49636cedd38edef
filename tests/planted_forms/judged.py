"""Draws a cell, one of its forms, a mistake or none, and a run of it; and holds that run to the equations."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import rnnspect
from rnnspect import Verdict
from rnnspect.cells import Cell
from rnnspect.engines.own.loading import load_cell
from rnnspect.tracing.prepare import prepare
from tests.planted_forms.gated_delta import GATED_DELTA
from tests.planted_forms.lru import LRU
from tests.planted_forms.mamba import MAMBA
from tests.planted_forms.minimal import MINIMAL
from tests.planted_forms.mlstm import MLSTM
from tests.planted_forms.plans import How, Mistake, Parameters, Planted, State
from tests.planted_forms.retnet import RETNET
from tests.planted_forms.s6 import S6
from tests.planted_forms.whole import run_whole

FOLDER = Path(__file__).parents[2] / "examples" / "cells"
PLANTED: dict[str, Planted] = {
    **MINIMAL,
    "s6": S6,
    "mamba": MAMBA,
    "lru": LRU,
    "retnet": RETNET,
    "gated_delta": GATED_DELTA,
    "mlstm": MLSTM,
}
CELLS = ("mingru", "minlstm", "s6", "mamba", "retnet", "lru", "gated_delta", "mlstm")
DTYPES = ("float32",) * 4 + ("float64",) * 3 + ("bfloat16",) * 2
SEEN = {"float32": 1e-5, "float64": 1e-11, "bfloat16": 0.02}
"""How much of the largest number a mistake has to move to count as one."""
STEEP = ("s6", "mamba")
"""Cells whose decays, cumulated over more than a few steps, are zero in float32: nothing can be divided by them."""
IN_LOGARITHMS = ("matrix", "masked", "solved", "rows", "running")
"""Forms that add up logarithms of decays."""


@dataclass(frozen=True)
class Drawn:
    """A run; `draw(seed, wrong=…)` gives it again."""

    seed: int
    cell: str
    how: How
    mistake: Mistake | None
    dtype: str
    inputs: int
    hidden: int
    batch: int
    steps: int
    zeros: bool
    """Whether the initial states are zeros."""
    scale: float
    """What the cell's usual weights are multiplied with."""
    inner: bool
    """Whether a half type is computed in float32 inside, as kernels do."""


@dataclass(frozen=True)
class Given:
    """What a run is made of, in its own dtype."""

    spec: rnnspect.Spec
    x: Tensor
    state: State


def cell_of(name: str) -> Cell:
    return load_cell(f"{FOLDER / name}.py:{name}")


def draw(seed: int, wrong: bool) -> Drawn:
    """Cells take turns, as seeds follow each other; the mistake, if there is to be one, and all else is drawn."""
    name = CELLS[seed % len(CELLS)]
    mistake = random.Random(f"mistake {seed}").choice(PLANTED[name].mistakes) if wrong else None
    return draw_with(seed, name, mistake)


def draw_with(seed: int, name: str, mistake: Mistake | None) -> Drawn:
    """A run of this cell with this mistake."""
    r = random.Random(f"{seed} {mistake is not None}")
    planted, wrong = PLANTED[name], "" if mistake is None else mistake.name
    form = r.choice([form for form in planted.forms if mistake is None or form in mistake.forms])
    chunk = r.choice((3, 4, 5, 8, 16))
    if form == "division" and name in STEEP:
        chunk = min(chunk, 5)
    steps = chunk * r.randint(2, 4) + r.randint(1, chunk - 1)
    prefill = r.randint(2, steps - 3) if form != "steps" and r.random() < 0.25 else 0
    if form == "division":
        prefill = min(prefill, chunk)
    if wrong == "short prompt is filled up behind":
        prefill = r.randint(1, 2)
    elif wrong.endswith(" once") or "padded" in wrong:
        prefill = 0
    hidden = planted.heads * r.randint(2 if planted.heads == 1 else 1, 6)
    return Drawn(
        seed=seed,
        cell=name,
        how=How(form, chunk, prefill, wrong),
        mistake=mistake,
        dtype=r.choice(DTYPES),
        inputs=hidden if wrong == "kernel is transposed" else r.randint(2, 6),
        hidden=hidden,
        batch=r.randint(1, 3),
        steps=steps,
        zeros=r.random() < 0.3,
        scale=min(planted.largest, r.choice((1.0, 1.5, 2.0))),
        inner=form != "steps" or name == "lru" or r.random() < 0.5,
    )


def given(drawn: Drawn) -> Given:
    """Weights, input and initial states of a run."""
    more = {"input_size": drawn.inputs, "hidden_size": drawn.hidden, "batch_first": True, "dtype": drawn.dtype}
    spec = rnnspect.Spec(cell=cell_of(drawn.cell), seed=drawn.seed, **more)
    usual = prepare(spec, "zeros:1").parameters
    spec = spec.with_changes(weights={name: (w.double() * drawn.scale).tolist() for name, w in usual.items()})
    dtype = getattr(torch, drawn.dtype)
    g = torch.Generator().manual_seed(drawn.seed)
    x = torch.randn(drawn.batch, drawn.steps, drawn.inputs, generator=g, dtype=torch.float64)
    state = [0.5 * torch.randn(1, drawn.batch, n, generator=g, dtype=torch.float64) for n in _widths(drawn)]
    return Given(spec, x.to(dtype), tuple((0 * one if drawn.zeros else one).to(dtype) for one in state))


def _widths(drawn: Drawn) -> list[int]:
    """The sizes of h and, where there is one, of c."""
    cell, sizes = cell_of(drawn.cell), {"hidden_size": drawn.hidden, **dict(cell_of(drawn.cell).constants)}

    def size(named: Any) -> int:
        whole, _, parts = str(named).partition("/")
        return int(sizes.get(whole, whole)) // int(sizes[parts] if parts else 1)  # type: ignore[arg-type]

    blocks = [torch.Size([size(one) for one in shape]).numel() for _, shape in cell.cell_state or ()]
    return [drawn.hidden, *([sum(blocks)] if "c" in cell.states else [])]


def engine_of(drawn: Drawn) -> Callable[..., Any]:
    """What `rnnspect.check` runs. A form sees c alone where there is one, and gives the last output as h."""

    def form(x: Tensor, state: Any, parameters: Parameters) -> Any:
        p = {name.removesuffix("_l0"): value for name, value in parameters.items()}
        states = state if isinstance(state, tuple) else (state,)
        return run_as_given(drawn, x, states, p)

    return form


def run_as_given(drawn: Drawn, x: Tensor, states: State, p: Parameters) -> tuple[Tensor, Any]:
    """In the dtype of x, or in float32 inside; states are (1, batch, units)."""
    dtype = x.dtype
    inner = torch.float32 if drawn.inner and dtype is torch.bfloat16 else dtype
    own = tuple(one[0].to(inner) for one in states[-1:])
    p = {name: value.to(inner) for name, value in p.items()}
    out, final = run_whole(PLANTED[drawn.cell].run, x.to(inner), own, p, drawn.how)
    out, last = out.to(dtype), final[0].to(dtype)
    return out, ((out[:, -1][None], last[None]) if len(states) > 1 else last[None])


def run_in_float64(drawn: Drawn, run: Given) -> tuple[Tensor, ...]:
    """The output and the final states of the form itself, without a check."""
    parameters = prepare(run.spec, "zeros:1").parameters
    p = {name.removesuffix("_l0"): value.double() for name, value in parameters.items()}
    out, final = run_as_given(drawn, run.x.double(), tuple(one.double() for one in run.state), p)
    return (out, *final) if isinstance(final, tuple) else (out, final)


def moved(drawn: Drawn, run: Given) -> float:
    """How far the mistake moves a number at most, in float64, as a part of the largest one."""
    right = replace(drawn, how=replace(drawn.how, wrong=""))
    both = zip(run_in_float64(right, run), run_in_float64(drawn, run), strict=True)
    found = [float((one - other).abs().max() / one.abs().max()) for one, other in both]
    return max(found) if all(map(math.isfinite, found)) else math.inf


def arithmetic_of(drawn: Drawn) -> str | None:
    """What somebody who uses such a form declares."""
    prefix = "" if drawn.dtype == "float32" else f"{drawn.dtype}-"
    if drawn.how.form in IN_LOGARITHMS:
        return f"{prefix}log-scan:{max(drawn.how.chunk, drawn.how.prefill)}"
    return None if drawn.how.form == "steps" else f"{prefix}any-order"


def judged(drawn: Drawn, run: Given, explain: float | None = None) -> Verdict:
    h0, *c0 = run.state
    engine, arithmetic = engine_of(drawn), arithmetic_of(drawn)
    return rnnspect.check(run.spec, run.x, h0, *c0, engine=engine, arithmetic=arithmetic, explain=explain)


def told_of(drawn: Drawn, verdict: Verdict) -> str:
    """What was made of a mistake: right, other, none, agree, cannot tell; or that no id fits it, named or not."""
    if verdict.verdict != "differ":
        return verdict.verdict
    first = verdict.causes[0].name if verdict.causes else ""
    assert drawn.mistake is not None
    if drawn.mistake.right is None:
        return "no id fits, one is named" if first else "no id fits, none is named"
    return "right" if first in drawn.mistake.right else "other" if first else "none"


def in_full(drawn: Drawn, verdict: Verdict) -> str:
    """All that it takes to repeat a run, what was said of it, and what should have been."""
    said = ", ".join(dict.fromkeys(cause.name for cause in verdict.causes)) or verdict.reason or "no cause"
    fits = "" if drawn.mistake is None or drawn.mistake.right is None else " or ".join(sorted(drawn.mistake.right))
    return f"{verdict.verdict}: {said}; right: {fits}\n  {drawn}"
