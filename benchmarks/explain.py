"""What it takes to try every known mistake on a run that differs, beside the check that found it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING
from unittest import mock

import torch

from benchmarks.measure import Row, alternated
from rnnspect.causes.search import scopes
from rnnspect.checking.check import CheckTerms, judge_recorded
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from rnnspect.judging.verdict import Verdict
    from rnnspect.tracing.prepare import Prepared

BATCH, INPUT, HIDDEN = 4, 64, 128
AT_MOST, LONG_AT_MOST = 5.0, 3.0


def rows() -> Iterator[Row]:
    """Of a mistake that nobody knows, so that every one that is known is tried; and of one that is, with its proof."""
    for kind in ("gru", "lstm"):
        prepared = _prepared(kind, 1000)
        for mistake, change in (("one weight", _one_weight), ("gates exchanged", _gates_exchanged)):
            recorded = _recorded(prepared, change)
            without, with_them = alternated(
                5, partial(_check, prepared, recorded, 0.0), partial(_check, prepared, recorded, 600.0)
            )
            yield _row(kind, 1000, mistake, AT_MOST, without, with_them)


def long_rows() -> Iterator[Row]:
    """Minutes: the check of a run of 10⁵ steps that differs everywhere."""
    prepared = _prepared("lstm", 100_000)
    recorded, taken = _recorded(prepared, _gates_exchanged), []
    for seconds in (0.0, 600.0):
        start = time.perf_counter()
        _check(prepared, recorded, seconds)
        taken.append(time.perf_counter() - start)
    yield _row("lstm", 100_000, "gates exchanged", LONG_AT_MOST, taken[0], taken[1])


def _row(kind: str, steps: int, mistake: str, limit: float, without: float, with_them: float) -> Row:
    sizes = f"T = {steps}, B = {BATCH}, {INPUT} → {HIDDEN}, 2 × 2"
    what = f"every single mistake tried on {kind.upper()}, {sizes}, {mistake}"
    return Row(what, "the check of that run", limit, (with_them - without) / without)


def _check(prepared: Prepared, recorded: dict[str, Tensor], seconds: float) -> Verdict:
    with mock.patch.object(scopes, "PAIRED", ()):
        return judge_recorded(prepared, recorded, CheckTerms(explain=seconds)).verdict


def _prepared(kind: str, steps: int) -> Prepared:
    spec = Spec(
        cell=kind, input_size=INPUT, hidden_size=HIDDEN, num_layers=2, bidirectional=True, batch_first=False,
        batch=BATCH, input=f"randn:{steps}", h0="randn", c0="randn" if kind == "lstm" else None,
    )  # fmt: skip
    return prepare(spec)


def _recorded(prepared: Prepared, change: Callable[[str, Tensor], Tensor]) -> dict[str, Tensor]:
    wrong = {name: change(name, value.clone()) for name, value in prepared.parameters.items()}
    run = prepared.engine.run(prepared.spec, wrong, prepared.sequence)
    return {f"l{at}.{way}.h": h.transpose(0, 1).contiguous() for (at, way), h in run.layers.items()}


def _one_weight(name: str, value: Tensor) -> Tensor:
    if name == "weight_hh_l0":
        value[3, 7] += 0.1
    return value


def _gates_exchanged(_name: str, value: Tensor) -> Tensor:
    first, second, *rest = value.chunk(len(value) // HIDDEN)
    return torch.cat([second, first, *rest])
