"""Things worth knowing beside a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnspect.cli.output import Output
    from rnnspect.network.sequence import Sequence


_ROWS = 1 << 16
"""Steps looked at together: a mapped file need not fit."""


def note_what_is_not_finite(sequence: Sequence, output: Output) -> None:
    """NaN and infinity are data; they are counted, so that nobody is surprised further up."""
    named = {"x": sequence.x, "h0": sequence.h0, "c0": sequence.c0}
    for name, values in named.items():
        if values is None:
            continue
        pieces = values.split(_ROWS)  # type: ignore[no-untyped-call]
        count = sum(int((~piece.isfinite()).sum()) for piece in pieces)
        if count:
            nan = sum(int(piece.isnan().sum()) for piece in pieces)
            output.note(f"warning: {name} has {count} of {values.numel()} numbers that are not finite ({nan} NaN)")
