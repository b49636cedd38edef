"""What `convert` writes of a network beside its arrays, where a format has room for it, so that the file is read back
as the same network: keys of a spec as JSON, under one name."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from rnnspect.errors import FileError

if TYPE_CHECKING:
    from rnnspect.network.spec import Spec

NAME = "rnnspect"
"""What files call it among their metadata."""
MOST = 10_000
"""Characters; more is not read."""


def written(spec: Spec, keys: Collection[str]) -> str:
    """These keys of a spec, those that have a value."""
    return json.dumps({key: value for key in keys if (value := getattr(spec, key)) is not None})


def read(text: str | None, keys: Collection[str], where: str) -> dict[str, Any]:
    """The keys that a file says of these, not validated yet; none where it says nothing.

    Raises `FileError` for a text that `written` does not give.
    """
    if text is None:
        return {}
    try:
        said = json.loads(text) if len(text) <= MOST else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise FileError(f"the file's metadata {NAME!r} is damaged", allowed="a JSON object", where=where)
    return {key: value for key, value in said.items() if key in keys}
