"""What a person sees."""

from __future__ import annotations

import re

import pytest

LSTM = ("trace", "--cell", "lstm", "--hidden-size", "40", "--input", "randn:30")


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("command", [LSTM, ("run", *LSTM[1:]), ("shapes", *LSTM[1:]), ("trace",)])
def test_no_line_is_wider_than_the_terminal(rnnspect, monkeypatch, columns, command):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = rnnspect(*command).out.splitlines()
    assert max(map(len, lines)) <= columns


def test_a_wider_terminal_shows_more_units(rnnspect, monkeypatch):
    counts = []
    for columns in (80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        counts.append(len(re.findall(r"\[\d+\]", rnnspect(*LSTM).out)))
    assert 0 < counts[0] < counts[1]


def test_what_is_left_out_is_said(rnnspect):
    out = rnnspect(*LSTM).out
    units = len(re.findall(r"\[\d+\]", out))
    assert f"+{40 - units}: " in out
    assert "5 to 24 left out" in out
    assert re.search(r"^ +29  x ", out, re.MULTILINE)


def test_steps_units_and_quantities_are_chosen(rnnspect):
    out = rnnspect(*LSTM, "--steps", "0:2,7,-1", "--units", "38:", "--quantities", "f,h").out
    assert re.findall(r"^ +(\d+)  f ", out, re.MULTILINE) == ["0", "1", "7", "29"]
    assert re.findall(r"\[\d+\]", out) == ["[38]", "[39]"]
    assert "input_projection" not in out
    assert "h (torch)" in out


def test_layers_and_directions_are_chosen(rnnspect):
    argv = ("trace", "--num-layers", "3", "--bidirectional")
    titles = re.findall(r"^layer .*$", rnnspect(*argv, "--layers", "1:", "--direction", "reverse").out, re.MULTILINE)
    assert [title.partition(" (")[0] for title in titles] == ["layer 1, reverse", "layer 2, reverse"]


def test_another_item_of_a_packed_batch_ends_at_its_length(rnnspect):
    out = rnnspect("trace", "configs/packed.yaml", "--batch-index", "2", "--direction", "forward").out
    assert "batch item 2 of 3, 2 steps long" in out
    assert re.findall(r"^ +(\d+)  x ", out, re.MULTILINE) == ["0", "1"]
    assert "2 on: padding" in out


def test_a_plain_terminal_gets_plain_characters(rnnspect):
    """What stdout cannot encode gives way; nothing fails."""
    from rnnspect.cli.output import _encodable

    text = rnnspect("trace").out
    assert _encodable(text, "utf-8") == text
    plain = _encodable(text, "ascii")
    assert plain.isascii()
    assert "-0.3520" in plain


def test_colour_only_where_there_is_a_terminal(monkeypatch):
    from rnnspect import Spec, shapes
    from rnnspect.views.rendering import Screen, rendered
    from rnnspect.views.shapes import parts

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in rendered(parts(shapes(Spec())), Screen(terminal=True, width=80))
    assert "\x1b[" not in rendered(parts(shapes(Spec())), Screen(terminal=False, width=80))


def test_the_equations_stand_above_the_numbers(rnnspect):
    from rnnspect.cells import CELLS

    for cell in CELLS.values():
        assert len(cell.equations) >= len(cell.gates)
        out = rnnspect("trace", "--cell", cell.name).out
        assert all(line in out for line in cell.equations)


def test_the_state_that_a_run_starts_from_is_shown(rnnspect):
    out = rnnspect("trace", "configs/by-hand.yaml", "--steps", "0").out
    assert re.search(r"start +h0 +10\.0000", out)
    backwards = rnnspect("trace", "--bidirectional", "--h0", "ones", "--direction", "reverse").out
    assert backwards.index(" 2  x ") < backwards.index("start")
