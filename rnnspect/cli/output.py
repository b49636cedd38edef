"""Where results and messages go: results to stdout or a file, everything else to stderr."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.errors import InputError, listed, nearest
from rnnspect.files import writing
from rnnspect.views.rendering import Screen
from rnnspect.views.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_SUFFIXES = {".json": "json", ".md": "markdown", ".xml": "junit", ".yaml": "yaml", ".yml": "yaml"} | {
    ".html": "html",
    ".htm": "html",
}
"""Which format a file's name asks for, where --format does not."""
_PLAIN = str.maketrans(
    {"─": "-", "━": "-", "·": ".", "×": "x", "…": "...", "−": "-", "▲": "^"}
    | dict(zip("▁▂▃▄▅▆▇█", "12345678", strict=True))
)


def say(message: str) -> None:
    """One message for a person, on stderr; control characters in it are written out."""
    lines = (printable(line) for line in message.split("\n"))
    print(_speakable("\n".join(lines), sys.stderr.encoding), file=sys.stderr)  # noqa: T201


@dataclass(frozen=True)
class Output:
    """What the user asked for: the format, the file, and whether to be quiet."""

    format: str | None
    path: Path | None
    quiet: bool

    def note(self, message: str) -> None:
        """Something worth knowing beside the result; not said with -q."""
        if not self.quiet:
            say(message)

    def check(self, formats: Collection[str], arrays: bool = False) -> None:
        """Raises for a format that the command has not, and for a file that cannot be written."""
        if self.format is not None and self.format not in formats:
            near = nearest(self.format, formats)
            found = f"no format is called {self.format!r}"
            raise InputError(found, allowed=listed(formats), nearest=near, where="--format")
        if self.path is None:
            return
        known = [suffix for suffix, name in _SUFFIXES.items() if name in formats] + [".txt"] + [".npz"] * arrays
        if (self._suffix and self._suffix not in known) or self.path == Path("-"):
            found = f"no result is written as {self._suffix or self.path}"
            raise InputError(found, allowed=listed(known), nearest=nearest(self._suffix, known), where="--output")
        writing.check_writable(self.path)

    def emit(
        self,
        formats: Mapping[str, Callable[[Screen], str]],
        arrays: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """The result in the chosen format, else the first: into the file, or on stdout.

        A .npz file keeps the arrays, beside what is shown.
        """
        default = next(iter(formats))
        if self.path is not None and self._is_arrays:
            assert arrays is not None
            writing.write_arrays(self.path, arrays())
            self.note(f"wrote {self.path}")
            if self.quiet and self.format is None:
                return
            self._show(formats[self.format or default])
        elif self.path is not None:
            chosen = self.format or _SUFFIXES.get(self._suffix, default)
            writing.write_text(self.path, formats[chosen](Screen()))
            self.note(f"wrote {self.path}")
        else:
            self._show(formats[self.format or default])

    @property
    def _is_arrays(self) -> bool:
        return self._suffix == ".npz"

    @property
    def _suffix(self) -> str:
        return "" if self.path is None else self.path.suffix.lower()

    def _show(self, render: Callable[[Screen], str]) -> None:
        sys.stdout.write(_speakable(render(Screen(terminal=sys.stdout.isatty())), sys.stdout.encoding))


def _speakable(text: str, encoding: str | None) -> str:
    """The same text in what the stream can say: drawn characters give way to plain ones, others to escapes."""
    name = encoding or "utf-8"
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(name, "backslashreplace").decode(name)
    return text
