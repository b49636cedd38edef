"""Parses how x, h0 and c0 are given: a generator, a file, one array of an archive, standard input, or the numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

GENERATORS = ("ramp", "ones", "zeros", "randn", "impulse", "sine")
SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".json", ".pt", ".pth", ".safetensors")
_MEMBER = re.compile(r"(.+\.(?:npz|pt|pth|safetensors|onnx|keras|h5|hdf5)):(.*)", re.DOTALL)
RANDINT = "randint:20:5000"
"""How integers are drawn: here 20 of them, from 0 to 4999."""
FORMS = (
    "a generator ("
    + ", ".join(f"{name}:N" for name in GENERATORS)
    + ", randint:N:BELOW), a file, - or the numbers as [[…], …]"
)
EXAMPLES = {name: f"{name}:3" for name in GENERATORS} | {"randint": RANDINT}
"""By the name of a generator an example of it."""
_GENERATOR = re.compile(rf"({'|'.join(GENERATORS)}|randint)(?::(\d{{1,30}}))?(?::(\d{{1,18}}))?")


@dataclass(frozen=True)
class Generator:
    kind: str
    count: int | None = None
    below: int | None = None
    """For randint: the integers are below this."""

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.kind, self.count, self.below) if part is not None)


@dataclass(frozen=True)
class File:
    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else str(self.path)


@dataclass(frozen=True)
class StandardInput:
    def __str__(self) -> str:
        return "standard input"


@dataclass(frozen=True)
class Literal:
    numbers: str
    """As text, in JSON."""


ParsedSource = Generator | File | StandardInput | Literal


def parse(source: str) -> ParsedSource:
    """What a source means; whether a file is there is seen when it is read."""
    text = source.strip()
    if text.startswith("["):
        return Literal(text)
    if text == "-":
        return StandardInput()
    if (match := _GENERATOR.fullmatch(text)) and (match[3] is None or match[1] == "randint"):
        return Generator(match[1], int(match[2]) if match[2] else None, int(match[3]) if match[3] else None)
    return parse_file(source)


def generator_in(given: object) -> Generator | None:
    """What "randn:100" says; None for anything that is no generator."""
    source = parse(given) if isinstance(given, str) else None
    return source if isinstance(source, Generator) else None


def parse_file(text: str) -> File:
    """A path; after a colon the name of the array or module that is meant in that file."""
    if is_there(Path(text)):
        return File(Path(text))
    for colon in reversed([at for at, letter in enumerate(text) if letter == ":" and at]):
        if is_there(Path(text[:colon])):
            return File(Path(text[:colon]), text[colon + 1 :])
    match = _MEMBER.fullmatch(text)
    return File(Path(match[1]), match[2]) if match else File(Path(text))


def is_there(path: Path) -> bool:
    """Whether there is a file; a name that no file can have is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def relative_to(folder: Path, source: str) -> str:
    """The same source, with a file's path counted from `folder` instead of the working directory."""
    return str(folder / source) if isinstance(parse(source), File) else source
