"""Makes the runs of a sweep and judges each as any check is judged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from rnnspect.checking.check import CheckTerms, check_prepared
from rnnspect.checking.sweep.plan import CHUNKS, planned
from rnnspect.checking.sweep.result import Sweep, SweptRun
from rnnspect.checking.sweep.run import SweepRun
from rnnspect.engines.interface import Engine
from rnnspect.engines.shared.pieces import SplitEngine
from rnnspect.errors import EngineError, InputError, ResourceError, RnnspectError, Where
from rnnspect.judging.finding import Progress
from rnnspect.judging.verdict import Skipped, Verdict
from rnnspect.network import memory
from rnnspect.network.spec import Spec
from rnnspect.tracing.prepare import Prepared, prepare

_WHY = ("causes", "indistinguishable", "suspects", "recovered", "reason")
"""What a verdict says of why a run differs."""
Begin = Callable[[int], AbstractContextManager[Progress]]
"""Is told how many steps will run, in all layers and directions together; who is told how it goes."""


def sweep(
    spec: Spec,
    engine: Engine,
    chunks: tuple[int, ...] = CHUNKS,
    terms: CheckTerms | None = None,
    where: Where | None = None,
    begin: Begin | None = None,
) -> Sweep:
    """Runs the engine at the lengths around `chunks`, with h0 and c0 zeros and drawn, alone and in a batch, and in
    several calls; and looks for the mistake in the first run that differs. x is drawn with the seed of the spec, whose
    own input is not used. `where` is that of `prepare`.

    An engine that fails in some runs is told of these. Raises what it raises where it fails in all of them.
    """
    terms = terms or CheckTerms()
    maker = _Runs(spec, engine, where)
    runs, left_out = planned(maker.prepared(SweepRun(1)), chunks)
    found, failed = [], []
    with (begin or _silently(terms.progress))(sum(run.steps for run in runs)) as progress:
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
    """With why the first run differs: what the longest one like it says, for a short run may look like several
    mistakes. Where a layer was not observed and that one has no cause, the first run is asked itself."""
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
        note = f"the cause was looked for in the run of {longest}, which tells more than a short one"
        said = {
            name: getattr(seen, name) for name in ("causes", "indistinguishable", "suspects", "recovered", "reason")
        }
        seen = replace(first.verdict, **said, notes=(*seen.notes, note))
    return replace(made, runs=tuple(replace(one, found=seen) if one is first else one for one in made.runs))


def _longest_like(first: SweptRun, made: Sweep) -> SweepRun:
    """Of the runs that differ as the first does, in one call or in several, the longest of one item; a drawn state
    before zeros."""
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
        """`why` is that of `judge_recording`."""
        return check_prepared(self.prepared(run), terms.declared, terms.progress, terms.explain, why=why)


def _silently(progress: Progress) -> Begin:
    @contextmanager
    def begin(_steps: int) -> Iterator[Progress]:
        yield progress

    return begin


def chunks_of(text: str, where: str) -> tuple[int, ...]:
    """64, or 64,16. Raises `InputError` for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise InputError(f"cannot read {text!r}", allowed="whole numbers of steps: 64, or 64,16", where=where)
    return tuple(dict.fromkeys(map(int, words)))
