"""What a file is and what is in it, with the commands that come next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from rnnspect.views import text
from rnnspect.views.rendering import table


@dataclass(frozen=True)
class FileModule:
    """One recurrent module of a file."""

    name: str
    network: str
    """As PyTorch prints it; empty where no spec describes it."""
    dtype: str
    reads_from: str
    """The module whose output it takes, where that is known."""
    reason: str
    """Why no spec describes it."""


@dataclass(frozen=True)
class About:
    path: str
    what: str
    bytes: int | None
    tensors: int | None
    modules: tuple[FileModule, ...]


def parts(found: About, width: int) -> list[RenderableType]:
    size = [] if found.bytes is None else [text.size(found.bytes)]
    count = [] if found.tensors is None else [text.counted(found.tensors, "tensor")]
    shown = table("recurrent module", "network", "dtype", "reads from")
    for column in shown.columns[:2]:
        column.no_wrap = False
        column.overflow = "fold"
    for one in found.modules:
        network = one.network or f"unusable: {one.reason}"
        shown.add_row(one.name or "(the whole file)", network, one.dtype, one.reads_from)
    runs = "ONNX Runtime" if found.what == "an ONNX model" else "PyTorch"  # where no engine is named
    commands = [(f"  rnnspect {command:<7} {shlex.quote(found.path)}", said.format(runs)) for command, said in _NEXT]
    is_wide = any(len(f"{command}   {said}") > width for command, said in commands)
    between = "\n      " if is_wide else "   "  # a command is never broken, as it may be copied
    lines = [f"{command}{between}{said}" for command, said in commands]
    return [
        Text(f"{found.path}: {', '.join([found.what, *size, *count])}"),
        shown,
        Text("next:"),
        *(Text(line, no_wrap=True) for line in lines),
    ]


_NEXT = (
    ("shapes", "every parameter and shape"),
    ("check", "whether {} or your code computes it"),
    ("trace", "every gate of every step"),
)


def document(found: About) -> dict[str, Any]:
    return {
        "format": "rnnspect.about",
        "version": 1,
        "path": found.path,
        "what": found.what,
        "bytes": found.bytes,
        "tensors": found.tensors,
        "modules": [dict(vars(one)) for one in found.modules],
    }
