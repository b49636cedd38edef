"""Why parameters do not show in some steps, and what would show them."""

from __future__ import annotations

from torch import Tensor

from rnnspect.errors import listed
from rnnspect.judging.chunks import Chunk
from rnnspect.judging.evidence.suspects import distinct

_NAMED = 4


def why_hidden(chunk: Chunk, needed: int, alike: bool) -> str:
    """`needed` is how many steps it takes; `alike` says that other parameters may give the same h, whatever x is."""
    differ = len(distinct(chunk))
    if differ < needed:
        return f"only {differ} of these steps differ from all before them; it takes {needed}, of a random x for example"
    still = [f"feature {at} of x" for at in _still(chunk, chunk.x)]
    still += [f"unit {at} of h" for at in _still(chunk, chunk.before)]
    if still:
        verb = "is" if len(still) == 1 else "are"
        return f"{listed(still, _NAMED)} {verb} the same at every step, which hides what is multiplied with it"
    if alike:
        return "other weights give the same h, whatever x is"
    return "gates are saturated, or x and h move together; a random x, or one of another size, may show more"


def _still(chunk: Chunk, values: Tensor) -> list[int]:
    """Which columns are one number at all steps, but the first of an item, before which there is an initial state."""
    rows = values[1:][chunk.inside[1:]]
    return (rows == rows[:1]).all(0).nonzero().flatten().tolist() if len(rows) else []
