"""Where parameters can be converted to, one target a file: a file here that defines `TARGET` is one, named as the file
is. `shared/` holds what several of them need.

A writer knows layouts and a file format; what runs the file is the engine that the target names.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from rnnspect.errors import InputError

if TYPE_CHECKING:
    from rnnspect.weights.writers.interface import Target


def names() -> list[str]:
    """The targets that there are; none of them is imported."""
    files = (info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg)
    return sorted(name.replace("_", "-") for name in files if name != "interface")


def find(name: str, where: str | None = None) -> Target:
    """The target of that name. Raises `InputError` for another name."""
    known = names()
    if name not in known:
        raise InputError.unknown(f"unknown target {name!r}", name, known, where)
    target: Target = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").TARGET
    return target
