"""Identities of somebody's own code that is run again: a second time, beside another item, in two chunks, and without a
state. They demand the same bits wherever the same shapes run; where other kernels may run, each run is compared with
the equations by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from rnnspect.engines.interface import Engine, Theirs
from rnnspect.engines.own.loading import their_errors
from rnnspect.errors import RnnspectError
from rnnspect.judging.case import Case
from rnnspect.judging.declared import Declared
from rnnspect.judging.observation import observed_by, observed_whole
from rnnspect.judging.stack import judge_stack
from rnnspect.judging.verdict import Identity
from rnnspect.judging.words import verdict_of
from rnnspect.network.device import plain_defaults
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.tensors import differences
from rnnspect.tracing.prepare import Prepared

STEPS, ITEMS = 64, 2
"""At most so many steps and items of a run are run again."""

_FEW = 4
"""Roundings of the largest number by which other items may be off where one item is changed: a function of a whole
vector of numbers may round the others in another way. An item that another one reaches is further off."""

TWICE, NEIGHBOURS, CHUNKS, NO_STATE = "two evaluations", "neighbours", "chunks", "None and zeros"
USUAL = {
    TWICE: "dropout that eval() does not turn off, such as F.dropout without training=self.training, or a state kept "
    "between calls",
    NEIGHBOURS: "batch and time swapped (batch_first), a view instead of a transpose, or a norm over the batch",
    CHUNKS: "the run does not start from the given state, or does not return the state that it ended with",
    NO_STATE: "an initial state other than zeros when none is given, or one kept from the previous call",
}


class _FailedError(Exception):
    """When an engine that was run again failed, and how, in words."""


def identities_of(prepared: Prepared, declared: Declared, ran: Recording | None = None) -> tuple[Identity, ...]:
    """The identities that can be tried with the prepared engine, on the first steps and items of its sequence. `ran` is
    what it gave for the whole sequence, if that is known. If two evaluations differ, the others would say nothing and
    are not tried. Chunks are not tried for a run in reverse, nor neighbours for a batch of one. Where the code raises,
    the identity fails with what it raised."""
    short = shortened(prepared.sequence)
    asked = _Reruns(prepared, declared, short, ran if short is prepared.sequence else None)
    identities = {TWICE: asked.twice, NEIGHBOURS: asked.neighbours, CHUNKS: asked.chunks, NO_STATE: asked.no_state}
    found: list[Identity] = []
    for name, ask in identities.items():
        try:
            one = ask()
        except _FailedError as error:
            one = Identity(name, False, str(error), USUAL[name])
        if one is not None:
            found.append(one)
        if not found[0].holds:
            break
    return tuple(found)


def with_another_item(x: Tensor, axis: int) -> Tensor:
    """x with another item 0 along the batch axis, in which every number has changed: −x, or 1 where that is 0."""
    item = x.narrow(axis, 0, 1)
    return torch.cat([torch.where(item == 0, 1, -item), x.narrow(axis, 1, x.shape[axis] - 1)], axis)


@dataclass(frozen=True)
class _Reruns:
    """An engine that is run again. Each identity is about the sequence `short`; None where it cannot be tried. `ran` is
    what the engine gave for it, if that is known."""

    prepared: Prepared
    declared: Declared
    short: Sequence
    ran: Recording | None

    @cached_property
    def first(self) -> Recording:
        """What the engine gave for `short` when it was first run."""
        return self.ran or self.run(self.short, f"run again on {extent(self.short)},")

    def twice(self) -> Identity:
        return self._compared(TWICE, self.short, "the second time", "")

    def neighbours(self) -> Identity | None:
        """Item 0 is replaced by another one of the same shape; the other items have to stay the same."""
        if self.short.batch < ITEMS:
            return None
        changed = replace(self.short, x=with_another_item(self.short.x, 1))
        return self._compared(
            NEIGHBOURS, changed, "with batch item 0 changed", "batch item 1 with item 0 changed, ", left_out=1
        )

    def chunks(self) -> Identity | None:
        short = self.short
        steps = min(short.lengths or (short.steps,))
        if "reverse" in self.prepared.spec.directions or steps == 1:
            return None
        whole = short if steps == short.steps else replace(short, x=short.x[:steps], lengths=None)
        ran = self.first if whole is short else self.run(whole, f"on its first {steps} steps")
        half = steps // 2
        head = replace(whole, x=whole.x[:half], lengths=None)
        begun = self.run(head, f"on its first {half} steps")
        assert begun.h_n is not None
        tail = replace(whole, x=whole.x[half:], h0=begun.h_n, c0=begun.c_n, lengths=None)
        ended = self.run(tail, f"from step {half} on, with the state carried over,")
        assert begun.output is not None
        assert ended.output is not None
        apart = _apart(ran, replace(ended, output=torch.cat([begun.output, ended.output])))
        if apart and not self._agrees(whole, ran):
            return None  # nothing to hold the chunks to: other kernels may run in them
        scope = f"steps 0–{half - 1}, then {half}–{steps - 1} with the state carried over, compared with one run"
        return self._judged(CHUNKS, apart, [(head, begun), (tail, ended)], scope)

    def no_state(self) -> Identity | None:
        assert isinstance(self.prepared.engine, Theirs)
        stateless = self.prepared.engine.without_state()
        if stateless is None or any(bool(state.any()) for state in self.short.state):
            return None
        return self._compared(NO_STATE, self.short, "without a state", "no state compared with zeros, ", stateless)

    def _compared(
        self, name: str, sequence: Sequence, when: str, what: str, engine: Engine | None = None, left_out: int = 0
    ) -> Identity:
        """Compares the first run of `short` with another one, made by `run`; the first `left_out` items are not
        compared."""
        first, second = self.first, self.run(sequence, when, engine)
        runs = [(self.short, first), (sequence, second)]
        return self._judged(name, _apart(first, second, left_out), runs, what + extent(self.short))

    def run(self, sequence: Sequence, when: str, engine: Engine | None = None) -> Recording:
        """What the engine gives. Raises `_FailedError`, which begins with `when`, for whatever it raises."""
        try:
            with their_errors("it"):
                return (self.prepared.engine if engine is None else engine).run(
                    self.prepared.spec, self.prepared.parameters, sequence
                )
        except RnnspectError as error:
            raise _FailedError(f"{when} {'; '.join(map(str, error.problems))}") from None

    def _judged(self, name: str, apart: _Apart | None, runs: list[tuple[Sequence, Recording]], scope: str) -> Identity:
        if apart is None:
            return Identity(name, True, f"bit for bit the same: {scope}")
        if (name == NEIGHBOURS and apart.relative <= _FEW * self._u) or all(self._agrees(*one) for one in runs):
            return Identity(name, True, f"{apart}, within rounding error: {scope}")
        return Identity(name, False, f"{apart}: {scope}", USUAL[name])

    @property
    def _u(self) -> float:
        """The rounding of a stored number in the coarsest arithmetic that the engine may use."""
        return self.declared.coarsest.roundoff.stored

    def _agrees(self, sequence: Sequence, ran: Recording) -> bool:
        """Whether nothing contradicts a run in the coarsest arithmetic that the engine may use."""
        spec = self.prepared.spec
        declared = self.declared.for_cell(spec.cell_type, ran.engine.one_by_one).coarsest
        seen = observed_by(ran) if ran.stack_difference == 0 else observed_whole(ran, spec)
        case = Case(spec, self.prepared.parameters, sequence, seen, declared).on_cpu()
        with plain_defaults():
            return verdict_of(case, judge_stack(case, meanings=False)).verdict != "differ"


def shortened(sequence: Sequence) -> Sequence:
    """The first steps of the first items; itself, where there are no more."""
    lengths = sequence.lengths and sequence.lengths[:ITEMS]
    steps = min(STEPS, max(lengths or (sequence.steps,)))
    if (steps, min(ITEMS, sequence.batch)) == (sequence.steps, sequence.batch):
        return sequence
    return sequence.first(steps, ITEMS)


def extent(short: Sequence) -> str:
    steps = f"{short.steps} step" + ("s" if short.steps > 1 else "")
    return steps if short.batch == 1 else f"{steps} of {short.batch} sequences"


@dataclass(frozen=True)
class _Apart:
    """Where two runs differ, in words, and by how much relative to the largest number of both."""

    said: str
    relative: float

    def __str__(self) -> str:
        return self.said


def _apart(first: Recording, second: Recording, left_out: int = 0) -> _Apart | None:
    """Where the first bits differ, and by how much at most; None where none do. NaN equals NaN. The first `left_out`
    items of the batch are not compared."""
    for name in ("output", "h_n", "c_n"):
        a, b = getattr(first, name), getattr(second, name)
        if a is None:
            continue
        apart = differences(a[:, left_out:], b[:, left_out:])
        if bool(apart.any()):
            row, item, _ = apart.nonzero()[0].tolist()
            step, most = f"step {row}, " if name == "output" else "", float(apart.abs().max())
            size = max(float(one[:, left_out:].abs().max()) for one in (a, b))
            return _Apart(
                f"{name} differs by up to {most:.2g}, first at {step}batch item {item + left_out}", most / size
            )
    return None
