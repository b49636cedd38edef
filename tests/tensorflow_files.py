"""Small files that TensorFlow wrote, out of `weights/readers/tensorflow/files.zip`; `make.py` beside it made them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

ARCHIVE = Path(__file__).parent / "weights" / "readers" / "tensorflow" / "files.zip"


def unpacked(folder: Path, *names: str) -> Path:
    """The folder, with the members of these names or below them."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        every = archive.namelist()
        for name in names:
            members = [member for member in every if member == name or member.startswith(f"{name}/")]
            assert members, name
            archive.extractall(folder, members)
    return folder


def drawn(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    """What `make.py` put into a model's variables, in the order in which they were made."""
    draw = np.random.default_rng(1)
    return [draw.normal(size=shape).astype("float32") / 2 for shape in shapes]


def names_in() -> list[str]:
    """Every member of the archive."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        return archive.namelist()
