"""Verdicts as JUnit XML: a failure where a run differs, an error where nothing could be said."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from rnnspect.views import check
from rnnspect.views.rendering import Screen
from rnnspect.views.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rnnspect.verdict import Verdict


def as_junit(rows: Sequence[tuple[str, Verdict | str]]) -> str:
    """One test case for each source and engine."""
    failed = sum(not isinstance(found, str) and found.verdict == "differ" for _, found in rows)
    unsaid = sum(isinstance(found, str) or found.verdict == "cannot tell" for _, found in rows)
    counts: dict[str, str] = {"tests": str(len(rows)), "failures": str(failed), "errors": str(unsaid)}
    suite = ElementTree.Element("testsuite", {"name": "rnnspect check", **counts})
    for source, found in rows:
        engine = "" if isinstance(found, str) else found.engine.name
        case = ElementTree.SubElement(suite, "testcase", classname=f"rnnspect.{engine}", name=printable(source))
        if isinstance(found, str):
            _add(case, "error", printable(found), "")
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
