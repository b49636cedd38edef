"""DyNet's files of parameters, which are text (dynet io.cc, TextFileSaver): for each a line
`#Parameter# NAME {ROWS,COLUMNS} BYTES ZERO_GRAD`, then so many bytes of numbers, column by column."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from rnnspect.errors import FileError
from rnnspect.files import free_memory
from rnnspect.files.reading import Stored, Tensors, opened

if TYPE_CHECKING:
    from torch import Tensor

BEGINS = b"#Parameter# ", b"#LookupParameter# "
MOST = 100_000
MAX_LINE = 4096
_LINE = re.compile(rb"#(?:Lookup)?Parameter# (\S+) \{(\d{1,9}(?:,\d{1,9}){0,7})\} (\d{1,15}) (ZERO|FULL)_GRAD\n")
_LEAST = 2
"""The least number of bytes that a number takes."""


def tensors(path: Path) -> Tensors:
    """Every parameter by its name, such as /lstm/_0. Raises `FileError` for a file that is broken."""
    stored: dict[str, Stored] = {}
    places: dict[str, tuple[int, int]] = {}
    where = str(path)
    with opened(path) as part:
        at = 0
        while at < part.size:
            part.file.seek(at)
            match = _LINE.match(part.file.read(MAX_LINE))
            if match is None or len(stored) >= MOST:
                raise FileError("not a DyNet file, or damaged", where=where)
            name, shape = match[1].decode(errors="replace"), tuple(map(int, match[2].split(b",")))
            start, size = at + match.end(), int(match[3])
            at = start + size * (2 if match[4] == b"FULL" else 1)
            if at > part.size or math.prod(shape) * _LEAST > size or name in stored:
                raise FileError(f"the file is damaged: it has too few bytes for {name}", where=where)
            stored[name], places[name] = Stored(shape, "float32"), (start, size)
    return Tensors(stored, lambda names: _read(path, stored, places, names))


def _read(
    path: Path, stored: dict[str, Stored], places: dict[str, tuple[int, int]], names: Collection[str]
) -> dict[str, Tensor]:
    import numpy as np
    import torch

    found = {}
    with opened(path) as part:
        for name in names:
            start, size = places[name]
            free_memory.require(40 * size, "reading this file", str(path))
            part.file.seek(start)
            try:
                numbers = list(map(float, part.file.read(size).split()))
                with np.errstate(over="ignore"):  # a number beyond float32 is infinite in it
                    values = np.array(numbers).astype(np.float32)
                values = values.reshape(stored[name].shape, order="F")
            except ValueError:
                raise FileError(
                    "the file is damaged: numbers are missing or unreadable", where=f"{path}:{name}"
                ) from None
            found[name] = torch.from_numpy(np.ascontiguousarray(values))
    return found
