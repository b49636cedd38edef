"""One sequence in several calls of an engine, with the state carried from call to call: a prompt at once, and then what
follows it, as in decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from rnnspect.engines.interface import Engine, cannot
from rnnspect.engines.shared.pieces import JoinedPieces
from rnnspect.errors import InputError
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.network.split import Split


class SplitEngine:
    """An engine that is called once for each part of a sequence. What it gives is put together as of one call."""

    def __init__(self, engine: Engine, split: Split) -> None:
        self._engine, self._split, self.name = engine, split, engine.name

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence) -> Recording:
        """Raises `EngineError` where there is no state to carry, `InputError` for a split that is not inside of the
        sequence."""
        if "reverse" in spec.directions or sequence.lengths is not None:
            why = "a direction starts at the end" if sequence.lengths is None else "sequences differ in length"
            raise cannot(self.name, "in several calls", why, "leave out --split")
        if self._split.at >= sequence.steps:
            found = f"a split at step {self._split.at} of {sequence.steps} steps"
            raise InputError(found, allowed=f"1 to {sequence.steps - 1}", where="--split")
        joined, part, calls = JoinedPieces(sequence.steps), sequence, self._split.calls(sequence.steps)
        apart = 0.0
        for start, stop in calls:
            ran = self._engine.run(spec, parameters, replace(part, x=sequence.x[start:stop].contiguous()))
            if ran.h_n is None or (sequence.c0 is not None and ran.c_n is None):
                raise cannot(self.name, "in several calls", "it returns no final state", "leave out --split")
            joined.add(start, ran)
            apart = max(apart, ran.stack_difference)
            part = replace(sequence, h0=ran.h_n, c0=ran.c_n)
        then = "the rest" if self._split.each is None else f"{self._split.each} each"
        note = f"{self.name} ran in {len(calls):,} calls, of {self._split.at} steps and then {then}, with the state"
        return replace(
            ran,
            output=joined.output,
            layers=joined.layers,
            stack_difference=apart,
            notes=(*ran.notes, f"{note} carried from call to call"),
        )
