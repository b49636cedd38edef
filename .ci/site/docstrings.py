"""What mkdocstrings is told of docstrings: [batch][step][unit] are axes there, and no link of Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

AXES = re.compile(r"\]\[(?=(?:batch|step|unit)\])")


class Axes(griffe.Extension):
    """Escapes the brackets."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = AXES.sub(r"]\[", obj.docstring.value)
