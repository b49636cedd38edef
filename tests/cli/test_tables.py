"""What a person sees."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rnnspect import Spec

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
        counts.append(len(re.findall(r"\[\d+\]", rnnspect(*LSTM, "--steps", "0").out)))
    assert 0 < counts[0] < counts[1]


LARGE = {
    "many units": ("--cell", "lstm", "--input-size", "64", "--hidden-size", "128", "--input", "randn:200"),
    "many layers": ("--num-layers", "40", "--bidirectional", "--input", "randn:13"),
    "one step": ("--hidden-size", "17", "--input", "randn:1"),
    "a batch": ("--cell", "gru", "--input", "randn:30", "--batch", "3", "--num-layers", "4"),
    "NaN": ("--hidden-size", "20", "--input", "[[NaN, 1, 1, 1, 1]]"),
}


@pytest.mark.each_value_once
@pytest.mark.parametrize("columns", [80, 120, 200])
@pytest.mark.parametrize("options", LARGE.values(), ids=LARGE)
def test_a_large_trace_fits_a_terminal(rnnspect, monkeypatch, options, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = rnnspect("trace", *options, "-q").out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= columns
    then = " ".join(lines[-4:])  # with the network as it was typed
    assert re.search(r"add --steps \d for numbers · rnnspect report .* -o r.html shows everything$", then)


def test_a_large_trace_says_what_its_numbers_are(rnnspect, tmp_path):
    """The smallest, mean and largest value of each quantity, as the arrays have them."""
    options = ("trace", "--cell", "lstm", "--hidden-size", "20", "--input", "randn:30")
    out = rnnspect(*options, "-o", tmp_path / "run.npz").out
    arrays = np.load(tmp_path / "run.npz")
    for name in ("i", "f", "g", "o", "c", "h"):
        found = re.search(rf"^{name} [a-z ]*(-?\d\.\d\d) +(-?\d\.\d\d) +(-?\d\.\d\d)  \S+$", out, re.MULTILINE)
        values = arrays[f"l0.forward.{name}"]
        wanted = values.min(), values.mean(), values.max()
        # two decimals are shown
        assert np.allclose([float(one) for one in found.groups()], wanted, rtol=0, atol=0.00501)
    assert "torch matches, maximum difference" in out


@pytest.mark.parametrize("asked", [("--steps", "3"), ("--units", "0:2"), ("--precision", "6")])
def test_numbers_are_a_flag_away(rnnspect, asked):
    assert "mean |value|" not in rnnspect(*LSTM, *asked).out
    assert "mean |value|" in rnnspect(*LSTM).out


def test_a_number_that_fits_is_shown(rnnspect):
    """No column is spent on saying how many of the other units there are where they could stand there themselves."""
    for hidden in range(2, 17):
        out = rnnspect("trace", "--cell", "lstm", "--hidden-size", hidden).out
        assert not re.search(r"\+[12]: ", out)
        assert max(map(len, out.splitlines())) <= 80


def test_what_rounding_does_is_the_quietest_thing_and_a_mistake_the_loudest(tmp_path):
    from rnnspect.views import text
    from rnnspect.views.vectors import VectorRow, _cell

    row = VectorRow("difference", [3e-8, 1e-3, float("nan")], is_difference=True, quiet=1e-6)
    assert [_cell(row, unit, 4).style for unit in range(3)] == ["dim", text.LOUD, text.LOUD]


def test_what_is_left_out_is_said(rnnspect):
    out = rnnspect(*LSTM, "--steps", "0:5,25:").out
    units = len(re.findall(r"\[\d+\]", out))
    assert f"+{40 - units}: " in out
    assert "steps 5–24 hidden" in out
    assert re.search(r"^ +29  x ", out, re.MULTILINE)


def test_steps_units_and_quantities_are_chosen(rnnspect):
    out = rnnspect(*LSTM, "--steps", "0:2,7,-1", "--units", "38:", "--quantities", "f,h").out
    assert re.findall(r"^ +(\d+)  f ", out, re.MULTILINE) == ["0", "1", "7", "29"]
    assert re.findall(r"\[\d+\]", out) == ["[38]", "[39]"]
    assert not re.search(r"W_ii x .*\d\.\d", out)
    assert "h (torch)" in out


def test_layers_and_directions_are_chosen(rnnspect):
    argv = ("trace", "--num-layers", "3", "--bidirectional")
    titles = re.findall(r"^layer .*$", rnnspect(*argv, "--layers", "1:", "--direction", "reverse").out, re.MULTILINE)
    assert [title.partition(" (")[0] for title in titles] == ["layer 1, reverse", "layer 2, reverse"]


def test_another_item_of_a_packed_batch_ends_at_its_length(rnnspect):
    out = rnnspect("trace", "configs/packed.yaml", "--batch-index", "2", "--direction", "forward").out
    assert "batch item 2 of 3, 2 steps long" in out
    assert re.findall(r"^ +(\d+)  x ", out, re.MULTILINE) == ["0", "1"]
    assert "from step 2: padding" in out


def test_a_plain_terminal_gets_plain_characters(rnnspect):
    """What stdout cannot encode gives way; nothing fails."""
    from rnnspect.views.rendering import encodable

    text = rnnspect("trace").out
    assert encodable(text, "utf-8") == text
    plain = encodable(text, "ascii")
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
    from rnnspect.network.equations import equation_lines

    for cell in CELLS.values():
        lines = equation_lines(Spec(cell=cell.name))
        assert len(lines) >= len(cell.gates)
        out = rnnspect("trace", "--cell", cell.name).out
        assert all(line in out for line in lines)


def test_the_state_that_a_run_starts_from_is_shown(rnnspect):
    out = rnnspect("trace", "configs/by-hand.yaml", "--steps", "0").out
    assert re.search(r"start +h0 +10\.0000", out)
    backwards = rnnspect("trace", "--bidirectional", "--h0", "ones", "--direction", "reverse").out
    assert backwards.index(" 2  x ") < backwards.index("start")
