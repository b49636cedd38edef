"""How a result shows itself: printed, in one line, and in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from rnnspect.errors import clipped

MOST = 100
"""Characters of the line that stands for a result in a Python session or in a failed assertion."""


class Views(Protocol):
    """What draws the tables. `rnnspect.views.notebook` does."""

    def text(self, result: Any) -> str:
        """The table as plain text, as wide as the terminal."""
        ...

    def parts(self, result: Any, width: int) -> Iterable[Any]:
        """The table in rich's own pieces, for a width in characters."""
        ...

    def forms(self, result: Any) -> dict[str, str]:
        """What a notebook keeps, by MIME type."""
        ...


views: Callable[[], Views] | None = None
"""Loads the tables. `rnnspect.api`, which stands above the views, puts theirs here."""


class Shown:
    """A result that is printed as its table, and shows it where it is the last line of a notebook's cell."""

    def __str__(self) -> str:
        """The table of the command, without colours: as wide as the terminal, or 80 characters where there is none."""
        return views().text(self) if views else repr(self)

    def __rich_console__(self, _console: Any, options: Any) -> Iterable[Any]:
        """The same in colour, for `rich.print`."""
        return views().parts(self, options.max_width) if views else (repr(self),)

    def _repr_mimebundle_(self, **_chosen: Any) -> dict[str, str]:
        """Static HTML without scripts, and the same as text.

        Without the text, IPython would keep the repr in the notebook's file.
        """
        return views().forms(self) if views else {"text/plain": repr(self)}

    def _repr_html_(self) -> str | None:
        """The HTML alone, for what asks for nothing else."""
        return self._repr_mimebundle_().get("text/html")


def apart(one: float, other: float) -> tuple[str, str]:
    """Both numbers with as few digits, three or more, as tell them apart."""
    pairs = [(f"{one:.{digits}g}", f"{other:.{digits}g}") for digits in range(3, 18)]
    return next((pair for pair in pairs if pair[0] != pair[1]), pairs[-1])


def in_brief(result: object, said: str) -> str:
    """<Verdict agree: float32, 3 steps>: the kind of result and what it says, on one line of at most `MOST` characters.

    Names may come from files: what is no plain character is written out.
    """
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in said)
    kind = type(result).__name__
    room = MOST - len(kind) - len("< >")
    return f"<{kind} {plain if len(plain) <= room else clipped(plain, room - len(' … '))}>"


def counted(count: int, noun: str) -> str:
    """1 step, 1,000 steps."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
