"""A verdict as text: whole for one, a line each for several."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from rnnspect.errors import listed
from rnnspect.judging.verdict import Skipped, Verdict
from rnnspect.network.parameters import module_repr
from rnnspect.views import text
from rnnspect.views.rendering import engine_lines, rendered, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from rnnspect.judging.verdict import Point
    from rnnspect.views.rendering import Screen

STYLE = {
    "agree": "bold green",
    "differ": "bold red",
    "cannot tell": "bold yellow",
    "error": "bold red",
    "skipped": "dim",
}
_DIGITS = 9


def as_table(verdict: Verdict, screen: Screen, source: str = "") -> str:
    """The whole report on one run; `source` says which, where that is a call inside of something."""
    return rendered(parts(verdict, source), screen)


def as_lines(rows: Sequence[tuple[str, Verdict | Skipped | str]], screen: Screen) -> str:
    """One line a source; a text in the place of a verdict says why there is none."""
    widest = max(len(text.printable(source)) for source, _ in rows)
    return rendered((_line(source, widest, found) for source, found in rows), screen)


def _line(source: str, widest: int, found: Verdict | Skipped | str) -> Text:
    if isinstance(found, str):
        answer, said = "error", text.printable(found)
    elif isinstance(found, Skipped):
        answer, said = "skipped", text.printable(found.reason)
    else:
        answer, said = found.verdict, _said(found)
    line = Text(f"{answer:<{len('cannot tell')}}", STYLE[answer], no_wrap=True, overflow="ignore")
    line.append(f"  {text.printable(source):<{widest}}  {said}", "not bold default")
    if isinstance(found, Verdict):
        for one in found.identities:
            if not one.holds:
                line.append(f"; fails {one.name}: {text.printable(one.evidence)}", "not bold yellow")
    return line


def _said(verdict: Verdict) -> str:
    said = " ".join(filter(None, (verdict.engine.name, verdict.engine.version))) + f", {verdict.arithmetic}: "
    if verdict.first:
        note = f"; {text.printable(verdict.notes[0])}" if verdict.notes else ""
        cause = f"; {' + '.join(why.together) or why.name}" if (why := next(iter(verdict.causes), None)) else ""
        return f"{said}{_ratio(verdict.first.ratio)} its bound at {_place(verdict.first)}{cause}{note}"
    if verdict.verdict == "cannot tell":
        return f"{said}{verdict.reason}"
    coarsest = max((line.coarsest for line in verdict.resolution), default=0.0)
    worst = verdict.worst.ratio if verdict.worst else 0.0
    return f"{said}worst {worst:.3f}, resolution {_shift(coarsest)}"


def summary(verdict: Verdict) -> str:
    """The answer in one sentence."""
    if verdict.verdict == "agree":
        return f"agree: every number is inside what {verdict.arithmetic} allows"
    if verdict.verdict == "differ":
        assert verdict.first is not None
        return f"differ: {_place(verdict.first)}"
    return f"cannot tell: {verdict.reason}"


def numbers_of(verdict: Verdict) -> Iterator[str]:
    """Both numbers where it differs, or where they are nearest to the bound."""
    if verdict.first:
        yield _numbers(verdict.first, verdict.engine.name, verdict.arithmetic)
        yield f"where: {verdict.pattern}"
        if verdict.reason:
            yield verdict.reason
        yield from _causes(verdict)
    elif verdict.worst:
        yield f"nearest to its bound: {_place(verdict.worst)}"
        yield _numbers(verdict.worst, verdict.engine.name, verdict.arithmetic)


def parts(verdict: Verdict, source: str = "") -> Iterator[RenderableType]:
    if source:
        yield Text(text.printable(source))
    yield Text(module_repr(verdict.spec.with_changes(head=None)), "bold")
    yield from engine_lines(verdict.engine)
    yield Text(summary(verdict), STYLE[verdict.verdict])
    yield from map(_marked, numbers_of(verdict))
    yield from _identities(verdict)
    if verdict.explained:
        yield Text(f"{verdict.explained} values above the bound are explained by some order of summation")
    steps = f"{verdict.steps:,} step" + ("s" if verdict.steps != 1 else "")
    yield Text(f"looked at {verdict.values:,} values in {steps}: {_observed(verdict)}")
    if verdict.estimated:
        yield Text(f"nobody observed {', '.join(verdict.estimated)}: stepped, and allowed what roundings do to it")
    for note in verdict.notes:
        yield Text(text.printable(note))
    yield from _resolution(verdict)


def _marked(line: str) -> Text:
    """In it, what to read first: the name of a cause, and how to mend it."""
    marked = Text(line)
    marked.highlight_regex(r"^cause: \S+( \+ \S+)*(?=: )", "bold yellow")
    marked.highlight_regex(r"^  fix:", "bold green")
    return marked


def _identities(verdict: Verdict) -> Iterator[Text]:
    """One line for all that hold, and one for each that does not, with what usually causes that."""
    if held := [one.name for one in verdict.identities if one.holds]:
        yield Text(f"identities that hold: {listed(held)}")
    for one in verdict.identities:
        if not one.holds:
            usual = f"; usually {one.usual}" if one.usual else ""
            yield Text(f"identity that fails: {one.name}: {text.printable(one.evidence)}{usual}", "yellow")


def _causes(verdict: Verdict) -> Iterator[str]:
    before = ""
    for cause in verdict.causes:
        if cause.together and cause.name == cause.together[-1]:
            continue
        both = [one for one in verdict.causes if one.together == cause.together] if cause.together else [cause]
        names = " + ".join(cause.together) or cause.name
        if before and any({before, names} <= set(group) for group in verdict.indistinguishable):
            yield "these numbers cannot tell that from:"
        before = names
        numbers = f"{cause.worst_ratio_before:,.1f} times the bound becomes {cause.worst_ratio_after:.3f} of it"
        yield f"cause: {names}: {numbers} if {' and '.join(text.printable(one.explanation) for one in both)}"
        for one in both:
            yield f"  fix: {text.printable(one.fix)}"
        if cause.left:
            yield f"  accounts for {listed(cause.scope)}; {listed(cause.left)} still differs"


def _resolution(verdict: Verdict) -> Iterator[RenderableType]:
    if not verdict.resolution:
        return
    title = "\nthe smallest shift of a gate's pre-activation that would have been seen"
    made = table(
        "layer",
        "gate",
        ">finest unit",
        ">median",
        ">coarsest",
        ">unit",
        f">units above {verdict.telling:g}",
        title=title,
    )
    before = ""
    for line in verdict.resolution:
        place = f"{line.layer} {line.direction}"
        numbers = map(_shift, (line.finest, line.median, line.coarsest))
        shown = place if place != before else ""
        made.add_row(shown, line.gate, *numbers, str(line.coarsest_unit), str(line.coarse_units or ""))
        before = place
    yield made


def _shift(value: float) -> str:
    """Infinite is where no shift that was tried, up to an eighth, would have been seen."""
    return f"{value:.1e}" if value < math.inf else "> 0.12"


def _observed(verdict: Verdict) -> str:
    """layer 0 forward: h, h_n; layer 1 forward: h, h_n."""
    by_place: dict[str, list[str]] = {}
    for line in verdict.observed:
        place, _, quantity = line.rpartition(" ")
        by_place.setdefault(place, []).append(quantity)
    return "; ".join(f"{place}: {', '.join(quantities)}" for place, quantities in by_place.items())


def _place(point: Point) -> str:
    where = f"{point.quantity} of layer {point.layer} {point.direction}"
    step = "" if point.step < 0 else f", step {point.step}"
    return f"{where}{step}, batch {point.batch}, unit {point.unit}"


def _numbers(point: Point, engine: str, arithmetic: str) -> str:
    apart = abs(point.engine - point.manual)
    return (
        f"equations {point.manual:.{_DIGITS}g}, {engine} {point.engine:.{_DIGITS}g}: {apart:.2e} apart, "
        f"{_ratio(point.ratio)} the {point.bound:.2e} that {arithmetic} allows here"
    )


def _ratio(ratio: float) -> str:
    return f"{ratio:.3f} of" if ratio <= 1 else f"{ratio:,.1f} times"
