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
    assert titles == ["layer 1, reverse", "layer 2, reverse"]


def test_another_item_of_a_packed_batch_ends_at_its_length(rnnspect):
    out = rnnspect("trace", "configs/packed.yaml", "--batch-index", "2", "--direction", "forward").out
    assert "batch item 2 of 3, 2 steps long" in out
    assert re.findall(r"^ +(\d+)  x ", out, re.MULTILINE) == ["0", "1"]


def test_a_plain_terminal_gets_plain_characters(rnnspect):
    """What stdout cannot encode gives way; nothing fails."""
    from rnnspect.cli.output import _speakable

    text = rnnspect("trace").out
    assert _speakable(text, "utf-8") == text
    plain = _speakable(text, "ascii")
    assert plain.isascii()
    assert "-0.3520" in plain


def test_colour_only_where_there_is_a_terminal(monkeypatch):
    from rnnspect import Spec, shapes
    from rnnspect.views.rendering import Screen
    from rnnspect.views.shapes import as_table

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in as_table(shapes(Spec()), Screen(terminal=True, width=80))
    assert "\x1b[" not in as_table(shapes(Spec()), Screen(terminal=False, width=80))
