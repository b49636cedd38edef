"""How a result reaches what is written above it: the view that a notebook shows it by, its arrays, its report."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def above(room: str) -> Any:
    """A room of rnnspect by its name, loaded when a result is asked for something that needs it.

    Views stand on results, and results import none: only their methods name one, as `rnnspect` names its own rooms.
    """
    return import_module(f"rnnspect.{room}")


class Shown:
    """A result that shows itself where it is the last line of a notebook's cell."""

    def _repr_html_(self) -> str:
        """Static HTML without scripts, cut as the terminal's tables are."""
        made: str = above("views.notebook").as_html(self)
        return made

    def _repr_mimebundle_(self, **_chosen: Any) -> dict[str, str]:
        """The same with the text that IPython prints in a terminal, and keeps beside the HTML in the notebook's file:
        left to itself it would keep every number of a run."""
        return {"text/plain": above("views.notebook").as_text(self), "text/html": self._repr_html_()}
