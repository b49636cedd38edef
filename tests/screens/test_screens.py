"""What people see of each command, whole, on a narrow, a usual and a wide screen.

After a change that is meant, this writes the files anew, and `git diff` shows what people will see:

    GOLDEN=write pytest tests/screens -m ''

Digits that depend on the machine, such as those of a rounding error, are written as #, and torch has no version.
"""

from __future__ import annotations

import functools
import os
import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.text import Text

from rnnspect.cli import main
from rnnspect.views.rendering import Screen, encodable, rendered
from rnnspect.views.text import LOUD
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
_RATIOS_OF_A_CHECK = re.compile(
    r"(?<=gate errors of )\S+|\d[\d.,]*(?= ×)|\d[\d.]*(?= % of the allowed)|(?<=10\^)[\d,]+"
    r"|\b(\d+)(?= of (?!\1 )\d+ values wrong)"
)
_OF_A_RUN = re.compile(r"(?<=agree  |iffer  )[ \d.,e+]+(?= [%×])")
_VERSION = re.compile(r"\b(torch(?:\.nn|-cell)?) \d[\w.+]*")

Shown = Callable[[str, int], str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shown:
    """Runs one command in a folder with the repository's specs and examples: stdout, then stderr."""
    for name in ("configs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)

    def run(command: str, width: int) -> str:
        if "model.pt" in command:
            runpy.run_path("examples/stale.py")
        monkeypatch.setenv("COLUMNS", str(width))
        main(shlex.split(command))
        out, err = capsys.readouterr()
        return out + (f"{MESSAGES}\n{err}" if err else "")

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
    line = _OF_A_RUN.sub(lambda found: "#".rjust(len(found[0])), line)
    line = _RATIOS_OF_A_CHECK.sub(lambda found: re.sub(r"[\d.,e-]+", "#", found[0]), line)
    return _VERSION.sub(r"\1 #", line)


@pytest.mark.parametrize("width", [WIDTHS[0], *(pytest.param(one, marks=pytest.mark.slow) for one in WIDTHS[1:])])
@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_is_as_it_was(name: str, width: int, shown: Shown) -> None:
    path, now = GOLDEN / f"{name}.{width}.txt", masked(shown(SCREENS[name], width))
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


COLOURED = ("help", "help-trace", "shapes-live", "trace", "trace-large", "derive", "layouts-keras", "convert")
_SGR = re.compile(r"\x1b\[([\d;]*)m")
READABLE = {"0", "1", "2", "31", "32", "35", "36"}
"""Reset, bold, dim, red, green, magenta and cyan: they can be read on white and on black. Yellow, white, black and the
bright colours cannot."""
COLOURS = READABLE - {"0", "1", "2"}


@pytest.mark.each_value_once
@pytest.mark.parametrize("no_colour", [False, True], ids=["in colour", "NO_COLOR"])
@pytest.mark.parametrize("name", COLOURED)
def test_colours_change_no_text_and_can_be_read_on_white_and_on_black(
    name: str, no_colour: bool, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLORTERM", raising=False)
    monkeypatch.setenv("NO_COLOR", "1") if no_colour else monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = shown(SCREENS[name], 80)
    codes = {code for found in _SGR.findall(coloured) for code in found.split(";")}
    assert codes <= READABLE
    assert not (codes & COLOURS and no_colour)
    plain = [line.rstrip() for line in masked(_SGR.sub("", coloured)).splitlines()]
    assert plain == (GOLDEN / f"{name}.80.txt").read_text(encoding="utf-8").splitlines()


def test_what_is_loud_can_be_read_on_white_and_on_black(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    written = rendered([Text("3e-02", LOUD)], Screen(terminal=True, width=80))
    codes = {code for found in _SGR.findall(written) for code in found.split(";")}
    assert "1" in codes
    assert codes <= READABLE


@pytest.mark.parametrize("name", ["trace", "trace-large", "shapes", "derive", "layouts", "init"])
def test_a_plain_terminal_gets_plain_characters(name: str) -> None:
    """Nothing is lost but the form of a character where the encoding has no others, and no line becomes an escape."""
    lines = "\n".join(golden(name, 80))
    assert "\\" not in encodable(lines, "ascii")
    assert encodable(lines, "ascii").isascii()
