"""What cannot be shown as arithmetic yet: a cell state of several blocks, and matrices."""

from __future__ import annotations

from typing import Any, NoReturn

from rnnspect.errors import InputError


class RecorderMatrices:
    """What `Recorder` has for matrices: the reason why it has nothing."""

    def _refuse(self, *_values: Any) -> NoReturn:
        found = "of a cell with blocks or matrices in its cell state no number is shown as arithmetic yet"
        raise InputError(found, advice="run, trace and check show its numbers")

    blocks = packed = placed = outer = by_key = by_value = spread = summed = delta = carry_complex = _refuse
