"""Identities of somebody's own code that is run again: once more, beside another neighbour, in two chunks, and without
a state. They ask for the same bits wherever the same shapes run; where other kernels may, each run is held to the
equations by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

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

Numbers = dict[str, Tensor]
"""output (T, B, D·P), h_n (L·D, B, P) and c_n (L·D, B, H) by name."""

STEPS, ITEMS = 64, 2
"""How much of a run is run again at most."""

TWICE, NEIGHBOURS, CHUNKS, NO_STATE = "two evaluations", "neighbours", "chunks", "None and zeros"
USUAL = {
    TWICE: "dropout that eval() does not turn off, such as F.dropout without training=self.training, or a state kept "
    "between calls",
    NEIGHBOURS: "batch and time exchanged (batch_first), a view where a transpose is meant, or a norm over the batch",
    CHUNKS: "the state that is given is not what it begins with, or the one it returns is not the one it ended with",
    NO_STATE: "a first state of something else than zeros where none is given, or one kept from the call before",
}


def identities_of(prepared: Prepared, declared: Declared, ran: Recording | None = None) -> tuple[Identity, ...]:
    """The identities that can be asked of the prepared engine, on the first steps and items of its sequence. `ran` is
    what it gave for the whole sequence, if that is known.

    Where two evaluations differ the others would say nothing and are not asked. Chunks are not asked of a run that
    reads backwards, nor neighbours of a batch of one. Where the code raises, the identity fails with what it raised.
    """
    short = _short(prepared.sequence)
    asked = _Asked(prepared, declared)
    first = ran if ran is not None and short is prepared.sequence else asked.run(short)
    if isinstance(first, str):
        return (Identity(TWICE, False, f"called once more, on {_scope(short)}, {first}", USUAL[TWICE]),)
    twice = asked.twice(short, first)
    if not twice.holds:
        return (twice,)
    others = (asked.neighbours(short, first), asked.chunks(short, first), asked.no_state(short, first))
    return (twice, *(one for one in others if one))


def with_another_item(x: Tensor, axis: int) -> Tensor:
    """x with another item 0 along the batch axis, in which every number has changed: −x, or 1 where that is 0."""
    item = x.narrow(axis, 0, 1)
    return torch.cat([torch.where(item == 0, 1, -item), x.narrow(axis, 1, x.shape[axis] - 1)], axis)


@dataclass(frozen=True)
class _Asked:
    """An engine that is run again. Each identity is asked of `short`, for which it gave `first`; None where it cannot
    be asked."""

    prepared: Prepared
    declared: Declared

    def twice(self, short: Sequence, first: Recording) -> Identity:
        second = self.run(short)
        if isinstance(second, str):
            return Identity(TWICE, False, f"the second time {second}", USUAL[TWICE])
        apart = _apart(_numbers(first), _numbers(second))
        return self._judged(TWICE, apart, [(short, first), (short, second)], _scope(short))

    def neighbours(self, short: Sequence, first: Recording) -> Identity | None:
        """Item 0 becomes another, in the same shapes; the others are looked at."""
        if short.batch < ITEMS:
            return None
        changed = replace(short, x=with_another_item(short.x, 1))
        second = self.run(changed)
        if isinstance(second, str):
            return Identity(NEIGHBOURS, False, f"with another item 0 {second}", USUAL[NEIGHBOURS])
        before, after = ({name: v[:, 1:] for name, v in _numbers(one).items()} for one in (first, second))
        scope = f"item 1 beside another item 0, {_scope(short)}"
        return self._judged(NEIGHBOURS, _apart(before, after, 1), [(short, first), (changed, second)], scope)

    def chunks(self, short: Sequence, first: Recording) -> Identity | None:
        steps = min(short.lengths or (short.steps,))
        if "reverse" in self.prepared.spec.directions or steps == 1:
            return None
        whole = short if steps == short.steps else replace(short, x=short.x[:steps], lengths=None)
        ran = first if whole is short else self.run(whole)
        if isinstance(ran, str):
            return Identity(CHUNKS, False, f"on its first {steps} steps {ran}", USUAL[CHUNKS])
        half = steps // 2
        head = replace(whole, x=whole.x[:half], lengths=None)
        begun = self.run(head)
        if isinstance(begun, str):
            return Identity(CHUNKS, False, f"on its first {half} steps {begun}", USUAL[CHUNKS])
        tail = replace(whole, x=whole.x[half:], h0=begun.h_n, c0=begun.c_n, lengths=None)
        ended = self.run(tail)
        if isinstance(ended, str):
            return Identity(CHUNKS, False, f"from step {half} on, with the state carried, {ended}", USUAL[CHUNKS])
        joined = _numbers(ended) | {"output": torch.cat([begun.output, ended.output])}
        scope = f"steps 0 to {half - 1} and {half} to {steps - 1} with the state carried, against both at once"
        apart = _apart(_numbers(ran), joined)
        if apart and not self._agrees(whole, ran):
            return None  # nothing to hold the chunks to: other kernels may run in them
        return self._judged(CHUNKS, apart, [(head, begun), (tail, ended)], scope)

    def no_state(self, short: Sequence, first: Recording) -> Identity | None:
        assert isinstance(self.prepared.engine, Theirs)
        stateless = self.prepared.engine.without_state()
        if stateless is None or any(bool(state.any()) for state in short.state):
            return None
        second = self.run(short, stateless)
        if isinstance(second, str):
            return Identity(NO_STATE, False, f"without a state {second}", USUAL[NO_STATE])
        apart = _apart(_numbers(first), _numbers(second))
        scope = f"without a state against zeros, {_scope(short)}"
        return self._judged(NO_STATE, apart, [(short, first), (short, second)], scope)

    def run(self, sequence: Sequence, engine: Engine | None = None) -> Recording | str:
        """What the engine gives, or how it failed, in words."""
        try:
            with their_errors("it"):
                try:
                    chosen = engine or self.prepared.engine
                    return chosen.run(self.prepared.spec, self.prepared.parameters, sequence)
                except RnnspectError as error:
                    return _said(error)
        except RnnspectError as error:
            return _said(error)

    def _judged(self, name: str, apart: str | None, runs: list[tuple[Sequence, Recording]], scope: str) -> Identity:
        if apart is None:
            return Identity(name, True, f"the same bits: {scope}")
        if all(self._agrees(*one) for one in runs):
            return Identity(name, True, f"{apart}, and each is what the equations allow: {scope}")
        return Identity(name, False, f"{apart}: {scope}", USUAL[name])

    def _agrees(self, sequence: Sequence, ran: Recording) -> bool:
        """Whether nothing speaks against a run, held to the coarsest arithmetic that the engine may use."""
        spec, declared = self.prepared.spec, self.declared.permitted or self.declared
        seen = observed_by(ran) if ran.stack_difference == 0 else observed_whole(ran, spec)
        case = Case(spec, self.prepared.parameters, sequence, seen, declared).on_cpu()
        with plain_defaults():
            return verdict_of(case, judge_stack(case)).verdict != "differ"


def _short(sequence: Sequence) -> Sequence:
    """The first steps of the first items; itself, where there are no more."""
    lengths = sequence.lengths and sequence.lengths[:ITEMS]
    steps = min(STEPS, max(lengths or (sequence.steps,)))
    if (steps, min(ITEMS, sequence.batch)) == (sequence.steps, sequence.batch):
        return sequence
    return sequence.first(steps, ITEMS)


def _scope(short: Sequence) -> str:
    steps = f"{short.steps} step" + ("s" if short.steps > 1 else "")
    return steps if short.batch == 1 else f"{steps} of {short.batch} items"


def _numbers(ran: Recording) -> Numbers:
    return {"output": ran.output, "h_n": ran.h_n} | ({} if ran.c_n is None else {"c_n": ran.c_n})


def _apart(first: Numbers, second: Numbers, items_before: int = 0) -> str | None:
    """Where the first bits differ, and by how much at most; None where none do. NaN is itself."""
    for name, a in first.items():
        apart = differences(a, second[name])
        if bool(apart.any()):
            most = float(apart.abs().max())
            row, item, _ = apart.nonzero()[0].tolist()
            step = f"step {row}, " if name == "output" else ""
            return f"{name} differs by up to {most:.2g}, first at {step}batch {item + items_before}"
    return None


def _said(error: RnnspectError) -> str:
    return "; ".join(map(str, error.problems))
