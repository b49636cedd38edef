"""The errors that rnnspect raises. Each knows its exit status; nothing here prints."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

MOST_FOUND, MOST_ALLOWED, MOST_WHERE = 240, 400, 300
"""Characters of each part of a problem that a message shows: they may come from a damaged file."""
_LONG = 160
"""Characters of a list of names that is left out where the one that is meant is named."""
_WORD = 25
"""A longer word is cut."""
_ALIKE = 0.62
"""How alike a name and the one that is meant are at least, so that "gur" and "gru" are, "nope" and "miopen" not."""
KeyPath = tuple[int | str, ...]
"""The keys that lead to a value of a spec, such as ("head", "out_features") or ("lengths", 2)."""
Where = Callable[[KeyPath], str]
"""What an error message calls the place of a value, such as "net.yaml:7:9"."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, as one line of text."""

    found: str
    """What was found, such as "unknown cell 'grru'"."""
    allowed: str | None = None
    """What is allowed instead; it follows "expected": "rnn, gru, lstm"."""
    nearest: str | None = None
    """The allowed name that is most like the one found."""
    where: str | None = None
    """The file, its line, or the option."""
    advice: str | None = None
    """What to do next, as an instruction: "pass --dtype float32"."""

    def __str__(self) -> str:
        found = clipped(self.found, MOST_FOUND)
        text = f"{in_one_line(self.where)}: {found}" if self.where else found
        if self.allowed and not (self.nearest and len(self.allowed) > _LONG):
            text += f"; expected {clipped(self.allowed, MOST_ALLOWED)}"
        if self.nearest:
            text += f"; did you mean {clipped(self.nearest, MOST_FOUND)!r}?"
        if self.advice:
            text += f"; {clipped(self.advice, MOST_ALLOWED)}"
        return text


class RnnspectError(Exception):
    """Base class of all errors that rnnspect raises on purpose: one problem, or several found at once."""

    exit_status = 2

    def __init__(
        self,
        found: str | Iterable[Problem],
        *,
        allowed: str | None = None,
        nearest: str | None = None,
        where: str | None = None,
        advice: str | None = None,
    ) -> None:
        if isinstance(found, str):
            self.problems: tuple[Problem, ...] = (Problem(found, allowed, nearest, where, advice),)
        else:
            self.problems = tuple(found)
        super().__init__("\n".join(map(str, self.problems)))

    @classmethod
    def unknown(cls, found: str, name: str, known: Iterable[str], where: str | None = None) -> Self:
        """The error for a name that is none of those known, with all of them and the nearest."""
        names = list(known)
        return cls(found, allowed=listed(names), nearest=nearest(name, names), where=where)


class InputError(RnnspectError):
    """An argument or a file cannot be used."""


class SpecError(InputError):
    """A spec is wrong: it does not describe a network."""


class WeightsError(InputError):
    """Parameters do not fit the spec."""


class SequenceError(InputError):
    """x, h0, c0 or lengths do not fit the spec or each other."""


class FileError(InputError):
    """A file is missing, damaged, unsafe to load, or cannot be written."""


class DeviceError(InputError):
    """This machine lacks the device, or the device cannot run the dtype."""


class EngineError(InputError):
    """An engine is not installed, or cannot run this network. With `--engine all` such an engine is skipped."""


class ResourceError(InputError):
    """The work needs more memory than is free."""


class PackageError(InputError, ImportError):
    """A package that is not installed, and that only some need."""


def clipped(text: str, most: int) -> str:
    """The text; of one with more than `most` characters its beginning and its end, in whole words where these are
    short."""
    if len(text) <= most:
        return text
    first, last = text[: most // 2], text[-(most // 2) :]
    if " " in first[-_WORD:] and text[len(first)] != " ":
        first = first[: first.rindex(" ")]
    if " " in last[:_WORD] and text[-len(last) - 1] != " ":
        last = last[last.index(" ") + 1 :]
    return f"{first} … {last}"


def in_one_line(text: str, most: int = MOST_WHERE) -> str:
    """A name from a file as messages show it: it cannot begin a line of its own, and is clipped."""
    return clipped(text, most).replace("\r", "\\r").replace("\n", "\\n")


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """The choice that is most likely meant by a misspelled word, or None."""
    by_fold = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(word.casefold(), by_fold, n=1, cutoff=_ALIKE)
    return by_fold[close[0]] if close else None


def listed(names: Iterable[str], most: int | None = None) -> str:
    """The names with commas between them; of more than `most` the first ones, and how many more there are."""
    every = list(names)
    more = 0 if most is None else len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")


def written(value: object) -> str:
    """The value of a key, as a spec writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def unavailable(error: ImportError) -> str:
    """Which package is not installed, or fails as it is imported. Raises the error itself where it is one of ours."""
    if (error.name or "").startswith("rnnspect"):
        raise error
    return f"{error.name} is not installed" if isinstance(error, ModuleNotFoundError) else f"it fails with {error}"


@contextmanager
def from_extra(what: str, extra: str) -> Iterator[None]:
    """Where a package cannot be imported that `what` needs, raises `PackageError`, which says how to install it."""
    try:
        yield
    except ImportError as error:
        raise PackageError(f"{what}: {unavailable(error)}; pip install 'rnnspect[{extra}]'") from error
