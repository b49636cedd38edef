"""One of the recurrent things that a file holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from rnnspect.errors import FileError, listed, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")


def choose(
    held: Mapping[str, T],
    name: str | None,
    where: str,
    kind: str,
    in_words: Callable[[T], str],
    how: str = "--module with",
) -> T:
    """The one of that name, or the only one. `kind` is what they are called, `how` how one is asked for.

    Raises `FileError` that lists every one with what it is.
    """
    if name is not None and name in held:
        return held[name]
    if name is None and len(held) == 1:
        return next(iter(held.values()))
    choices = listed(f"{known!r} {in_words(one)}" for known, one in held.items())
    if name is None:
        raise FileError(f"it holds {len(held)} recurrent {kind}s", allowed=f"{how} one of {choices}", where=where)
    raise FileError(f"no {kind} {name!r} is in it", allowed=choices, nearest=nearest(name, held), where=where)
