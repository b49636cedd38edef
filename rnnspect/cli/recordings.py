"""What somebody's implementation gave, from the file that --recorded names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnnspect.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


def read_recorded(recorded: str) -> tuple[Any, Callable[[str | None], str]]:
    """What a file holds of a run, and how an array of it is called where something is wrong with it."""
    from rnnspect.files.arrays import read_recording
    from rnnspect.files.sources import parse_file

    file = parse_file(recorded)
    try:
        given = read_recording(file.path, file.member)
    except InputError as error:
        places = (replace(one, where=f"--recorded {one.where or recorded}") for one in error.problems)
        raise type(error)(places) from None
    named = isinstance(given, dict)
    return given, lambda name: f"--recorded {file.path}" + (f":{name}" if name and named else "")
