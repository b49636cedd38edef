"""Norms inside of a cell: of its gates' pre-activations, or of its cell state. A file that has them beside the weights
is of another network than the plain cell that the weights alone would be."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from rnnspect.cells import CELLS
from rnnspect.errors import WeightsError, listed
from rnnspect.files.reading import Stored
from rnnspect.weights.readers.interface import Module, Told

_NORM = r"(?:norm|(?<![a-z])ln|(?<![a-z])bn)"
_ANY = re.compile(r"norm|(?<![a-z])(?:ln|bn)[ihxc]{0,2}(?![a-z])|(?<![a-z])(?:gamma|gain)(?![a-z])")
_OF_C = re.compile(rf"{_NORM}_?(?:c|cx|cell)(?![a-z])|(?<![a-z])(?:c|cx|cell)_?{_NORM}")
_OF_X_OR_H = re.compile(rf"{_NORM}_?(?:i|x|ih|hh|i2h|h2h|x2h)(?![a-z])|(?<![a-z])(?:i|x|ih|hh|i2h|h2h|x2h)_?{_NORM}")
"""Of a plain RNN a norm of as many units may stand behind it: its name has to say that it is within."""
_SHOWN = 4


def is_norm(name: str) -> bool:
    return bool(_ANY.search(name.lower()))


def without_norms(
    modules: Mapping[str, Module], stored: Mapping[str, Stored], path: str, flags: Mapping[str, Any]
) -> dict[str, Module]:
    """The modules of a file, those of which raise `WeightsError` that have norms in them. Where the cell was asked for,
    it is read without them."""
    return {
        prefix: one if "cell" in flags else replace(one, tell=functools.partial(_told, one, prefix, stored, path))
        for prefix, one in modules.items()
    }


def _told(module: Module, prefix: str, stored: Mapping[str, Stored], path: str) -> Told:
    told = module.tell()
    kind, hidden = told.keys["cell"], told.keys["hidden_size"]
    norms = dict.fromkeys(_within(prefix, stored, len(CELLS[kind].gates), hidden))
    if norms:
        raise WeightsError(
            f"beside the weights of this {kind.upper()} are norms of its gates or of its cell state: "
            f"{listed(norms, _SHOWN)}",
            advice="write the cell down with its norms, as rnnspect init --cell mine.py begins one, and pass "
            f"--cell mine.py:NAME; or read the weights without them: --cell {kind}",
            where=f"{path}:{prefix}".removesuffix(":"),
        )
    return told


def _within(prefix: str, stored: Mapping[str, Stored], gates: int, hidden: int) -> Iterator[str]:
    """The names of the norms under the prefix of a module itself, or in one of its children."""
    start = re.compile(re.escape(prefix) + (r"[^0-9A-Za-z]" if prefix[-1:].isalnum() else ""))
    for name, one in stored.items():
        own = name[begin.end() :].lower() if (begin := start.match(name)) else ""
        if not is_norm(own) or len(re.findall(r"[./]", own)) > 1 or not one.shape or len(one.shape) > 2:
            continue
        is_row = len(one.shape) == 1 or one.shape[0] <= 2
        of_gates = one.shape[-1] == gates * hidden and (gates > 1 or _OF_X_OR_H.search(own))
        of_c = gates > 1 and one.shape[-1] == hidden and _OF_C.search(own)
        if is_row and (of_gates or of_c):
            yield name.removesuffix(".weight").removesuffix(".bias")
