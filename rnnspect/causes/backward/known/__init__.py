"""Known mistakes of going back, one family a file. A file here that defines `causes(seen)` is a family, named as the
file is. Each cause changes what is assumed of an engine on its way back (a `BackwardAssumption`) into what it does with
the mistake.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterator
from dataclasses import replace

from rnnspect.causes.backward.interface import BackwardCause, Seen
from rnnspect.causes.interface import by_likelihood

_LIKELIEST_FIRST = (
    "between_layers", "dropout", "paths", "truncated", "outputs", "scaled", "gru", "gates", "slopes", "factors",
    "biases", "operands", "directions", "kernels",
)  # fmt: skip
"""Families in the order in which mistakes are told that explain a pass backwards equally well."""


def families() -> list[str]:
    return by_likelihood((info.name for info in pkgutil.iter_modules(__path__)), _LIKELIEST_FIRST)


def catalogue(seen: Seen, without: Collection[str] = ()) -> Iterator[BackwardCause]:
    """Every mistake that an engine may have made in a layer and direction, with its family, but not those of the
    families `without`."""
    for family in (one for one in families() if one not in without):
        for cause in importlib.import_module(f"{__name__}.{family}").causes(seen):
            yield replace(cause, family=family)
