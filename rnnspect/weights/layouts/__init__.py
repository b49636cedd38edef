"""How frameworks pack the same recurrent parameters, as data: one framework a file, readable as a table.

A file here that defines `LAYOUT` is a layout, named as the file is. The data loads no framework and no numpy.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from typing import TYPE_CHECKING

from rnnspect.errors import InputError, listed, nearest
from rnnspect.weights.layouts.interface import FORMS, Layout, Lost, Packed, Packing

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FORMS", "Layout", "Lost", "Packed", "Packing", "every", "find", "names"]

_NO_LAYOUTS = {"interface", "packing", "sizes", "table"}


def names() -> list[str]:
    """The layouts that there are; none of them is imported."""
    return [name.replace("_", "-") for name in _files()]


@functools.cache
def _files() -> tuple[str, ...]:
    return tuple(sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name not in _NO_LAYOUTS))


def find(name: str, where: str | None = None) -> Layout:
    """The layout of that name. Raises `InputError` for another name."""
    known = names()
    if name not in known:
        found = f"no layout is called {name!r}"
        raise InputError(found, allowed=listed(known), nearest=nearest(name, known), where=where)
    layout: Layout = importlib.import_module(f"{__name__}.{name.replace('-', '_')}").LAYOUT
    return layout


def every() -> Iterator[Layout]:
    """All layouts, by name."""
    return map(find, names())
