"""One verdict as text: the answer and the first wrong value, then the causes, the next command and the rest."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rnnspect.engines.interface import NoEngine
from rnnspect.errors import listed
from rnnspect.judging.verdict import Explanation, Point, Verdict
from rnnspect.network.parameters import recurrent_repr
from rnnspect.network.places import places_in_words, unit_in_words
from rnnspect.views import sensitivity, suspects, text
from rnnspect.views.rendering import Screen, beside, engine_line, rendered

STYLE = {
    "agree": "bold green",
    "differ": "bold red",
    "cannot tell": text.LOUD,
    "error": "bold red",
    "skipped": "dim",
}
_MARK = {"agree": "✓ AGREE", "differ": "✗ DIFFER", "cannot tell": "? CANNOT TELL", "error": "✗ FAILS"}
_FEWEST_DIGITS, _MOST_DIGITS = 6, 17
_LABEL = 11
"""Characters before the text of a row: two spaces, and a label."""


def report_text(verdict: Verdict, subject: str = "") -> str:
    """The whole report on one run, in lines of at most 120 characters; `subject` as of `answer`."""
    return rendered(parts(verdict, subject, verbose=True), Screen(width=120))


def answer(verdict: Verdict, subject: str = "") -> str:
    """The answer in one sentence; `subject` names what was checked, where that is not the engine."""
    if verdict.verdict == "cannot tell":
        why = "only the equations were computed" if verdict.engine.name == NoEngine.name else verdict.reason
        return f"cannot tell {_sentence(verdict, subject)}: {why}"
    return f"{verdict.verdict}: {_sentence(verdict, subject)}"


def summary(verdict: Verdict, subject: str) -> str:
    """The answer, the first wrong value, and the consistency checks that failed, in one line."""
    failed = [one.name for one in verdict.identities if not one.holds]
    but = f"; consistency check failed: {listed(failed)}" if failed else ""
    first = f"; first {where_and_what(verdict.first, verdict)}" if verdict.first else ""
    return f"{answer(verdict, subject)}{first}{but}"


def _sentence(verdict: Verdict, subject: str) -> str:
    who, cell = text.printable(subject or verdict.engine.name), verdict.spec.cell_type.title
    if verdict.engine.name == NoEngine.name:
        who = "an engine"
    value, match, no_match = "value", "matches", "does not match"
    if verdict.backward:
        who, value, match, no_match = f"{who}'s gradients", "gradient", "match", "do not match"
    if verdict.verdict == "cannot tell":
        return f"whether {who} {match} this {cell}"
    if verdict.verdict == "differ":
        wrong = _counted_wrong(verdict)
        how = f"{wrong} wrong" if wrong else "" if verdict.first else "shown by all values together"
        return f"{who} {no_match} this {cell}{f' ({how})' if how else ''}"
    arithmetic = verdict.arithmetic
    rounding = f"the rounding error of {arithmetic}" if " " in arithmetic else f"{arithmetic} rounding error"
    rounding += " and that of the recording" if verdict.rounded else ""
    every = f"all {text.counted(verdict.values, value)}" if verdict.values != 1 else f"its {value}"
    return f"{who} {match} this {cell} ({every} within {rounding})"


def first_lines(verdict: Verdict, subject: str = "") -> Iterator[RenderableType]:
    """The answer, and the first wrong value: what is known before a cause is looked for."""
    yield heading(verdict.verdict, _sentence(verdict, subject))
    if verdict.first:
        yield row("First", where_and_what(verdict.first, verdict))
        yield row("", _how_far(verdict.first))
        if pattern := (verdict.pattern or "").removesuffix(_counted_wrong(verdict)).rstrip("; "):
            yield row("Where", pattern)
    elif verdict.verdict == "cannot tell":
        yield row("Why", str(verdict.reason))
    if not verdict.first:
        yield from (row(label, said) for label, said in suspects.lines(verdict))
        yield from _failed(verdict)


def other_lines(verdict: Verdict, subject: str, then: str, verbose: bool | None) -> Iterator[RenderableType]:
    """The causes, the next command, and what the answer rests on. The sensitivity of every gate is told where it is
    asked for (`verbose`; with None nothing says how to ask), or where it is why nothing can be told."""
    differs = verdict.verdict == "differ"
    if verdict.first and verdict.reason:
        yield row("But", verdict.reason)
    yield from _causes(verdict)
    if verdict.first:
        yield from (row(label, said) for label, said in suspects.lines(verdict))
    yield from (row(label, said) for label, said in suspects.recovered(verdict))
    if differs:
        yield from _notes(verdict)
        yield from (row("Try", said) for said in suspects.to_try(verdict))
        yield from _next(then)
    if verdict.worst and not verdict.first:
        yield row("Largest", _largest(verdict.worst, verdict))
    if verdict.resolution and verdict.agrees:
        hint = f" (-v: every {sensitivity.part(verdict)})" if verbose is False else ""
        yield row("Detects", sensitivity.detects(verdict) + hint)
    yield row("Network", recurrent_repr(verdict.spec))
    yield row("Engine", engine_line(verdict.engine, subject))
    if verdict.engine.precision:
        yield row("", ", ".join(f"{name} = {value}" for name, value in verdict.engine.precision.items()))
    yield from _identities(verdict)
    kind = "gradient" if verdict.backward else "value"
    compared = f"{text.counted(verdict.values, kind)} over {text.counted(verdict.steps, 'step')}"
    yield row("Compared", f"{compared}: {_observed(verdict)}")
    if verdict.estimated:
        was = "was" if len(verdict.estimated) == 1 else "were"
        unseen = f"{listed(verdict.estimated)} {was} not recorded; computed here, with rounding allowed for"
        yield row("", unseen)
    if verdict.cleared:
        above = f"{text.counted(verdict.cleared, 'value')} above the limit"
        yield row("", f"{above} are explained by another order of summation")
    if not differs:
        yield from _notes(verdict)
        yield from _next(then)
    if verbose or (verdict.verdict == "cannot tell" and sensitivity.is_known(verdict)):
        yield from sensitivity.lines(verdict)


def parts(
    verdict: Verdict, subject: str = "", then: str = "", verbose: bool | None = False
) -> Iterator[RenderableType]:
    """The report on one run. `subject` is what `summary` takes, `then` the next command to type."""
    yield from first_lines(verdict, subject)
    yield from other_lines(verdict, subject, then, verbose)


def first_place(verdict: Verdict) -> str:
    """Where a run that differs does so first."""
    return _place(verdict.first, verdict) if verdict.first else ""


def lines_of(verdict: Verdict) -> Iterator[str]:
    """The first wrong value and its causes, or the largest error, as lines of plain text."""
    if verdict.first:
        yield f"first: {where_and_what(verdict.first, verdict)}; {_how_far(verdict.first)}"
        yield f"where: {verdict.pattern}"
        if verdict.reason:
            yield verdict.reason
        for label, said in (*_lines_of_causes(verdict), *suspects.lines(verdict), *suspects.recovered(verdict)):
            yield f"{label.lower()}: {said}" if label else said
    elif verdict.worst:
        yield f"largest {_largest(verdict.worst, verdict)}"


def heading(answer: str, sentence: str) -> Table:
    """The answer, and the sentence that says of what, wrapped beside it."""
    mark = Text(_MARK[answer], STYLE[answer], no_wrap=True)
    return beside(mark, Text(sentence), gap=2)


def row(label: str, said: str | Text) -> Table:
    """A label, and text that is wrapped beside it."""
    return beside(Text(f"  {label}", "dim"), said if isinstance(said, Text) else Text(said), width=_LABEL)


def _counted_wrong(verdict: Verdict) -> str:
    """80 of 80 values; empty where the final states alone are wrong."""
    return f"{verdict.wrong} of {verdict.values} values" if verdict.wrong else ""


def _notes(verdict: Verdict) -> Iterator[RenderableType]:
    for at, note in enumerate(verdict.notes):
        yield row("" if at else "Notes" if len(verdict.notes) > 1 else "Note", text.printable(note))


def _next(then: str) -> Iterator[RenderableType]:
    if then:
        yield row("Next", then)


def _failed(verdict: Verdict) -> Iterator[RenderableType]:
    """Each consistency check that failed, with what usually causes that."""
    for one in verdict.identities:
        if not one.holds:
            usual = f"; usual cause: {one.usual}" if one.usual else ""
            said = f"consistency check: {one.name}: {text.printable(one.evidence)}{usual}"
            yield row("Failed", Text(said, text.LOUD))


def _identities(verdict: Verdict) -> Iterator[RenderableType]:
    """One line for all that hold; those that do not stand after the first wrong value, or else with the answer."""
    if verdict.first:
        yield from _failed(verdict)
    if held := [one.name for one in verdict.identities if one.holds]:
        yield row("Passed", f"consistency checks: {listed(held)}")


def _causes(verdict: Verdict) -> Iterator[RenderableType]:
    for label, said in _lines_of_causes(verdict):
        style = {"Fix": "bold green"}.get(label, "")
        line = Text(said, style)
        line.highlight_regex(r"\[[^\]]+\]$", text.LOUD)  # the name of a cause
        yield row(label, line)


def _lines_of_causes(verdict: Verdict) -> Iterator[tuple[str, str]]:
    """Every cause as labels and texts. Two causes that explain a run only together are told as one; of one mistake with
    several numbers, such as a truncation every 2 or every 3 steps, the first is told, and how many more there are."""
    before, told, more = "", set[tuple[str, ...]](), dict[str, int]()
    for cause in verdict.causes:
        if cause.together and cause.name == cause.together[-1]:
            continue
        if (key := (names_of(cause), *cause.scope)) in told:
            more[key[0]] = more.get(key[0], 0) + 1
            continue
        told.add(key)
        both = [one for one in verdict.causes if one.together == cause.together] if cause.together else [cause]
        names = names_of(cause)
        if before and any({before, names} <= set(group) for group in verdict.indistinguishable):
            yield "", "these numbers fit this cause equally well:"
        before = names
        where = places_in_words(verdict.spec, cause.scope)
        said = " and ".join(text.printable(one.explanation) for one in both)
        yield "Cause", f"{where}: {said}  [{names}]" if where else f"{said}  [{names}]"
        ratios = f"{text.times(cause.worst_ratio_before)} the limit to {text.times(cause.worst_ratio_after)}"
        yield "", f"assuming this mistake, the largest error drops from {ratios}"
        if cause.left:
            yield "", f"{listed(cause.left)} still {'differs' if len(cause.left) == 1 else 'differ'}"
        for one in both:
            yield "Fix", text.printable(one.fix)
    for names, count in more.items():
        others = (
            "another form of this mistake explains" if count == 1 else f"{count} other forms of this mistake explain"
        )
        yield "", f"{others} the run as well; --format json has all  [{names}]"


def names_of(cause: Explanation) -> str:
    return " + ".join(cause.together) or cause.name


def _observed(verdict: Verdict) -> str:
    """layer 0 forward: h, h_n; layer 1 forward: h, h_n."""
    by_place: dict[str, list[str]] = {}
    for place, quantity in verdict.compared:
        by_place.setdefault(place, []).append(quantity)
    return "; ".join(f"{place}: {', '.join(quantities)}" for place, quantities in by_place.items())


def _place(point: Point, verdict: Verdict) -> str:
    if point.quantity.endswith("]"):  # the entry of a parameter's gradient
        return point.named
    step = "" if point.step < 0 else f", step {point.step}"
    item = f", batch item {point.batch}" if verdict.items > 1 else ""
    unit = unit_in_words(verdict.spec, point.quantity, point.unit)
    return f"{point.named} of layer {point.layer} {point.direction}{step}{item}, {unit}"


def where_and_what(point: Point, verdict: Verdict) -> str:
    digits = next((n for n in range(_FEWEST_DIGITS, _MOST_DIGITS) if _differ(point, n)), _MOST_DIGITS)
    return f"{_place(point, verdict)}: expected {point.manual:.{digits}g}, got {point.engine:.{digits}g}"


def _differ(point: Point, digits: int) -> bool:
    """Whether so many digits show both numbers as different, and one digit less as well."""
    return all(f"{point.manual:.{n}g}" != f"{point.engine:.{n}g}" for n in (digits, digits - 1))


def _largest(point: Point, verdict: Verdict) -> str:
    share = f"{text.percent_of(point.ratio)} of the allowed {point.bound:.1e}"
    return f"error: {share}, in {_place(point, verdict)}"


def _how_far(point: Point) -> str:
    difference = abs(point.engine - point.manual)
    if math.isnan(difference):
        return f"not a number; a difference of {point.bound:.1e} is allowed"
    return f"difference {difference:.1e}, allowed {point.bound:.1e}"
