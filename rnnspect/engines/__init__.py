"""Somebody else's implementations, one a file. A file here that defines `ENGINE` is an engine, named as the file is."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

from rnnspect.errors import InputError, listed, nearest

if TYPE_CHECKING:
    from rnnspect.engines.interface import Engine


def names() -> list[str]:
    """The engines that there are; none of them is imported."""
    files = (info.name for info in pkgutil.iter_modules(__path__) if info.name != "interface")
    return [name.replace("_", "-") for name in files]


def find(name: str, where: str | None = None) -> Engine:
    """The engine of that name, imported now. Raises `InputError` for another name."""
    known = names()
    if name not in known:
        found = f"no engine is called {name!r}"
        raise InputError(found, allowed=listed(known), nearest=nearest(name, known), where=where)
    engine: Engine = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").ENGINE()
    return engine
