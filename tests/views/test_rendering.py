"""`-o picture.svg` and `--format svg`: what the terminal shows, as a picture that stands alone."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree

import pytest
import torch
from rich.text import Text

from rnnspect.cli import main
from rnnspect.views.rendering import Screen, beside, rendered, table
from rnnspect.views.text import is_hidden

SVG = "{http://www.w3.org/2000/svg}"


def lines_of(picture):
    """The title, then the lines of the picture from top to bottom, without the spaces, which are places in it."""
    rows = {}
    for text in ElementTree.fromstring(picture).iter(f"{SVG}text"):
        rows.setdefault(float(text.get("y")), []).append(text.text)
    title, *lines = ("".join(row).replace("\xa0", " ") for row in rows.values())
    return title, shown("\n".join(lines))


def shown(text):
    lines = (line.replace(" ", "") for line in text.splitlines())
    return [line for line in lines if line]


COMMANDS = {
    "a trace": ["trace", "--cell", "lstm", "--hidden-size", "9"],
    "a check": ["check", "configs/lstm.yaml", "-q"],
    "several sources": ["check", "configs/lstm.yaml", "configs/gru.yaml", "no/such/file/of/a/name/that/is/long.yaml"],
}


@pytest.mark.parametrize("argv", COMMANDS.values(), ids=COMMANDS)
def test_a_picture_says_all_that_the_table_says(rnnspect, argv, tmp_path):
    table = rnnspect(*argv)
    path = tmp_path / "my picture.svg"
    assert rnnspect(*argv, "-o", path).status == table.status
    title, lines = lines_of(path.read_text())
    assert lines == shown(table.out)
    assert title == f"rnnspect {' '.join(argv)} -o '{path}'"
    printed = rnnspect(*argv, "--format", "svg")
    assert lines_of(printed.out)[1] == lines


def test_no_line_is_cut_off(rnnspect):
    picture = rnnspect(*COMMANDS["several sources"], "--format", "svg").out
    width = float(ElementTree.fromstring(picture).get("viewBox").split()[2])
    ends = [
        float(t.get("x")) + float(t.get("textLength", 0)) for t in ElementTree.fromstring(picture).iter(f"{SVG}text")
    ]
    assert max(ends) < width


def test_a_picture_is_in_colour_and_asks_nobody_for_anything(rnnspect, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    picture = rnnspect("check", "configs/gru.yaml", "--engine", "examples/mine.py:step", "--format", "svg").out
    assert len(set(re.findall(r"fill: (#\w+)", picture))) > 1
    outside = re.findall(
        r"""url\((?!#)|@import|(?:href|src)\s*=|<(?:image|script|foreignObject)|https?://(?!www.w3.org/2000/svg")""",
        picture,
    )
    assert outside == []


@pytest.mark.parametrize("name", ["</text><script>", "&amp;", "]]>", "\x1b[31m", "\u202e", "\ufffe", '"'])
def test_a_name_is_text_in_a_picture(rnnspect, name, tmp_path):
    result = rnnspect("check", "configs/by-hand.yaml", f"{name}.yaml", "--format", "svg")
    title, lines = lines_of(result.out)
    assert result.status == 2
    assert {element.tag for element in ElementTree.fromstring(result.out).iter()}.isdisjoint({f"{SVG}script"})
    if name.isascii() and name.isprintable():
        assert name in title
        assert any(name in line for line in lines)


HIDDEN = "\x1b]0;title\x07\x1b[2J\x1b[31m\u202e\r"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("picture", [None, "a title"])
def test_a_terminal_obeys_nothing_of_what_it_shows(terminal: bool, picture: str | None):
    """Colours are a terminal's own; what is shown may be a name out of a file."""
    name = f"enc{HIDDEN}oder"
    parts = [Text(name, style="bold"), table(name, rows=[[name, Text(name)]]), beside(Text(name), Text(name)), name]
    out = rendered(parts, Screen(terminal=terminal, width=200, picture=picture))
    of_rich = re.sub(r"\x1b\[[\d;]*m", "", out)
    assert (of_rich != out) == (terminal and picture is None)
    assert of_rich.count("enc\\x1b]0;title") == 7
    assert not any(is_hidden(char) for char in of_rich if char != "\n")
    assert "\x1b[31m" not in out


def test_a_terminal_obeys_no_name_of_a_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    state = {f"{name}{HIDDEN}.{key}": w for name in "ab" for key, w in torch.nn.LSTM(3, 4).state_dict().items()}
    torch.save(state, tmp_path / "m.pt")
    for verb in ("about", "shapes", "check"):
        assert main([verb, str(tmp_path / "m.pt")]) == 0
        out = capsys.readouterr().out
        assert "\\x1b]0;title" in out
        assert not any(is_hidden(char) for char in re.sub(r"\x1b\[[\d;]*m", "", out) if char != "\n")
        assert "\x1b[31m" not in out


def test_other_commands_say_what_they_write(rnnspect, tmp_path):
    result = rnnspect("shapes", "-o", tmp_path / "shapes.svg")
    assert result.status == 2
    assert "cannot write .svg" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("width", [12, 20, 26, 40, 80])
def test_a_number_is_whole_or_not_there(width: int) -> None:
    """What is left of one that is cut off is another number: 1.138… of 1.138e-07."""
    shown = table("name", ">product", ">count", rows=[("weight_ih_l0", "1.1380191981592519e-07", Text("20000"))])
    text = rendered([shown], Screen(width=width))
    assert "20000" in text or "200" not in text
    assert "1.1380191981592519e-07" in text or "1.1" not in text
    assert ("…" in text) == (width <= 40)


def test_where_not_even_one_unit_fits_beside_bars_they_are_left_out(rnnspect, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = rnnspect("trace", "--cell", "lstm", "--input", "[[12345.678,1,-98765.4,0,0]]").out
    assert "12345.6" in shown
    assert "|value|" not in shown, "nor are they told of"


def test_a_width_of_nothing_is_one_of_80(rnnspect, monkeypatch):
    argv = ("trace", "--backward", "--cell", "lstm", "--hidden-size", "20", "--input", "randn:50")
    monkeypatch.delenv("COLUMNS", raising=False)
    usual = rnnspect(*argv)
    monkeypatch.setenv("COLUMNS", "0")
    assert rnnspect(*argv) == usual
