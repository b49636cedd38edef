"""One sequence in several calls of an engine, with the state carried from call to call: a long run in pieces of its
steps, so that the framework's own workspace stays small and progress can be shown; or a prompt at once and then what
follows it, as in decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rnnspect.engines.interface import Engine, InPieces, cannot
from rnnspect.errors import InputError
from rnnspect.network.memory import WORKSPACE, step_workspace
from rnnspect.network.progress import StepsDone
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.shown import counted
from rnnspect.network.spec import Spec
from rnnspect.network.split import Split

_ALIGNED = 64
"""Bytes of a cache line. Some matrix products sum in another order where a row does not begin on one."""
_EVEN = 64
"""A piece has a multiple of so many steps, so that it begins on a cache line wherever the whole does."""


def run_in_pieces(
    engine: Engine, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, progress: StepsDone
) -> Recording:
    """What the engine gives for the sequence; a note of the recording says so where it was called for pieces of it.
    `progress` is told how many steps more have run.

    It is one call where the sequence is short, has lengths, is read backwards, or lies on a GPU; where the engine does
    not say that it gives the same bits in pieces; and where a stack gives other bits than its layers one by one, which
    then do not begin a piece with the same state.

    Raises what the engine raises.
    """
    count = _piece(engine, spec, sequence)
    joined = None if count is None else _joined(engine, spec, parameters, sequence, count, progress)
    if joined is None:
        joined = engine.run(spec, parameters, sequence)
        progress(sequence.steps)
    return joined


def _piece(engine: Engine, spec: Spec, sequence: Sequence) -> int | None:
    """How many steps a piece has; None where the sequence runs in one call."""
    if not isinstance(engine, InPieces) or engine.piece is None or sequence.x.device.type != "cpu":
        return None
    if sequence.lengths is not None or spec.directions != ("forward",):
        return None
    most = min(engine.piece, WORKSPACE // (sequence.batch * step_workspace(spec)))
    count = max(_EVEN, most // _EVEN * _EVEN)
    return count if count < sequence.steps else None


def _joined(
    engine: Engine, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, count: int, progress: StepsDone
) -> Recording | None:
    """None where a stack gives other bits than its layers."""
    joined, part = JoinedPieces(sequence.steps), sequence
    for start in range(0, sequence.steps, count):
        ran = engine.run(spec, parameters, replace(part, x=sequence.x[start : start + count]))
        assert ran.h_n is not None
        if ran.stack_difference:
            return None
        joined.add(start, ran)
        c = None if ran.c_n is None else _on_cache_lines(ran.c_n)
        part = replace(sequence, h0=_on_cache_lines(ran.h_n), c0=c)
        progress(min(count, sequence.steps - start))
    calls = -(-sequence.steps // count)
    said = f"{counted(calls, 'call')} of {counted(count, 'step')}"
    note = f"{engine.name} ran in {said}, with the state carried from call to call"
    return replace(joined.whole(ran), notes=(*ran.notes, note))


@dataclass
class JoinedPieces:
    """The output, and the h and c of each layer, (T, B, ·), put together from the pieces."""

    steps: int
    output: Tensor | None = None
    layers: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    cell_states: dict[tuple[int, str], Tensor] = field(default_factory=dict)

    def add(self, start: int, ran: Recording) -> None:
        assert ran.output is not None
        if self.output is None:
            self.output = self._empty(ran.output)
            for place, h in ran.layers.items():  # the top layer's h is the output; one memory holds both
                self.layers[place] = self.output if place == max(ran.layers) else self._empty(h)
            self.cell_states = {place: self._empty(c) for place, c in ran.cell_states.items()}
        steps = slice(start, start + len(ran.output))
        self.output[steps] = ran.output
        for place, h in ran.layers.items():
            self.layers[place][steps] = h
        for place, c in ran.cell_states.items():
            self.cell_states[place][steps] = c

    def whole(self, last: Recording) -> Recording:
        """What one call would have given; `last` is what the last one gave."""
        return replace(last, output=self.output, layers=self.layers, cell_states=self.cell_states)

    def _empty(self, piece: Tensor) -> Tensor:
        return piece.new_empty(self.steps, *piece.shape[1:])


def _on_cache_lines(state: Tensor) -> Tensor:
    """The same states (L·D, B, ·), each layer's at the beginning of a cache line, as inside of a longer run."""
    layers, *shape = state.shape
    size = state[0].numel()
    itemsize = state.element_size()
    padded = -(-size * itemsize // _ALIGNED) * _ALIGNED // itemsize
    made = torch.empty(layers, padded, dtype=state.dtype)[:, :size].view(layers, *shape)
    return made.copy_(state)


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
            found = f"a split at step {self._split.at} of {counted(sequence.steps, 'step')}"
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
        begun = f"of {counted(self._split.at, 'step')} and then {then}"
        note = f"{self.name} ran in {len(calls):,} calls, {begun}, with the state"
        return replace(
            joined.whole(ran), stack_difference=apart, notes=(*ran.notes, f"{note} carried from call to call")
        )
