"""Known mistakes, one family a file. A file here that defines `causes(assumed)` is a family, named as the file is.
Files that begin with _ are shared.

Each cause changes what is assumed of an engine (an `Assumption`) into what one with the mistake computes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

from rnnspect.causes.interface import Cause
from rnnspect.judging.assumption import Assumption

_LIKELIEST_FIRST = ("gru", "gates", "order", "directions", "biases", "states", "kernels", "activations", "stacks")
"""Families by how often people meet their mistakes; what explains a run equally well is told in this order."""


def families() -> list[str]:
    """The likeliest first; those that nobody counted come last."""
    found = sorted(info.name for info in pkgutil.iter_modules(__path__) if info.name[0] != "_")
    known = [family for family in _LIKELIEST_FIRST if family in found]
    return known + [family for family in found if family not in known]


def catalogue(assumed: Assumption) -> Iterator[Cause]:
    """Every mistake that an engine may have made in a layer and direction, with its family."""
    for family in families():
        for cause in importlib.import_module(f"{__name__}.{family}").causes(assumed):
            yield replace(cause, family=family)
