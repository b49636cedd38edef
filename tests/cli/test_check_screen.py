"""What a check shows on the screen, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rnnspect.causes import search
from rnnspect.cli import main
from rnnspect.judging.verdict import Explained

WRONG = ["check", "configs/gru.yaml", "--engine", "examples/mine.py:step"]


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What stood on stdout when the search for causes began."""
    seen: list[str] = []

    def explain(*_given: Any) -> Explained:
        seen.append(capsys.readouterr().out)
        return Explained(note="no known mistake explains this run; tried 3 known mistakes in layer 0")

    monkeypatch.setattr(search, "explain", explain)
    return seen


def test_the_verdict_is_shown_before_the_search_begins(before: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WRONG) == 1
    assert before[0].startswith("✗ DIFFER  mine.py:step does not match this GRU (80 of 80 values wrong)\n  First ")
    after = capsys.readouterr().out
    assert "DIFFER" not in after, "it is shown once"
    assert "no known mistake explains this run" in after
    assert "rnnspect derive configs/gru.yaml --step 0 --unit 0 --engine" in " ".join(after.split())


@pytest.mark.parametrize("how", [["--format", "json"], ["--format", "junit"], ["-o", "{folder}/table.txt"]])
def test_other_forms_are_whole(
    how: list[str], before: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    how = [one.format(folder=tmp_path) for one in how]
    assert main([*WRONG, *how]) == 1
    assert before == [""]
    written = next(iter(tmp_path.iterdir())).read_text() if how[0] == "-o" else capsys.readouterr().out
    assert "80 of 80 values" in written


def test_of_several_nothing_is_shown_early(before: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WRONG, "--engine", "torch-cell"]) == 1
    assert before == [""]
    assert capsys.readouterr().out.startswith("differ ")


def test_an_interrupted_search_leaves_the_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_given: Any) -> Explained:
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "explain", interrupted)
    assert main(WRONG) == 130
    assert capsys.readouterr().out.startswith("✗ DIFFER")
