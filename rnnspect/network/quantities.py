"""The quantities of a run by the words that people say for them: forget is f of an LSTM, update is z of a GRU."""

from __future__ import annotations

from collections.abc import Collection

from rnnspect.errors import InputError, listed, nearest

PROJECTIONS = ("input_projection", "hidden_projection")
"""W_ih x + b_ih and W_hh h + b_hh, one block a gate."""
WORDS = {
    "i": ("input",),
    "f": ("forget",),
    "g": ("candidate", "cell_gate"),
    "o": ("output",),
    "r": ("reset",),
    "z": ("update",),
    "n": ("candidate", "new"),
    "c": ("cell",),
    "h": ("hidden", "output"),
    "x": ("input",),
}
"""By the name of a quantity other words for it. If several quantities of a cell have the same word, the first one is
meant."""


def known(said: str, there: Collection[str], cell: str, where: str, use: str = "") -> str:
    """The one of these quantities of a cell that a name means, in any case and with or without "gate" or "state" after
    it. Raises `InputError` for a name that means none; `use` says in it what for."""
    plain = said.strip().casefold().replace("-", "_").replace(" ", "_")
    for word in (plain, plain.removesuffix("_gate"), plain.removesuffix("_state")):
        for name in (word, *(name for name, words in WORDS.items() if word in words)):
            if name in there:
                return name
    words = [word for name in there for word in WORDS.get(name, ())]
    near = nearest(said, [*there, *words])
    raise InputError(f"cell {cell} has no quantity {said!r}{use}", allowed=listed(there), nearest=near, where=where)
