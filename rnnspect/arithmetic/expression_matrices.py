"""What cannot be shown as arithmetic yet: a cell state of several blocks, and matrices."""

from __future__ import annotations

from typing import Any, NoReturn

from rnnspect.errors import InputError


class RecorderMatrices:
    """What `Recorder` has for matrices: the reason why it has nothing."""

    def _refuse(self, *_values: Any) -> NoReturn:
        of = "a cell with matrices or blocks in its cell state, or without weight_ih"
        raise InputError(
            f"of {of}, no number is shown as arithmetic yet", advice="run, trace and check show its numbers"
        )

    blocks = packed = placed = outer = by_key = by_value = spread = summed = delta = carry_complex = _refuse
