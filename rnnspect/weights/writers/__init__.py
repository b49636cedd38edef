"""Where parameters can be carried to, one target a file: a file here that defines `TARGET` is one, named as the file
is; one whose name begins with _ is shared by several.

A target's framework, and the package that writes its format, are imported when they are needed.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from rnnspect.errors import InputError, listed, nearest

if TYPE_CHECKING:
    from rnnspect.weights.writers.interface import Target


def names() -> list[str]:
    """The targets that there are; none of them is imported."""
    files = (info.name for info in pkgutil.iter_modules(__path__))
    return sorted(name.replace("_", "-") for name in files if name != "interface" and not name.startswith("_"))


def find(name: str, where: str | None = None) -> Target:
    """The target of that name. Raises `InputError` for another name."""
    known = names()
    if name not in known:
        found = f"no target is called {name!r}"
        raise InputError(found, allowed=listed(known), nearest=nearest(name, known), where=where)
    target: Target = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").TARGET
    return target
