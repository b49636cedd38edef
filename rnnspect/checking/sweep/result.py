"""The result of a sweep: each run with its verdict, the first run that differs, and what those that differ have in
common."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from rnnspect.judging.verdict import EXIT_STATUS, Point, Skipped, Verdict
from rnnspect.network.shown import Shown, counted, in_brief
from rnnspect.network.spec import Spec
from rnnspect.network.split import Split


@dataclass(frozen=True)
class SweepRun:
    """One run: its input, and the calls in which it is made. Without `split` it is one call."""

    steps: int
    batch: int = 1
    drawn: bool = False
    """Whether h0 and c0 are drawn; else they are zeros."""
    lengths: tuple[int, ...] | None = None
    split: Split | None = None

    def keys(self, spec: Spec) -> dict[str, Any]:
        """The keys of a spec that make this run, in addition to those of `spec`."""
        batch = self.batch if self.batch > 1 or spec.batch else None
        states = {"h0": spec.h0} | ({"c0": spec.c0} if spec.cell_type.has_cell_state else {})
        begun = {name: "randn" if self.drawn else "zeros" if own else None for name, own in states.items()}
        lengths = None if self.lengths is None else list(self.lengths)
        return {"input": f"randn:{self.steps}", "batch": batch, **begun, "lengths": lengths}

    def options(self, spec: Spec) -> list[str]:
        """The same as options of `check`."""
        said = {name: value for name, value in self.keys(spec).items() if value is not None}
        if self.lengths is not None:
            said["lengths"] = ",".join(map(str, self.lengths))
        if self.split is not None:
            said["split"] = self.split
        return [word for name, value in said.items() for word in (f"--{name}", str(value))]

    @property
    def calls(self) -> str:
        """One call, or the steps of the first and of those after it: 64 + 67; 64 + 67 × 1."""
        if self.split is None:
            return "one"
        rest = self.steps - self.split.at
        each = self.split.each
        return f"{self.split.at} + {rest}" if each is None else f"{self.split.at} + {-(-rest // each)} × {each}"

    def __str__(self) -> str:
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        lengths = f" of {', '.join(map(str, self.lengths))} steps" if self.lengths else ""
        state = "a random initial state" if self.drawn else "an initial state of zeros"
        calls = "" if self.split is None else f", in calls of {self.calls}"
        return f"{steps}, batch {self.batch}{lengths}, {state}{calls}"


@dataclass(frozen=True)
class SweptRun:
    """One run with its verdict, or with a text that says why there is none: the engine failed."""

    run: SweepRun
    found: Verdict | Skipped | str

    @property
    def answer(self) -> Literal["agree", "differ", "cannot tell", "error", "skipped"]:
        if isinstance(self.found, Verdict):
            return self.found.verdict
        return "skipped" if isinstance(self.found, Skipped) else "error"

    @property
    def verdict(self) -> Verdict | None:
        return self.found if isinstance(self.found, Verdict) else None


@dataclass(frozen=True)
class Sweep(Shown):
    """Many runs of one implementation. In an `if` or an `assert` it is true if no run differs or fails, and each length
    and split agrees in at least one run."""

    engine: str
    spec: Spec
    chunks: tuple[int, ...]
    """How many steps the implementation is taken to compute at once; the lengths and splits lie around them."""
    runs: tuple[SweptRun, ...]
    """The shortest first; those in several calls come last."""
    left_out: tuple[str, ...]
    """What was not run, and why."""

    @property
    def verdict(self) -> Literal["agree", "differ", "cannot tell", "error"]:
        answers = {one.answer for one in self.runs}
        if "differ" in answers:
            return "differ"
        return "error" if "error" in answers else "cannot tell" if self.untold or "agree" not in answers else "agree"

    @property
    def untold(self) -> tuple[SweptRun, ...]:
        """Runs that cannot tell, of lengths and splits of which no run agrees: short ones may leave a gate unseen."""
        told = {_alike(one.run) for one in self.runs if one.answer == "agree"}
        return tuple(one for one in self.runs if one.answer == "cannot tell" and _alike(one.run) not in told)

    @property
    def first(self) -> SweptRun | None:
        """The first run that differs, with its causes; else the first that failed. None where there is none."""
        return self._first("differ") or self._first("error")

    def _first(self, answer: str) -> SweptRun | None:
        return next((one for one in self.runs if one.answer == answer), None)

    @property
    def agrees(self) -> bool:
        return self.verdict == "agree"

    def __bool__(self) -> bool:
        return self.agrees

    @property
    def exit_status(self) -> int:
        found = self.verdict
        return 2 if found == "error" else EXIT_STATUS[found]

    def __repr__(self) -> str:
        said = f"{self.verdict}: {self.engine}, {counted(len(self.runs), 'run')}"
        return in_brief(self, said if self.first is None else f"{said}; first {self.first.run}")

    @property
    def common(self) -> str:
        """What the runs that differ or fail have in common, in words; empty where none does."""
        wrong = [one.run for one in self.runs if one.answer in ("differ", "error")]
        right = [one.run for one in self.runs if one.answer in ("agree", "cannot tell")]
        if not wrong:
            return ""
        if not right:
            return "every run"
        return next((said for said, is_so in _features(self.chunks, wrong) if _tells(is_so, wrong, right)), "")

    @property
    def edge(self) -> str:
        """Where the first wrong step lies in its chunk, in words; empty where that is not known."""
        first = self._first("differ")
        if first is None or first.verdict is None or first.verdict.first is None:
            return ""
        return _edge(first.run, first.verdict.first, self.chunks, self.common)


Feature = Callable[[SweepRun], bool]

_PLAIN: tuple[tuple[str, Feature], ...] = (
    ("runs with a random initial state", lambda run: run.drawn),
    ("runs in several calls", lambda run: run.split is not None),
    ("runs that end in calls of one step", lambda run: run.split is not None and run.split.each == 1),
    ("batches of more than one", lambda run: run.batch > 1),
    ("batches of unequal length", lambda run: run.lengths is not None),
    ("runs of more than one step", lambda run: run.steps > 1),
    ("runs of one step", lambda run: run.steps == 1),
)
_OF_A_CHUNK: tuple[tuple[str, Callable[[int, SweepRun], bool]], ...] = (
    ("calls of more than {} steps", lambda chunk, run: _longest(run) > chunk),
    ("calls of {} steps and more", lambda chunk, run: _longest(run) >= chunk),
    ("sequences of more than {} steps", lambda chunk, run: run.steps > chunk),
    ("calls whose steps are not a multiple of {}", lambda chunk, run: any(steps % chunk for steps in _calls(run))),
)


def _alike(run: SweepRun) -> object:
    return run.steps, run.split, run.lengths is None


def _tells(is_so: Feature, wrong: list[SweepRun], right: list[SweepRun]) -> bool:
    return all(map(is_so, wrong)) and not any(map(is_so, right))


def _features(chunks: tuple[int, ...], wrong: list[SweepRun]) -> Iterator[tuple[str, Feature]]:
    """Features that a run may have, in words, and whether it has them. The plain ones come first, then each together
    with a drawn state."""
    least = min(_longest(run) for run in wrong)
    plain = list(_PLAIN)
    for chunk in sorted(chunks, reverse=True):
        plain += [(said.format(chunk), functools.partial(is_so, chunk)) for said, is_so in _OF_A_CHUNK]
    plain.append((f"calls of {counted(least, 'step')} and more", lambda run: _longest(run) >= least))
    yield from plain
    for said, one in plain[1:]:
        yield f"{said}, with a random initial state", functools.partial(_and_drawn, one)


def _and_drawn(is_so: Feature, run: SweepRun) -> bool:
    return run.drawn and is_so(run)


def _calls(run: SweepRun) -> list[int]:
    """The steps of each call."""
    return [run.steps] if run.split is None else [stop - start for start, stop in run.split.calls(run.steps)]


def _longest(run: SweepRun) -> int:
    return max(_calls(run))


def _edge(run: SweepRun, first: Point, chunks: tuple[int, ...], common: str) -> str:
    """Where the step lies in its call, in words."""
    named = {int(number) for number in re.findall(r"\d+", common)}
    if first.step < 0:
        short = [chunk for chunk in chunks if chunk in named and "multiple of" in common and run.steps % chunk]
        if not short:
            return ""
        begun = run.steps // short[0] * short[0]
        return f"the last chunk of {short[0]} is short: {_steps(begun, run.steps)}"
    start, stop = (0, run.steps) if run.split is None else _call_of(run, first.step)
    at = first.step - start
    if run.split is not None and at == 0 and start:
        return f"step {first.step} is the first of a later call: the state that was carried there goes in"
    for chunk in sorted(chunks, key=lambda one: (one not in named, -one)):
        if at and at % chunk == 0:
            return f"step {first.step} is the first of a chunk of {chunk}"
    for chunk in sorted(chunks, reverse=True):
        begun = (stop - start) // chunk * chunk
        if at > begun > 0:
            return f"step {first.step} is in the last, short chunk of {chunk}: {_steps(start + begun, stop)}"
    return ""


def _steps(start: int, stop: int) -> str:
    return f"steps {start} to {stop - 1}" if stop - start > 1 else f"step {start} alone"


def _call_of(run: SweepRun, step: int) -> tuple[int, int]:
    assert run.split is not None
    return next((start, stop) for start, stop in run.split.calls(run.steps) if start <= step < stop)
