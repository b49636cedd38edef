"""Each engine's forward beside torch's: T = 200, B = 1, 64 → 256, float32 on the CPU, warm.

A forward is what 200 more steps cost: an engine builds a graph or compiles on the way to its first step, however many
there are. torch-compile is left out, which compiles for minutes. An engine that is not installed has no row.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Row, alternated
from rnnspect import engines
from rnnspect.errors import EngineError
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rnnspect.tracing.prepare import Prepared

STEPS, MORE, INPUT, HIDDEN, ROUNDS = 200, 10, 64, 256, 5
LEFT_OUT = {"torch", "torch-compile"}


def rows() -> Iterator[Row]:
    for name in engines.names():
        if name in LEFT_OUT:
            continue
        try:
            engine = engines.find(name)
        except EngineError as error:
            print(error, file=sys.stderr)
            continue
        for cell in ("rnn", "lstm", "gru"):
            runs = [
                partial(one.run, prepared.spec, prepared.parameters, prepared.sequence)
                for prepared in (_prepared(cell, STEPS), _prepared(cell, (1 + MORE) * STEPS))
                for one in (engine, prepared.engine)
            ]
            try:
                short, torch_short, long, torch_long = alternated(ROUNDS, *runs)
            except EngineError as error:
                print(error, file=sys.stderr)
                continue
            what = f"{cell.upper()} in {name}, T = {STEPS}, B = 1, {INPUT} → {HIDDEN}"
            yield Row(what, "torch's forward", None, (long - short) / (torch_long - torch_short))


def _prepared(cell: str, steps: int) -> Prepared:
    return prepare(Spec(cell=cell, input_size=INPUT, hidden_size=HIDDEN, input=f"randn:{steps}", batch=1))
