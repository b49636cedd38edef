"""Damaged files that once ended in a fault, a hang, a long message or a warning: each is an answer or one message now.

`files` holds what `python -m tests.fuzz` kept and people sent, made as small as it goes; a folder is one input.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.trying import ANSWER, LINUX, MESSAGE, tried

pytestmark = pytest.mark.skipif(not LINUX, reason="skipped: memory is measured as Linux tells it")

FILES = sorted((Path(__file__).parent / "files").iterdir())
NET = ("--cell", "lstm", "--input-size", "3", "--hidden-size", "3")
COMMANDS = {
    "shapes": ("shapes",),
    "about": ("about",),
    "trace": ("trace", "--steps", "0", "--units", "0"),
    "run": ("run",),
    "check": ("check", "--explain", "0"),
    "input": ("trace", *NET, "--input"),
    "recorded": ("check", *NET, "--input", "ones:5", "--explain", "0", "--recorded"),
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_it_is_an_answer_or_a_message(
    path: Path, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = tried([*command, str(path)])
    assert outcome.what in (ANSWER, MESSAGE), outcome
