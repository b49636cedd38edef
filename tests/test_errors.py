"""What a file holds does not make messages long, and does not begin lines of its own in them."""

from __future__ import annotations

import pytest

from rnnspect.cli.output import MOST_NOTES, Output
from rnnspect.errors import MOST_ALLOWED, MOST_FOUND, MOST_WHERE, Problem, clipped
from rnnspect.weights.readers.interface import MOST_NOTE, Told


def test_each_part_of_a_problem_is_clipped() -> None:
    said = str(Problem("f" * 9000, "a" * 9000, "n" * 9000, "/tmp/" + "w\nx" * 9000))
    assert len(said) < 2 * MOST_FOUND + MOST_ALLOWED + 2 * MOST_WHERE
    assert "\n" not in said
    assert said.startswith("/tmp/w\\nxw\\nx")


def test_a_clipped_text_keeps_both_ends() -> None:
    """Of a path the beginning and the file's name."""
    assert clipped("/long" * 100 + "/model.pt", 40) == "/long/long/long/long … g/long/long/model.pt"
    assert clipped("as it is", 40) == "as it is"
    words = "it is incompatible with .grad() or passing an `inputs` parameter to resolve this"
    assert clipped(words, 52) == "it is incompatible with … parameter to resolve this"
    assert clipped(words, 40) == "it is incompatible … to resolve this"
    assert clipped("one two three four", 8) == "one … four"


def test_a_note_of_a_module_is_one_line() -> None:
    told = Told({}, "m.onnx:a\nerror: b", notes=("note: a\r\nb" + "c" * 9000,))
    assert told.source == "m.onnx:a\\nerror: b"
    assert told.notes[0].startswith("note: a\\r\\nb")
    assert len(told.notes[0]) < MOST_NOTE + 10


def test_of_many_notes_some_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(None, None, quiet=False)
    for number in range(3 * MOST_NOTES):
        output.note(f"note: {number}")
    output.note("wrote it")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        *(f"note: {number}" for number in range(MOST_NOTES)),
        f"note: only the first {MOST_NOTES} notes are shown",
        "wrote it",
    ]
