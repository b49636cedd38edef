"""JSON as text, in pieces: no call of json takes so long that a Ctrl-C is not heard, and nothing in it is obeyed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rnnspect.views.text import is_hidden, printable

Hidden = Callable[[str], str]

TOGETHER = 1 << 16
"""Numbers that are handed to json, or to Python, in one call."""


def escaped(char: str) -> str:
    """A character as JSON can write any: who reads it gets the same."""
    return f"\\u{ord(char):04x}" if char <= "\uffff" else json.dumps(char)[1:-1]


def written_out(char: str) -> str:
    """A character as the text that stands for it: who reads it, to show it on a page, gets that text."""
    return json.dumps(printable(char))[1:-1]


def pieces(value: Any, hidden: Hidden = escaped) -> Iterator[str]:
    """The text of a value. `hidden` says how characters are written that are invisible, and may be obeyed. Raises
    `ValueError` for numbers that are not finite."""
    if isinstance(value, dict) and value:
        for at, (name, one) in enumerate(value.items()):
            yield f"{', ' if at else '{'}{_dumped(name, hidden)}: "
            yield from pieces(one, hidden)
        yield "}"
    elif isinstance(value, list | tuple) and value:
        for at, part in enumerate(_parts(value, hidden)):
            yield ", " if at else "["
            yield from part
        yield "]"
    else:
        yield _dumped(value, hidden)


def _parts(values: list[Any] | tuple[Any, ...], hidden: Hidden) -> Iterator[Iterable[str]]:
    """The text of the elements: of numbers, and of rows of numbers, many together."""
    inside = values[0] if isinstance(values[0], list | tuple) else ()
    if isinstance(values[0], dict) or any(isinstance(one, list | tuple | dict) for one in inside[:1]):
        yield from (pieces(one, hidden) for one in values)
        return
    step = max(1, TOGETHER // max(1, len(inside)))
    for at in range(0, len(values), step):
        yield (_dumped(values[at : at + step], hidden)[1:-1],)


def finite(value: Any) -> Any:
    """The same with the strings "NaN", "Infinity" and "-Infinity" for numbers that are not finite."""
    match value:
        case dict():
            return {name: finite(one) for name, one in value.items()}
        case list() | tuple():
            return [finite(one) for one in value]
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _dumped(value: Any, hidden: Hidden) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(hidden(char) if is_hidden(char) else char for char in text)
