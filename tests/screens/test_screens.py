"""What people see of each command, whole, on a narrow, a usual and a wide screen.

After a change that is meant, this writes the files anew, and `git diff` shows what people will see:

    GOLDEN=write pytest tests/screens

Digits that depend on the machine, such as those of a rounding error, are written as #, and torch has no version.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from rnnspect.cli import main
from tests.screens.screens import CHECK, SCREENS, WIDTHS

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
ANSWER_WITHIN = 8
"""Lines of a check within which its verdict stands."""
MESSAGES = "--- stderr"
"""The line above what goes to stderr, which the terminal wraps."""
_TINY = re.compile(r"\d(\.\d+)?e-(0[6-9]|1\d)\b")
_OF_A_DIFFERENCE = re.compile(r"(?<= ) *(0|-?\de-\d+)(?= |$)")
_RATIO = re.compile(r"(?<=the difference is )[\d.]+|(?<=difference: )0\b")
_LARGEST = re.compile(r"(?<=  Largest  error: ).*?(?=\n  [A-Z])", re.DOTALL)
_OF_A_ROW = re.compile(r"largest\s+error\s.*?and\s+more", re.DOTALL)
"""It wraps where its numbers say."""
_SENSITIVITY = re.compile(r"(?<=sensitivity: the smallest gate error this check would detect\n).*", re.DOTALL)
_RATIOS_OF_A_CHECK = re.compile(r"(?<=gate errors of )\S+|\S+(?= ×)|\S+(?= % of the allowed)")
_VERSION = re.compile(r"\b(torch(?:\.nn|-cell)?) \d[\w.+]*")

Shown = Callable[[str, int], str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shown:
    """Runs one command in a folder with the repository's specs and examples: stdout, then stderr."""
    for name in ("configs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)

    def run(command: str, width: int) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        main(shlex.split(command))
        out, err = capsys.readouterr()
        return masked(out + (f"{MESSAGES}\n{err}" if err else ""))

    return run


def masked(text: str) -> str:
    text = _OF_A_ROW.sub("#", _LARGEST.sub("#", text))
    text = _SENSITIVITY.sub(lambda found: re.sub(r"\d", "#", found[0]), text)
    return "".join(map(_masked_line, text.splitlines(keepends=True)))


def _masked_line(line: str) -> str:
    """A rounding error may be another, or none, on another machine; the width of its column stays."""
    if line.lstrip().startswith("difference "):
        line = _OF_A_DIFFERENCE.sub(lambda found: "#".rjust(len(found[0])), line)
    line = _TINY.sub(lambda found: re.sub(r"\d", "#", found[0]), line)
    line = _RATIO.sub("#", line)
    line = _RATIOS_OF_A_CHECK.sub(lambda found: re.sub(r"[\d.,e-]+", "#", found[0]), line)
    return _VERSION.sub(r"\1 #", line)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_it_was(name: str, width: int, shown: Shown) -> None:
    path, now = GOLDEN / f"{name}.{width}.txt", shown(SCREENS[name], width)
    if os.environ.get("GOLDEN") == "write":
        path.write_text(now, encoding="utf-8")
    assert now == path.read_text(encoding="utf-8")


def test_every_file_is_a_screen() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.{width}.txt" for name in SCREENS for width in WIDTHS}


@functools.cache
def golden(name: str, width: int) -> list[str]:
    """The lines of the result, without the messages."""
    return (GOLDEN / f"{name}.{width}.txt").read_text(encoding="utf-8").partition(MESSAGES)[0].splitlines()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_no_line_is_wider_than_the_screen(name: str, width: int) -> None:
    assert [line for line in golden(name, width) if cell_len(line) > width] == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", CHECK)
def test_a_check_answers_first(name: str, width: int) -> None:
    first = "\n".join(golden(name, width)[:ANSWER_WITHIN]).lower()
    assert any(verdict in first for verdict in ("agree", "differ", "cannot tell"))
