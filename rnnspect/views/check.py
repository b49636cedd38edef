"""Verdicts as text: one in full, several as a line each; and as JUnit XML."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rnnspect.errors import listed
from rnnspect.judging.verdict import Explanation, Point, Skipped, Verdict
from rnnspect.network.parameters import module_repr
from rnnspect.views import text
from rnnspect.views.rendering import Screen, engine_lines, rendered, table

STYLE = {
    "agree": "bold green",
    "differ": "bold red",
    "cannot tell": "bold yellow",
    "error": "bold red",
    "skipped": "dim",
}
_USUAL = 0.01
"""The shift of a gate that a check shows in full precision; a verdict says where it is more."""
_DIGITS = 9
"""Significant ones: they tell any two numbers of float32 apart."""


def lines(rows: Sequence[tuple[str, Verdict | Skipped | str]]) -> list[Text]:
    """One line a source; a text in the place of a verdict says why there is none."""
    widest = max(len(text.printable(source)) for source, _ in rows)
    return [_line(source, widest, found) for source, found in rows]


def as_junit(rows: Sequence[tuple[str, Verdict | Skipped | str]]) -> str:
    """One test case for each source and engine; a text in the place of a verdict says why there is none."""
    suite = ElementTree.Element("testsuite", name="rnnspect check")
    kinds = []
    for source, found in rows:
        engine = text.printable(found.engine.name) if isinstance(found, Verdict) else ""
        case = ElementTree.SubElement(suite, "testcase", classname=f"rnnspect.{engine}", name=text.printable(source))
        kind, attributes, said = _outcome(found)
        ElementTree.SubElement(case, kind, attributes).text = said
        kinds.append(kind)
    counts = {"tests": len(rows), "failures": kinds.count("failure"), "errors": kinds.count("error")}
    counts |= {"skipped": kinds.count("skipped")} if "skipped" in kinds else {}
    suite.attrib |= {name: str(count) for name, count in counts.items()}
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def report_text(verdict: Verdict) -> str:
    """The whole report on one run, in lines of at most 120 characters."""
    return rendered(parts(verdict), Screen(width=120))


def _outcome(found: Verdict | Skipped | str) -> tuple[str, dict[str, str], str]:
    """The element in a test case, its attributes and its text."""
    if not isinstance(found, Verdict):
        answer, why = _without_verdict(found)
        return answer, {"message": why}, ""
    report = report_text(found)
    if found.agrees:
        return "system-out", {}, report
    kind = "failure" if found.verdict == "differ" else "error"
    return kind, {"message": text.printable(summary(found))}, report


def _line(source: str, widest: int, found: Verdict | Skipped | str) -> Text:
    answer, said = (found.verdict, _said(found)) if isinstance(found, Verdict) else _without_verdict(found)
    line = Text(f"{answer:<{len('cannot tell')}}", STYLE[answer], no_wrap=True, overflow="ignore")
    line.append(f"  {text.printable(source):<{widest}}  {said}", "not bold default")
    for one in found.identities if isinstance(found, Verdict) else ():
        if not one.holds:
            line.append(f"; fails {one.name}: {text.printable(one.evidence)}", "not bold yellow")
    return line


def _without_verdict(found: Skipped | str) -> tuple[str, str]:
    """The word in place of a verdict, and why there is none."""
    return ("skipped", text.printable(found.reason)) if isinstance(found, Skipped) else ("error", text.printable(found))


def _said(verdict: Verdict) -> str:
    engine = " ".join(filter(None, (verdict.engine.name, verdict.engine.version)))
    if verdict.first:
        said = f"{_ratio(verdict.first.ratio)} its bound at {_place(verdict.first)}"
        said += f"; {_names(verdict.causes[0])}" if verdict.causes else ""
        said += f"; {text.printable(verdict.notes[0])}" if verdict.notes else ""
    elif verdict.verdict == "cannot tell":
        said = str(verdict.reason)
    else:
        coarsest = max((line.coarsest for line in verdict.resolution), default=0.0)
        worst = verdict.worst.ratio if verdict.worst else 0.0
        said = f"worst {worst:.3f}, resolution {_shift(coarsest)}"
    return f"{engine}, {verdict.arithmetic}: {said}"


def summary(verdict: Verdict) -> str:
    """The answer in one sentence."""
    if verdict.verdict == "agree":
        hidden = f"; it hides gate shifts below {verdict.telling:g}" if verdict.telling > _USUAL else ""
        return f"agree: every number is inside what {verdict.arithmetic} allows{hidden}"
    if verdict.verdict == "differ":
        assert verdict.first is not None
        return f"differ: {_place(verdict.first)}"
    return f"cannot tell: {verdict.reason}"


def numbers_of(verdict: Verdict) -> Iterator[str]:
    """Both numbers where the run first differs, and why; else where they are nearest to the bound."""
    if verdict.first:
        yield _numbers(verdict.first, verdict)
        yield f"where: {verdict.pattern}"
        if verdict.reason:
            yield verdict.reason
        yield from _causes(verdict)
    elif verdict.worst:
        yield f"nearest to its bound: {_place(verdict.worst)}"
        yield _numbers(verdict.worst, verdict)


def parts(verdict: Verdict, source: str = "") -> Iterator[RenderableType]:
    """The whole report on one run; `source` says which, where that is a call inside of a model."""
    if source:
        yield Text(text.printable(source))
    yield Text(module_repr(verdict.spec.with_changes(head=None)), "bold")
    yield from engine_lines(verdict.engine)
    yield Text(summary(verdict), STYLE[verdict.verdict])
    for line in map(Text, numbers_of(verdict)):
        # What to read first: the name of a cause, and how to mend it.
        line.highlight_regex(r"^cause: \S+( \+ \S+)*(?=: )", "bold yellow")
        line.highlight_regex(r"^  fix:", "bold green")
        yield line
    yield from _identities(verdict)
    if verdict.cleared:
        yield Text(f"{verdict.cleared} values above the bound are explained by some order of summation")
    steps = text.counted(verdict.steps, "step")
    yield Text(f"looked at {verdict.values:,} values in {steps}: {_observed(verdict)}")
    if verdict.estimated:
        yield Text(f"nobody observed {', '.join(verdict.estimated)}: stepped, and allowed what roundings do to it")
    yield from (Text(text.printable(note)) for note in verdict.notes)
    if verdict.resolution:
        yield _resolution(verdict)


def _identities(verdict: Verdict) -> Iterator[Text]:
    """One line for all that hold, and one for each that does not, with what usually causes that."""
    if held := [one.name for one in verdict.identities if one.holds]:
        yield Text(f"identities that hold: {listed(held)}")
    for one in verdict.identities:
        if not one.holds:
            usual = f"; usually {one.usual}" if one.usual else ""
            yield Text(f"identity that fails: {one.name}: {text.printable(one.evidence)}{usual}", "yellow")


def _causes(verdict: Verdict) -> Iterator[str]:
    """Two causes that explain a run only together are told as one."""
    before = ""
    for cause in verdict.causes:
        if cause.together and cause.name == cause.together[-1]:
            continue
        both = [one for one in verdict.causes if one.together == cause.together] if cause.together else [cause]
        names = _names(cause)
        if before and any({before, names} <= set(group) for group in verdict.indistinguishable):
            yield "these numbers cannot tell that from:"
        before = names
        numbers = f"{cause.worst_ratio_before:,.1f} times the bound becomes {cause.worst_ratio_after:.3f} of it"
        yield f"cause: {names}: {numbers} if {' and '.join(text.printable(one.explanation) for one in both)}"
        yield from (f"  fix: {text.printable(one.fix)}" for one in both)
        if cause.left:
            yield f"  accounts for {listed(cause.scope)}; {listed(cause.left)} still differs"


def _names(cause: Explanation) -> str:
    return " + ".join(cause.together) or cause.name


def _resolution(verdict: Verdict) -> Table:
    heads = ("layer", "gate", ">finest unit", ">median", ">coarsest", ">unit", f">units above {verdict.telling:g}")
    made = table(*heads, title="\nthe smallest shift of a gate's pre-activation that would have been seen")
    before = ""
    for line in verdict.resolution:
        place = f"{line.layer} {line.direction}"
        numbers = map(_shift, (line.finest, line.median, line.coarsest))
        shown = place if place != before else ""
        made.add_row(shown, line.gate, *numbers, str(line.coarsest_unit), str(line.coarse_units or ""))
        before = place
    return made


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
    step = "" if point.step < 0 else f", step {point.step}"
    return f"{point.quantity} of layer {point.layer} {point.direction}{step}, batch {point.batch}, unit {point.unit}"


def _numbers(point: Point, verdict: Verdict) -> str:
    return (
        f"equations {point.manual:.{_DIGITS}g}, {verdict.engine.name} {point.engine:.{_DIGITS}g}: "
        f"{abs(point.engine - point.manual):.2e} apart, "
        f"{_ratio(point.ratio)} the {point.bound:.2e} that {verdict.arithmetic} allows here"
    )


def _ratio(ratio: float) -> str:
    return f"{ratio:.3f} of" if ratio <= 1 else f"{ratio:,.1f} times"
