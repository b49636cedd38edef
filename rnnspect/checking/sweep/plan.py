"""Which runs a sweep makes: what breaks an implementation that computes many steps at once."""

from __future__ import annotations

from rnnspect.checking.sweep.run import SweepRun
from rnnspect.engines.own.engine import OwnEngine
from rnnspect.network.split import Split
from rnnspect.tracing.prepare import Prepared

CHUNKS = (64, 16)
"""How many steps people compute at once, where nobody says it."""
BATCH = 3
_MORE = 3
"""Steps after the last whole chunk."""
_DECODED = 64
"""The most steps that are run in calls of one step."""


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
        left_out.append("several calls: a direction that starts at the end has no state to carry")
    elif kind == "step":
        left_out.append(f"several calls: {engine.name} is called for every step as it is")
    else:
        runs += [run for chunk in sorted(chunks) for run in _splits(chunk)]
    return list(dict.fromkeys(runs)), tuple(left_out)


def _unequal(chunk: int) -> tuple[int, ...]:
    return 2 * chunk + _MORE, chunk + 1, max(1, chunk - 1)


def _splits(chunk: int) -> list[SweepRun]:
    """A call and a second one of the rest; then a call and the next steps one by one."""
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
