"""Several verdicts as text, a row each; and as JUnit XML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree import ElementTree

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rnnspect.judging.verdict import Skipped, Verdict
from rnnspect.network.recording import RECORDING
from rnnspect.views import check, documents, sensitivity, text


def rows(found: Sequence[tuple[str, Verdict | Skipped | str]], width: int) -> Iterator[RenderableType]:
    """A row for each source; a text in the place of a verdict says why there is none."""
    names = [text.printable(source) for source, _ in found]
    beside = max(map(len, names)) <= width // 3
    grid = Table.grid(padding=(0, 2))
    for one in ("", "", "")[: 3 if beside else 2]:
        grid.add_column(one, overflow="fold")
    for name, (source, row) in zip(names, found, strict=True):
        answer, said = (row.verdict, _said(row)) if isinstance(row, Verdict) else _without_verdict(row, source)
        told = Text(said)
        for identity in row.identities if isinstance(row, Verdict) else ():
            if not identity.holds:
                told.append(
                    f"; consistency check failed: {identity.name}: {text.printable(identity.evidence)}", text.LOUD
                )
        cells = (Text(name), told) if beside else (Text(f"{name}\n").append_text(told),)
        grid.add_row(Text(answer, check.STYLE[answer]), *cells)
    yield grid


def in_short(found: Sequence[tuple[str, Verdict | Skipped | str]]) -> Iterator[str]:
    """A line for each that does not agree, with why; then how many do."""
    for source, one in found:
        answer, said = (one.verdict, _why(one)) if isinstance(one, Verdict) else _without_verdict(one, source)
        if answer != "agree":
            yield f"{answer}: {text.printable(source)}: {said}"
    yield f"{sum(isinstance(one, Verdict) and one.agrees for _, one in found)} of {len(found)} agree"


def document(source: str, found: Verdict | Skipped | str) -> dict[str, Any]:
    """What the JSON of a check says of one source."""
    if isinstance(found, Verdict):
        return documents.check_document(found, source)
    why = {"skipped": found.reason} if isinstance(found, Skipped) else {"error": found}
    return {"format": "rnnspect.check", "version": 1, "source": source, "verdict": None} | why


def as_junit(rows: Sequence[tuple[str, Verdict | Skipped | str]], subjects: Sequence[str] = ()) -> str:
    """One test case for each source and engine; a text in the place of a verdict says why there is none. `subjects`
    says of each what was checked, where that is not its engine."""
    suite = ElementTree.Element("testsuite", name="rnnspect check")
    kinds = []
    for (source, found), subject in zip(rows, subjects or [""] * len(rows), strict=True):
        engine = text.printable(found.engine.name) if isinstance(found, Verdict) else ""
        case = ElementTree.SubElement(
            suite, "testcase", classname=".".join(filter(None, ("rnnspect", engine))), name=text.printable(source)
        )
        kind, attributes, said = _outcome(found, subject)
        ElementTree.SubElement(case, kind, attributes).text = said
        kinds.append(kind)
    counts = {"tests": len(rows), "failures": kinds.count("failure"), "errors": kinds.count("error")}
    counts |= {"skipped": kinds.count("skipped")} if "skipped" in kinds else {}
    suite.attrib |= {name: str(count) for name, count in counts.items()}
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _outcome(found: Verdict | Skipped | str, subject: str) -> tuple[str, dict[str, str], str]:
    """The element in a test case, its attributes and its text."""
    if not isinstance(found, Verdict):
        answer, why = _without_verdict(found)
        return answer, {"message": why}, ""
    report = check.report_text(found, subject)
    if found.agrees:
        return "system-out", {}, report
    kind = "failure" if found.verdict == "differ" else "error"
    return kind, {"message": f"{found.verdict}: {_why(found)}"}, report


def _without_verdict(found: Skipped | str, source: str | None = None) -> tuple[str, str]:
    """The word in place of a verdict, and why there is none; beside a source without saying that again."""
    if isinstance(found, Skipped):
        return "skipped", text.printable(found.reason)
    return "error", text.printable(found.removeprefix(f"{source}: "))


def _said(verdict: Verdict) -> str:
    engine = " ".join(filter(None, (text.printable(verdict.engine.name), verdict.engine.version))) + ", "
    engine = "" if verdict.engine.name == RECORDING else engine  # a recording's row is under its own name
    if verdict.agrees:
        share = f"largest error {text.percent_of(verdict.worst.ratio)} of its limit, " if verdict.worst else ""
        return f"{engine}{verdict.arithmetic}: {share}detects {sensitivity.detects(verdict)}"
    return f"{engine}{verdict.arithmetic}: {_why(verdict)}"


def _why(verdict: Verdict) -> str:
    """In a line: where it first differs and the likeliest cause, or why it cannot be told."""
    if verdict.first is None:
        return text.printable(str(verdict.reason or ""))
    said = f"{check.where_and_what(verdict.first, verdict)}, {text.times(verdict.first.ratio)} the limit"
    said += f"; {check.names_of(verdict.causes[0])}" if verdict.causes else ""
    said += f"; {text.printable(verdict.suspects[0].said)}" if verdict.suspects and not verdict.causes else ""
    return said + (f"; {text.printable(verdict.notes[0])}" if verdict.notes else "")
