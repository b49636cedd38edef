"""What was recorded elsewhere, from the file of --recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rnnspect.errors import InputError
from rnnspect.files.sources import parse_file

if TYPE_CHECKING:
    from rnnspect.checking.recording import HowRecorded
    from rnnspect.judging.rounding import Rounding


def read_recorded(recorded: str, rounding: Rounding | None) -> tuple[Any, HowRecorded]:
    """What the file of --recorded holds of a run, and how it was recorded: rounded so, if somebody says it."""
    from rnnspect.checking.recording import HowRecorded
    from rnnspect.files.arrays import read_recording

    file = parse_file(recorded)
    try:
        given = read_recording(file.path, file.member)
    except InputError as error:
        places = (replace(one, where=f"--recorded {one.where or recorded}") for one in error.problems)
        raise type(error)(places) from None
    named = isinstance(given, dict)
    return given, HowRecorded(lambda name: f"--recorded {file.path}" + (f":{name}" if name and named else ""), rounding)
