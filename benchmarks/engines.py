"""Each engine's run beside torch's: T = 200, B = 1, 64 → 256, float32 on the CPU, warm.

A run is what a user waits for: from parameters and sequence to every layer's h, a graph or a module built on the way.
torch-compile is left out, which compiles for minutes. An engine that is not installed has no row.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.measure import Row, alternated
from rnnspect import engines
from rnnspect.errors import EngineError
from rnnspect.preparing import prepare
from rnnspect.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS, INPUT, HIDDEN, ROUNDS = 200, 64, 256, 9
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
            spec = Spec(cell=cell, input_size=INPUT, hidden_size=HIDDEN, input=f"randn:{STEPS}", batch=1)
            prepared = prepare(spec)
            given = spec, prepared.parameters, prepared.sequence
            try:
                ours, torch = alternated(ROUNDS, partial(engine.run, *given), partial(prepared.engine.run, *given))
            except EngineError as error:
                print(error, file=sys.stderr)
                continue
            what = f"{cell.upper()} in {name}, T = {STEPS}, B = 1, {INPUT} → {HIDDEN}"
            yield Row(what, "the same run in torch", None, ours / torch)
