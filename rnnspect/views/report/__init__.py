"""A report as one HTML page with its data, style and script inside, which loads nothing from anywhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
from importlib.resources import files
from string import Template

from rnnspect.reporting.data import Report
from rnnspect.views.check import report_text
from rnnspect.views.documents import as_json
from rnnspect.views.json_text import written_out
from rnnspect.views.report.document import report_document

_SCRIPTS = (
    *("base", "work", "colours", "state", "kept", "expression", "values", "place", "derivation", "quantities"),
    *("drawn_in_view", "zoom", "frame", "heatmap", "pointing", "curves", "sketch", "network", "cell", "answer"),
    *("search", "playing", "stage", "saving", "gradients", "maps", "parameters", "keys", "page"),
)
"""In the order in which they use each other."""
_ESCAPED = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
"""What could end or change a script element, or a line of it, as JSON writes it too."""


def as_html(report: Report) -> str:
    """Names out of files reach the page as JSON, which the page's script shows as text, and escaped, for a browser
    without JavaScript. A policy lets the page's own script and style run, and nothing else."""
    script = "(() => {\n'use strict';\n" + "".join(_part(f"{name}.js") for name in _SCRIPTS) + "})();\n"
    style = _part("page.css")
    return Template(_part("page.html")).substitute(
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'",
        title=html.escape(f"rnnspect: {report.shapes.module.splitlines()[0]}"),
        style=style,
        answers=html.escape("\n".join(report_text(run.verdict, run.subject) for run in report.runs)),
        data=as_data(report),
        script=script,
    )


def as_data(report: Report) -> str:
    """JSON that can stand inside of a script element."""
    return as_json(report_document(report), written_out).rstrip("\n").translate(_ESCAPED)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.cache
def _part(name: str) -> str:
    return files(__package__ or "").joinpath(name).read_text(encoding="utf-8")
