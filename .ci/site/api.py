"""The reference of `import rnnspect`: every public name, from its docstring."""

from __future__ import annotations

import inspect

import rnnspect
from rnnspect import api

LEAD = """# Reference of `import rnnspect`

Every public name. [Python](python.md) shows them at work.
"""


def page() -> str:
    groups: dict[str, list[str]] = {"Functions": [], "What they take and give": [], "Errors": []}
    for name in sorted(api.__all__, key=str.lower):
        value = getattr(rnnspect, name)
        is_error = inspect.isclass(value) and issubclass(value, Exception)
        kind = "Errors" if is_error else "What they take and give" if inspect.isclass(value) else "Functions"
        groups[kind].append(name)
    parts = [LEAD]
    for title, names in groups.items():
        parts += [f"## {title}\n", *(f"::: rnnspect.{name}\n" for name in names)]
    return "\n".join(parts)
