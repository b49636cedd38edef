"""How a result shows itself in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def _as_repr(result: object) -> dict[str, str]:
    return {"text/plain": repr(result)}


forms: Callable[[Any], dict[str, str]] = _as_repr
"""Gives the forms of a result by MIME type. `rnnspect.api`, which stands above the views, puts theirs here."""


class Shown:
    """A result that shows itself where it is the last line of a notebook's cell."""

    def _repr_mimebundle_(self, **_chosen: Any) -> dict[str, str]:
        """Static HTML without scripts, and the same as text, both cut as the terminal's tables are.

        Without the text, IPython would keep the repr in the notebook's file: every number of a run.
        """
        return forms(self)

    def _repr_html_(self) -> str | None:
        """The HTML alone, for what asks for nothing else."""
        return forms(self).get("text/html")
