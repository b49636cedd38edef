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
    """One test case for each source and engine."""
    answers = [found.verdict if isinstance(found, Verdict) else found for _, found in rows]
    left_out = sum(isinstance(answer, Skipped) for answer in answers)
    failed, agreeing = answers.count("differ"), answers.count("agree")
    counts = {"tests": len(rows), "failures": failed, "errors": len(rows) - failed - agreeing - left_out}
    counts |= {"skipped": left_out} if left_out else {}
    suite = ElementTree.Element(
        "testsuite", {"name": "rnnspect check", **{name: str(count) for name, count in counts.items()}}
    )
    for source, found in rows:
        engine = found.engine.name if isinstance(found, Verdict) else ""
        case = ElementTree.SubElement(suite, "testcase", classname=f"rnnspect.{engine}", name=printable(source))
        if isinstance(found, str):
            _add(case, "error", printable(found), "")
            continue
        if isinstance(found, Skipped):
            _add(case, "skipped", printable(found.reason), "")
            continue
        report = check.as_table(found, Screen(width=120))
        if found.agrees:
            ElementTree.SubElement(case, "system-out").text = _plain(report)
        else:
            _add(case, "failure" if found.verdict == "differ" else "error", check.summary(found), report)
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _add(case: ElementTree.Element, kind: str, message: str, report: str) -> None:
    ElementTree.SubElement(case, kind, message=message).text = _plain(report)


def _plain(report: str) -> str:
    """Without what XML cannot hold."""
    return "\n".join(printable(line) for line in report.split("\n"))
