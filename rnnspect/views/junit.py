"""Verdicts as JUnit XML: a failure where a run differs, an error where nothing could be said."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rnnspect.judging.verdict import Skipped, Verdict
from rnnspect.views import check
from rnnspect.views.rendering import Screen
from rnnspect.views.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def as_junit(rows: Sequence[tuple[str, Verdict | Skipped | str]]) -> str:
    """One test case for each source and engine; a text in the place of a verdict says why there is none."""
    suite = ElementTree.Element("testsuite", name="rnnspect check")
    kinds = []
    for source, found in rows:
        engine = found.engine.name if isinstance(found, Verdict) else ""
        case = ElementTree.SubElement(suite, "testcase", classname=f"rnnspect.{engine}", name=printable(source))
        kind, attributes, text = _outcome(found)
        ElementTree.SubElement(case, kind, attributes).text = text
        kinds.append(kind)
    counts = {"tests": len(rows), "failures": kinds.count("failure"), "errors": kinds.count("error")}
    counts |= {"skipped": kinds.count("skipped")} if "skipped" in kinds else {}
    suite.attrib |= {name: str(count) for name, count in counts.items()}
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _outcome(found: Verdict | Skipped | str) -> tuple[str, dict[str, str], str]:
    """The element in a test case, its attributes and its text."""
    if isinstance(found, str):
        return "error", {"message": printable(found)}, ""
    if isinstance(found, Skipped):
        return "skipped", {"message": printable(found.reason)}, ""
    report = check.as_table(found, Screen(width=120))
    if found.agrees:
        return "system-out", {}, report
    kind = "failure" if found.verdict == "differ" else "error"
    return kind, {"message": printable(check.summary(found))}, report
