"""One kind of file a module: which recurrent modules are in it, and the spec and the parameters of each.

`READERS` is the list of them. Everything that takes a file of weights asks here which reader it is for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from rnnspect.weights.readers.interface import Reader

READERS = {
    "checkpoint": (".pt", ".pth", ".safetensors", ".npz"),
    "onnx": (".onnx",),
    "keras": (".keras", ".h5", ".hdf5"),
}
"""By the name of a module here, the ends of the files that its `READER` reads."""
SUFFIXES = tuple(suffix for suffixes in READERS.values() for suffix in suffixes)


def kind_of(path: Path) -> str | None:
    """The key in `READERS` for a file of that name; None where no reader is for it. The file is not opened."""
    return next((kind for kind, suffixes in READERS.items() if path.suffix.lower() in suffixes), None)


def find(kind: str) -> Reader:
    """The reader of that key, imported now."""
    reader: Reader = importlib.import_module(f"{__name__}.{kind}").READER
    return reader
