"""A run that `trace -o` or `run -o` saved: the spec that is kept as text among its arrays. Loads neither numpy nor
torch."""

from __future__ import annotations

import json
import math
import zipfile
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError
from rnnspect.files.npy_header import BROKEN, check_packing, check_promise, parse_header
from rnnspect.files.reading import size_of, why

if TYPE_CHECKING:
    from pathlib import Path

_MEMBER = "spec.npy"
_LONGEST = 1 << 24
"""Bytes: a spec may hold its parameters as numbers."""


def saved_spec(path: Path) -> dict[str, Any] | None:
    """The keys of the spec in a .npz file, None where none is in it. Raises `FileError` for a broken one."""
    if path.suffix.lower() != ".npz":
        return None
    size_of(path)
    where = f"{path}:spec"
    try:
        with zipfile.ZipFile(path) as archive:
            check_packing(archive, str(path))
            if _MEMBER not in archive.namelist():
                return None
            info = archive.getinfo(_MEMBER)
            check_promise(info.file_size, _LONGEST, where)
            with archive.open(info) as member:
                header = parse_header(member, where)
                if header.descr is None or header.descr[1:2] != "U" or math.prod(header.shape) != 1:
                    return None
                text = member.read().decode("utf-32-be" if header.descr[0] == ">" else "utf-32-le").rstrip("\0")
    except BROKEN as error:
        raise FileError(f"not a .npz file: {why(error)}", where=str(path)) from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FileError("no spec, though it is called so", allowed="what rnnspect trace -o keeps", where=where)
    return found
