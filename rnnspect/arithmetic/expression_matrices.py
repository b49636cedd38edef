"""What cannot be shown as arithmetic yet: a cell state of several blocks, and matrices."""

from __future__ import annotations

from typing import Any, NoReturn

from rnnspect.errors import InputError


class RecorderMatrices:
    """What `Recorder` has for matrices: the reason why it has nothing."""

    def _refuse(self, *_values: Any) -> NoReturn:
        raise InputError(
            "this cell cannot be shown as arithmetic yet: it has matrices or blocks in its cell state, or no weight_ih",
            advice="use run, trace or check",
        )

    blocks = packed = placed = outer = by_key = by_value = spread = summed = delta = carry_complex = _refuse
