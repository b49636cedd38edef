"""Makes the runs of a sweep, those that break an implementation that computes many steps at once, and judges each as
any check is judged."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from rnnspect.checking.check import CheckTerms, check_prepared
from rnnspect.checking.sweep.result import Sweep, SweepRun, SweptRun
from rnnspect.engines.interface import Engine
from rnnspect.engines.own.engine import OwnEngine
from rnnspect.engines.shared.pieces import SplitEngine
from rnnspect.errors import EngineError, InputError, ResourceError, RnnspectError, Where
from rnnspect.judging.finding import Progress
from rnnspect.judging.verdict import Skipped, Verdict
from rnnspect.network import memory
from rnnspect.network.spec import Spec
from rnnspect.network.split import Split
from rnnspect.tracing.prepare import Prepared, prepare

CHUNKS = (64, 16)
"""How many steps an implementation is assumed to compute at once, where nobody says it."""
BATCH = 3
_MORE = 3
"""How many steps follow the last whole chunk."""
_DECODED = 64
"""At most so many steps are run in calls of one step."""


def lengths_of(chunk: int) -> list[int]:
    """How many steps the sequences have, for an implementation that computes `chunk` steps at once."""
    longest = 2 * chunk + _MORE
    found = {1, 2, chunk - 1, chunk, chunk + 1, 2 * chunk, longest, _prime_above(longest)}
    return sorted(found - {0})


def planned(prepared: Prepared, chunks: tuple[int, ...]) -> tuple[list[SweepRun], tuple[str, ...]]:
    """The runs, the shortest in one call first; and what is left out, with the reason."""
    spec, engine = prepared.spec, prepared.engine
    left_out, kind, takes_lengths = [], "", True
    if isinstance(engine, OwnEngine):
        kind, takes_lengths = engine.kind(spec, prepared.parameters)
    every = sorted({length for chunk in chunks for length in lengths_of(chunk)})
    runs = [SweepRun(steps, *how) for steps in every for how in ((1, False), (1, True), (BATCH, True))]
    if takes_lengths:
        runs += [SweepRun(2 * chunk + _MORE, BATCH, True, _unequal(chunk)) for chunk in sorted(chunks)]
    else:
        left_out.append(f"batches of unequal length: {engine.name} takes no lengths")
    if "reverse" in spec.directions:
        left_out.append("several calls: the reverse direction has no state to carry")
    elif kind == "step":
        left_out.append(f"several calls: {engine.name} is called once per step anyway")
    else:
        runs += [run for chunk in sorted(chunks) for run in _splits(chunk)]
    return list(dict.fromkeys(runs)), tuple(left_out)


def _unequal(chunk: int) -> tuple[int, ...]:
    return 2 * chunk + _MORE, chunk + 1, max(1, chunk - 1)


def _splits(chunk: int) -> list[SweepRun]:
    """Two calls, the second of the remaining steps; then one call, and the next steps one by one."""
    steps = 2 * chunk + _MORE
    points = sorted({1, chunk - 1, chunk, chunk + 1, steps - 1} - {0})
    two = [SweepRun(steps, 1, True, None, Split(at)) for at in points]
    single = [SweepRun(at + min(chunk + _MORE, _DECODED), 1, True, None, Split(at, 1)) for at in (chunk, chunk + 1)]
    return two + single


def _prime_above(number: int) -> int:
    found = number + 1
    while any(found % divisor == 0 for divisor in range(2, int(found**0.5) + 1)):
        found += 1
    return found


_WHY = ("causes", "indistinguishable", "suspects", "recovered", "reason")
"""The fields of a verdict that say why a run differs."""
Begin = Callable[[int], AbstractContextManager[Progress]]
"""From the number of steps that will run, in all layers and directions together, to a context whose progress is told
how it goes on."""


def sweep(
    spec: Spec,
    engine: Engine,
    chunks: tuple[int, ...],
    terms: CheckTerms,
    where: Where | None = None,
    begin: Begin | None = None,
) -> Sweep:
    """Runs the engine at the lengths around `chunks`, with h0 and c0 zeros and drawn, alone and in a batch, and in
    several calls; and looks for the mistake in the first run that differs. x is drawn with the seed of the spec, whose
    own input is not used. `where` is that of `prepare`.

    An engine that fails in some runs is told of these. Raises what it raises where it fails in all of them.
    """
    maker = _Runs(spec, engine, where)
    runs, left_out = planned(maker.prepared(SweepRun(1)), chunks)
    found, failed = [], []
    with (begin or (lambda _steps: nullcontext(terms.progress)))(sum(run.steps for run in runs)) as progress:
        for run in runs:
            try:
                found.append(SweptRun(run, maker.verdict(run, replace(terms, progress=progress), why=False)))
            except ResourceError:
                raise
            except RnnspectError as error:
                failed.append(error)
                said = "; ".join(map(str, error.problems))
                found.append(SweptRun(run, Skipped(said) if isinstance(error, EngineError) else said))
        if len(failed) == len(runs):
            raise failed[0]
        made = Sweep(engine.name, spec, chunks, tuple(found), left_out)
        return _explained(made, maker, replace(terms, progress=progress))


def _explained(made: Sweep, maker: _Runs, terms: CheckTerms) -> Sweep:
    """The sweep with the reason why the first run differs. It is looked for in the longest run like it, since a short
    run may look like several mistakes. If a layer was not observed and that run has no cause, it is looked for in the
    first run itself."""
    first = made.first
    if first is None or first.verdict is None:
        return made
    longest = _longest_like(first, made)
    seen = maker.verdict(longest, terms)
    causes = [cause for cause in seen.causes if not cause.left]
    if longest != first.run and not causes and seen.estimated:
        longest, seen = first.run, maker.verdict(first.run, terms)
    if seen.verdict != "differ":  # it gives other numbers each time; what was found stands
        return made
    if longest != first.run:
        note = f"the cause was looked for in the run of {longest}, which shows more than a short one"
        said = {name: getattr(seen, name) for name in _WHY}
        seen = replace(first.verdict, **said, notes=(*seen.notes, note))
    return replace(made, runs=tuple(replace(one, found=seen) if one is first else one for one in made.runs))


def _longest_like(first: SweptRun, made: Sweep) -> SweepRun:
    """The longest run of one item that differs as the first one does, in one call or in several; a drawn state is
    preferred to zeros."""
    alike = [
        one.run
        for one in made.runs
        if one.answer == "differ" and one.run.batch == 1 and (one.run.split is None) == (first.run.split is None)
    ]
    return max([first.run, *alike], key=lambda run: (run.steps, run.drawn))


@dataclass(frozen=True)
class _Runs:
    """Makes runs of one network with one engine."""

    spec: Spec
    engine: Engine
    where: Where | None

    def prepared(self, run: SweepRun) -> Prepared:
        spec = self.spec.with_changes(**run.keys(self.spec))
        made = prepare(spec, where=self.where, require_memory=memory.check_run_needs)
        return replace(made, engine=self.engine if run.split is None else SplitEngine(self.engine, run.split))

    def verdict(self, run: SweepRun, terms: CheckTerms, why: bool = True) -> Verdict:
        """The verdict on a run. `why` is that of `judge_recording`. The advice after the first semicolon of a reason is
        left out: it is about choosing the input, which the sweep draws."""
        found = check_prepared(self.prepared(run), terms, why=why)
        if found.verdict != "cannot tell" or found.reason is None:
            return found
        return replace(found, reason=found.reason.partition("; ")[0])


def chunks_of(text: str, where: str) -> tuple[int, ...]:
    """64, or 64,16. Raises `InputError` for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(re.fullmatch("[1-9][0-9]{0,8}", word) for word in words):
        raise InputError(f"cannot read {text!r}", allowed="whole numbers of steps: 64, or 64,16", where=where)
    return tuple(dict.fromkeys(map(int, words)))
