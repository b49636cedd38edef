"""A sweep as text and JSON: the answer, the first run that differs, and a row for each run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rnnspect.checking.sweep.result import Sweep, SweepRun, SweptRun
from rnnspect.errors import clipped, listed
from rnnspect.judging.verdict import Skipped, Verdict
from rnnspect.network.parameters import recurrent_repr
from rnnspect.network.places import unit_in_words
from rnnspect.network.shown import counted
from rnnspect.views import check, checks, documents, text
from rnnspect.views.rendering import engine_line, table

_SHARE = len("38,478,189 ×")
_MOST = 120
"""Characters of a row that say what is wrong."""
_LISTED = 3
"""Lengths and splits that are named where no run of them can tell."""


def parts(sweep: Sweep, then: str = "") -> Iterator[RenderableType]:
    """The answer, then a row for each run. `then` is the command that repeats the first run that differs."""
    yield check.heading(sweep.verdict, _sentence(sweep))
    first = sweep.first
    if first is not None:
        yield check.row("First", _capital(str(first.run)))
        yield from _of_first(sweep, first, then)
    else:
        yield check.row("Network", recurrent_repr(sweep.spec))
        judged = next(one.verdict for one in sweep.runs if one.verdict is not None)
        yield check.row("Engine", engine_line(judged.engine))
        yield from (check.row("" if at else "Why", said) for at, said in enumerate(_why(sweep)))
    yield check.row("Runs", _runs(sweep))
    for at, why in enumerate(sweep.left_out):
        yield check.row("" if at else "Left out", text.printable(why))
    yield _rows(sweep)
    yield from (check.row("" if at else "Unseen", said) for at, said in enumerate(_unseen(sweep)))


def lines(sweep: Sweep) -> Iterator[str]:
    """The answer as plain text, beside a file that has the rest."""
    first = f"; first {sweep.first.run}: {_wrong(sweep.first)}" if sweep.first else ""
    yield f"{sweep.verdict}: {_sentence(sweep)}{first}"


def _of_first(sweep: Sweep, first: SweptRun, then: str) -> Iterator[RenderableType]:
    verdict = first.verdict
    if verdict is None:
        yield check.row("", text.printable(str(first.found)))
        yield from _common(sweep)
        yield from [check.row("Next", then)] if then else []
        return
    for at, one in enumerate(itertools.islice(check.first_lines(verdict), 1, None)):
        yield check.row("", check.where_and_what(verdict.first, verdict)) if at == 0 and verdict.first else one
    if edge := sweep.edge:
        yield check.row("", edge)
    yield from _common(sweep)
    yield from check.other_lines(verdict, "", then, verbose=None)


def _common(sweep: Sweep) -> Iterator[RenderableType]:
    if sweep.common:
        said = sweep.common if sweep.common == "every run" else f"all {sweep.common}, and only these"
        yield check.row("Wrong in", said)


def _sentence(sweep: Sweep) -> str:
    who, cell = text.printable(sweep.engine), sweep.spec.cell_type.title
    count = {answer: sum(one.answer == answer for one in sweep.runs) for answer in check.STYLE}
    every = counted(len(sweep.runs), "run")
    if sweep.verdict == "differ":
        return f"{who} does not match this {cell} in {count['differ']} of {every}"
    if sweep.verdict == "error":
        return f"{who} cannot be run in {count['error']} of {every}"
    told = {"cannot tell": "cannot tell", "skipped": "left out"}
    others = ", ".join(f"{count[answer]} {said}" for answer, said in told.items() if count[answer])
    if sweep.verdict == "cannot tell":
        return f"whether {who} matches this {cell} in every run ({others} of {every})"
    others += "; a run of each length and split agrees" if count["cannot tell"] else ""
    return f"{who} matches this {cell} in " + (f"{count['agree']} of {every} ({others})" if others else f"all {every}")


def _why(sweep: Sweep) -> Iterator[str]:
    """Why a sweep without a wrong run cannot tell: where the line is, and what would tell."""
    without = dict.fromkeys(_length_and_split(one.run) for one in sweep.untold)
    if not without:
        return
    missing = listed(without, most=_LISTED)
    yield f"no run of {missing} can tell; to agree, each length and split needs a run that agrees"
    wider = {"float32": "--dtype float64 shows smaller errors, and ", "float64": ""}
    shows = wider.get(sweep.spec.dtype, "--dtype float32 shows smaller errors, and ")
    yield f"{shows}another --seed makes other runs"


def _length_and_split(run: SweepRun) -> str:
    """1 step; 35 steps in calls of 16 + 19; unequal lengths of up to 35 steps."""
    steps = counted(run.steps, "step")
    if run.lengths is not None:
        return f"unequal lengths of up to {steps}"
    return steps if run.split is None else f"{steps} in calls of {run.calls}"


def _unseen(sweep: Sweep) -> Iterator[str]:
    """Why runs cannot tell, each reason once, and how many runs of which lengths it is of."""
    steps = dict[str, list[int]]()
    for one in sweep.runs:
        if one.answer == "cannot tell":
            steps.setdefault(_wrong(one), []).append(one.run.steps)
    for why, each in steps.items():
        lengths = sorted(set(each))
        of = f"{listed(map(str, lengths))} step{'' if lengths == [1] else 's'}"
        yield f"in {counted(len(each), 'run')} of {of}: {why}"


def _runs(sweep: Sweep) -> str:
    """For chunks of 64 and 16 steps: lengths 1, 2, …; splits at …; seed 1."""
    lengths = sorted({one.run.steps for one in sweep.runs if one.run.split is None})
    splits = sorted(
        {str(one.run.split) for one in sweep.runs if one.run.split}, key=lambda one: [*map(int, one.split(":"))]
    )
    steps = "step" if set(sweep.chunks) == {1} else "steps"
    said = f"for chunks of {listed(map(str, sweep.chunks))} {steps}, seed {sweep.spec.seed}: sequences of "
    said += listed(map(str, lengths))
    return said + (f"; in several calls, split at {listed(splits)}" if splits else "")


def _rows(sweep: Sweep) -> Table:
    states = "h0, c0" if sweep.spec.cell_type.has_cell_state else "h0"
    made = table(">steps", ">batch", states, "calls", "answer", ">of limit", "first wrong value")
    made.columns[-2].min_width = _SHARE
    made.columns[-1].no_wrap, made.columns[-1].overflow = False, "fold"
    for one in sweep.runs:
        run = one.run
        steps = ",".join(map(str, run.lengths)) if run.lengths else str(run.steps)
        state, answer = "random" if run.drawn else "zeros", Text(one.answer, check.STYLE[one.answer])
        made.add_row(steps, str(run.batch), state, run.calls, answer, _share(one.verdict), _in_short(one))
    return made


def _in_short(one: SweptRun) -> str:
    """Without the place in a file: the first such run is told in full. Why a run cannot tell stands below the table."""
    if one.answer == "cannot tell":
        return ""
    return clipped(_wrong(one).rpartition("failed with ")[2], _MOST)


def _share(verdict: Verdict | None) -> str:
    """The largest error, as a share of what is allowed."""
    point = None if verdict is None else verdict.first or verdict.worst
    if point is None:
        return ""
    return text.times(point.ratio) if point.ratio > 1 else text.percent_of(point.ratio)


def _wrong(one: SweptRun) -> str:
    if not isinstance(one.found, Verdict):
        return text.printable(one.found.reason if isinstance(one.found, Skipped) else one.found)
    verdict = one.found
    if verdict.first is not None:
        return _short(verdict)
    return text.printable(verdict.reason or "") if verdict.verdict != "agree" else ""


def _short(verdict: Verdict) -> str:
    """h: step 64, unit 0; of a stack with its layer. Batch item 0 is not named."""
    point = verdict.first
    assert point is not None
    where = [f"layer {point.layer}"] if verdict.spec.num_layers > 1 else []
    where += [point.direction] if verdict.spec.bidirectional else []
    where += [f"step {point.step}"] if point.step >= 0 else []
    where += [f"batch item {point.batch}"] if point.batch else []
    unit = unit_in_words(verdict.spec, point.quantity, point.unit)
    return f"{point.named}: {', '.join([*where, unit])}"


def _capital(said: str) -> str:
    return said[:1].upper() + said[1:]


def document(sweep: Sweep, source: str | None = None, then: str = "") -> dict[str, Any]:
    """Every run with its verdict; of the first that differs all that its check says."""
    first = sweep.first
    verdict = None if first is None else first.verdict
    checked = None if verdict is None else documents.check_document(verdict)
    return {
        "format": "rnnspect.sweep",
        "version": 1,
        "source": source,
        "engine": sweep.engine,
        "verdict": sweep.verdict,
        "chunks": sweep.chunks,
        "common": sweep.common,
        "edge": sweep.edge,
        "next": then,
        "first": first and _run_document(first) | {"check": checked},
        "runs": [_run_document(one) for one in sweep.runs],
        "left_out": sweep.left_out,
        "spec": documents.spec_document(sweep.spec),
    }


def _run_document(one: SweptRun) -> dict[str, Any]:
    verdict, run = one.verdict, one.run
    split = run.split and {"at": run.split.at, "each": run.split.each}
    point = None if verdict is None else verdict.first
    worst = None if verdict is None else verdict.worst
    return {
        "steps": run.steps,
        "batch": run.batch,
        "lengths": run.lengths,
        "state": "drawn" if run.drawn else "zeros",
        "split": split,
        "verdict": one.answer,
        "reason": _wrong(one) if verdict is None else verdict.reason,
        "worst_ratio": worst and worst.ratio,
        "first": point and {"address": point.address, "step": point.step, "batch": point.batch, "unit": point.unit},
    }


def as_junit(sweep: Sweep) -> str:
    """A test case for each run. One that cannot tell is skipped where another run of its length tells."""

    def found(one: SweptRun) -> Verdict | Skipped | str:
        short = one.answer == "cannot tell" and one not in sweep.untold
        return Skipped(f"cannot tell: {_wrong(one)}") if short else one.found

    return checks.as_junit([(str(one.run), found(one)) for one in sweep.runs])
