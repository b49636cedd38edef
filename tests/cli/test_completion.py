"""What the shell offers, asked as the shell asks: a fresh process, through its completion protocol."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnspect import engines
from rnnspect.cli import completion
from rnnspect.judging.declared import ARITHMETICS
from rnnspect.weights import layouts, writers

# Completion leaves by sys.exit, so what was loaded is said on the way out.
COMPLETE = """
import atexit, sys
atexit.register(lambda: print(sorted({"torch", "numpy"} & set(sys.modules)), file=sys.stderr))
from rnnspect.cli import main
main()
"""
OFFERED = {
    "check --engine": [*engines.names(), "all"],
    "trace --engine": [*engines.names(), "all"],
    "derive --engine": engines.names(),
    "report --engine": engines.names(),
    "check --arithmetic": list(ARITHMETICS),
    "report --arithmetic": list(ARITHMETICS),
    "run --device": list(completion.DEVICES),
    "shapes --layout": layouts.names(),
    "layouts": layouts.names(),
    "convert --to": writers.names(),
    "trace --format": ["table", "json", "svg"],
    "trace --cell": ["rnn", "gru", "lstm"],
}
FILES = ["check --recorded", "check --probe", "run", "check", "trace --output", "shapes --weights"]


def offered(shell: str, words: str, incomplete: str = "") -> str:
    typed = f"rnnspect {words} {incomplete}"
    told = {
        "_RNNSPECT_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(1 + len(words.split())),
        "_TYPER_COMPLETE_ARGS": typed,
    }
    ran = subprocess.run(
        [sys.executable, "-c", COMPLETE], env={**os.environ, **told}, capture_output=True, text=True, check=False
    )
    assert ran.stderr == "[]\n"
    return ran.stdout


def test_the_arithmetics_are_those_that_there_are() -> None:
    """They are written down once more where nothing loads torch."""
    assert list(ARITHMETICS) == completion.arithmetics()


@pytest.mark.parametrize("words", OFFERED)
def test_values_are_completed_in_bash(words: str) -> None:
    assert offered("bash", words).split() == OFFERED[words]


def test_a_value_that_was_begun_is_completed() -> None:
    assert offered("bash", "check --engine", "torch-").split() == ["torch-cell", "torch-compile"]


def test_values_are_completed_in_zsh() -> None:
    assert re.findall(r'"([^"]*)"', offered("zsh", "convert --to")) == OFFERED["convert --to"]


@pytest.mark.parametrize("words", FILES)
def test_files_are_left_to_the_shell(words: str) -> None:
    """bash completes files where nothing is offered (complete -o default)."""
    assert offered("bash", words).strip() == ""


def test_zsh_is_told_to_complete_files() -> None:
    assert offered("zsh", "check --recorded").strip() == "_files"


@pytest.mark.skipif(shutil.which("bash") is None, reason="skipped: there is no bash")
def test_bash_itself_completes(tmp_path: Path) -> None:
    """The script that --show-completion prints, in a shell, as it is when the tab key is pressed."""
    command = tmp_path / "rnnspect"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m rnnspect "$@"\n')
    command.chmod(0o755)
    script = f"""
eval "$({command} --show-completion bash)"
COMP_WORDS=(rnnspect check --engine torch-c) COMP_CWORD=3
_rnnspect_completion {command}
echo "${{COMPREPLY[*]}}"
"""
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["torch-cell", "torch-compile"], ran.stderr
