"""The state is kept in a half type between steps, and everything else in float32: h or c is rounded before a step reads
it. The h that the engine returned was written before that."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from rnnspect.arithmetic.roundoff import SINGLE
from rnnspect.causes.interface import Cause
from rnnspect.causes.known._rounded_values import is_number, rounded
from rnnspect.cells.interface import Cell
from rnnspect.judging.assumption import Assumption


def causes(assumed: Assumption) -> Iterator[Cause]:
    run, cell = assumed.run, assumed.cell
    if assumed.u != SINGLE or not assumed.seen or cell.name not in ("rnn", "gru", "lstm") or run.x.shape[0] < 2:
        return
    for kept in (("h",),) if run.c0 is None else (("h",), ("c",), ("h", "c")):
        said = "h and c are" if len(kept) > 1 else f"{kept[0]} is"
        for dtype in (torch.float16, torch.bfloat16):
            half = str(dtype).removeprefix("torch.")
            yield Cause(
                "state-rounded",
                f"{said} kept in {half} between steps: rounded before each step, while the rest is not",
                "Keep the state in float32 from step to step.",
                functools.partial(_between_steps, kept=kept, dtype=dtype),
                {"state": " and ".join(kept), "dtype": half},
            )


def _between_steps(assumed: Assumption, kept: tuple[str, ...], dtype: torch.dtype) -> Assumption:
    cell = _cell(assumed.cell, kept, dtype)
    made = replace(assumed, cell=cell, has_final_states=False)  # the engine may return the last ones rounded, or not
    return made.with_run(c0=rounded(made.run.c0, dtype)) if "c" in kept else made


@functools.cache
def _cell(cell: Cell, kept: tuple[str, ...], dtype: torch.dtype) -> Cell:
    """The cell that reads h rounded and hands c on rounded. It does not count as one of torch's cells, whose steps can
    be bounded together."""

    @functools.wraps(cell.step)
    def step(a: Any, wx: Any, h: Any, *c: Any) -> dict[str, Any]:
        q = cell.step(a, wx, rounded(h, dtype) if "h" in kept else h, *c)
        if "c" not in kept:
            return q
        # Where the lines are tried without numbers, any function shows that c does not go on as it is.
        return {**q, "c": rounded(q["c"], dtype) if is_number(q["c"]) else a.tanh(q["c"])}

    return replace(cell, step=step, torch_name="")
