"""The pages that `.ci/site` makes from the code, and that it finds what a page loads from another host."""

from __future__ import annotations

import importlib
import math
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from rnnspect.cli import COMMANDS
from rnnspect.network.spec import Spec

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of .ci/site by its name; they import each other by theirs."""
    monkeypatch.syspath_prepend(str(ROOT / ".ci" / "site"))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def test_the_reference_has_every_command_and_every_key(made: Any):
    commands = made("commands")
    page = commands.command_line()
    assert [name for name in COMMANDS if f"{{ #{name} }}" not in page] == []
    keys = re.findall(r"^\| `(\w+)` \|", commands.spec_keys(), re.MULTILINE)
    assert set(keys) == set(Spec.model_fields)


def test_a_worksheet_keeps_its_answers_behind_the_click(made: Any):
    """f = σ(0.5 · 1 + (−1) · 0.5 + 1), of the numbers in examples/worksheet-lstm.yaml."""
    page = made("worksheets").page()
    question = page.index("What is the forget gate f at step 0?")
    answer = page[question:].partition("\n**")[0].splitlines()
    assert answer[2] == '??? success "Answer"'
    assert answer[4].strip() == f"**{1 / (1 + math.exp(-1)):.4f}**"
    assert all(line.startswith("    ") for line in answer[3:] if line)
    assert any("rnnspect derive examples/worksheet-lstm.yaml --quantity f" in line for line in answer)


@pytest.mark.slow
def test_a_cause_is_made_and_checked_and_drawn(made: Any):
    """The row of a table becomes an entry, with the fix that a check gives and a picture of what comes out."""
    page = "# Causes\n\nWords.\n\n## GRU\n\n| id | did | how | fix |\n|---|---|---|---|\n"
    row = "| `gru-reset-before` | It resets before. | ONNX. | Set it. |\n"
    pictures: dict[str, str] = {}
    entry = made("causes").catalogue(page + row, pictures.__setitem__)
    assert "### gru-reset-before { #gru-reset-before }" in entry
    cause = next(line for line in entry.splitlines() if line.startswith("    Cause: `gru-reset-before`: "))
    assert "U_n (r ⊙ h)" in cause
    assert "linear_before_reset" in entry
    assert "`differ`" in entry
    assert "| id |" not in entry
    picture = pictures["causes/gru-reset-before.svg"]
    assert picture.count("<rect") == 3 * 7 * 5
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_a_cause_that_nothing_makes_stops_the_build(made: Any):
    with pytest.raises(LookupError, match="no example of no-such-mistake"):
        made("mistakes").example_of("no-such-mistake")


def test_a_picture_tells_roundings_from_differences(made: Any):
    right = np.zeros((2, 1), np.float32)
    picture = made("pictures").compared(right, right + np.float32([[1e-8], [1.0]]), "two steps")
    colours = re.findall(r'fill="(#\w{6})" stroke', picture)
    assert colours[:2] == colours[4:5] * 2  # 0, and what float32 rounds away, are paper
    assert colours[5] == "#7a3c96"


@pytest.fixture
def offline(made: Any) -> Any:
    return made("offline")


@pytest.mark.parametrize(
    "said",
    [
        '<script src="https://unpkg.com/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.googleapis.com/css">',
        '<img src="a.png" srcset="https://elsewhere.example/a.png 2x">',
        "<style>@import 'https://elsewhere.example/a.css'</style>",
        '<p style="background: url(http://elsewhere.example/a.png)">',
        '<iframe src="https://elsewhere.example/"></iframe>',
        '<svg><image xlink:href="https://elsewhere.example/a.png"/></svg>',
        '<img src="missing.png">',
    ],
)
def test_what_a_page_loads_from_elsewhere_is_found(offline: Any, tmp_path: Path, said: str):
    (tmp_path / "a.png").touch()
    (tmp_path / "index.html").write_text(f"<html>{said}</html>")
    assert len(offline.wrong(tmp_path)) == 1


def test_links_and_the_sites_own_files_are_no_fault(offline: Any, tmp_path: Path):
    (tmp_path / "a.png").touch()
    page = '<a href="https://elsewhere.example">x</a><img src="a.png?1"><img src="data:image/png;base64,">'
    (tmp_path / "index.html").write_text(page)
    (tmp_path / "a.css").write_text("@font-face { src: url('https://elsewhere.example/a.woff') }")
    assert offline.wrong(tmp_path) == ["a.css loads https://elsewhere.example/a.woff"]


def test_a_page_from_a_folder_has_a_worker_to_search_with(chromium: Any, tmp_path: Path) -> None:
    """In a real browser. The theme's search is a worker, which no browser starts for a file:// page by itself."""
    shutil.copy(ROOT / "docs" / "iframe-worker.js", tmp_path)
    (tmp_path / "worker.js").write_text("addEventListener('message', (event) => postMessage(event.data + 1));")
    begin = "const worker = new Worker('worker.js'); worker.postMessage(41);"
    answer = "worker.addEventListener('message', (event) => { document.title = `answer ${event.data}`; });"
    page = f"<script src='iframe-worker.js'></script><body><script>{begin} {answer}</script>"
    (tmp_path / "index.html").write_text(page)
    shown = chromium.new_page()
    shown.goto((tmp_path / "index.html").as_uri())
    shown.wait_for_function("document.title === 'answer 42'")
    shown.close()
