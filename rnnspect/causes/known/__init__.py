"""Known mistakes, one family a file. A file here or in `forms` that defines `causes(assumed)` is a family, named as the
file is. Files that begin with _ are shared.

Each cause changes what is assumed of an engine (an `Assumption`) into what one with the mistake computes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import replace

from rnnspect.causes.interface import Cause, by_likelihood
from rnnspect.causes.known import forms
from rnnspect.judging.assumption import Assumption

_LIKELIEST_FIRST = (
    "gru", "gates", "order", "lengths", "calls", "directions", "biases", "states", "kernels", "activations", "stacks",
)  # fmt: skip
"""Families by how often people meet their mistakes. Mistakes that explain a run equally well are told in this order."""


def families() -> list[str]:
    return by_likelihood(_files(), _LIKELIEST_FIRST)


def turn_of(cause: Cause) -> int:
    """When it is tried in layers that were not observed: first (0) what people often do wrong with a whole stack, such
    as its padding, then other mistakes of the families that people meet often, then (2) the rest."""
    if cause.family not in _LIKELIEST_FIRST:
        return 2
    return int(cause.reach != "stack")


def catalogue(assumed: Assumption) -> Iterator[Cause]:
    """Every mistake that an engine may have made in a layer and direction, with its family."""
    files = _files()
    for family in families():
        for cause in importlib.import_module(f"{__name__}.{files[family]}").causes(assumed):
            yield replace(cause, family=family)


def _files() -> dict[str, str]:
    """By family the name of its module, relative to this package."""
    here = {info.name: info.name for info in pkgutil.iter_modules(__path__) if not info.ispkg}
    below = {info.name: f"forms.{info.name}" for info in pkgutil.iter_modules(forms.__path__)}
    return {family: file for family, file in (here | below).items() if family[0] != "_"}
