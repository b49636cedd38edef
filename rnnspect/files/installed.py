"""What installed packages add to rnnspect under a name, by their entry points: a cell, an engine or a layout.

Nothing is looked up before a name is asked for that is none of ours, and nothing of a package is loaded but what was
asked for.
"""

from __future__ import annotations

from typing import Any

from rnnspect.errors import PackageError, in_one_line

CELLS, ENGINES, LAYOUTS = "rnnspect.cells", "rnnspect.engines", "rnnspect.layouts"
"""The groups of entry points."""


def names(group: str) -> list[str]:
    """The names that installed packages have in a group; none of them is loaded."""
    from importlib.metadata import entry_points

    return sorted({one.name for one in entry_points(group=group)})


def load(group: str, name: str, where: str | None = None) -> Any:
    """The object that a package has in that group under that name; None where none has. Raises `PackageError` for a
    package that fails as it is loaded."""
    from importlib.metadata import entry_points

    found = next(iter(entry_points(group=group, name=name)), None)
    if found is None:
        return None
    try:
        return found.load()
    except Exception as error:
        package = found.dist.name if found.dist else found.value
        said = in_one_line(f"{type(error).__name__}: {error}")
        advice = f"update or remove that package: pip install --upgrade {package}"
        failed = f"{name} of the package {package} ({found.value}) cannot be loaded: {said}"
        raise PackageError(failed, where=where, advice=advice) from error
