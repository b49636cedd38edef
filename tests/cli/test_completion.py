"""What the shell offers, asked as the shell asks: a fresh process, through its completion protocol."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rnnspect import engines
from rnnspect.cli import completion
from rnnspect.judging.declared import ARITHMETICS, named
from rnnspect.weights import layouts, writers

# Each completion leaves by sys.exit. What was loaded for all of them is said at the end.
COMPLETE = """
import json, os, sys
from rnnspect.cli import main
for told in json.loads(sys.argv[1]):
    os.environ.update(told)
    try:
        main()
    except SystemExit:
        print(end="\\0")
print(sorted({"torch", "numpy"} & set(sys.modules)), file=sys.stderr)
"""
OFFERED = {
    "check --engine": [*engines.names(), "all"],
    "trace --engine": [*engines.names(), "all"],
    "derive --engine": engines.names(),
    "report --engine": engines.names(),
    "check --arithmetic": completion.arithmetics(),
    "report --arithmetic": completion.arithmetics(),
    "run --device": list(completion.DEVICES),
    "shapes --layout": layouts.names(),
    "layouts": layouts.names(),
    "convert --to": writers.names(),
    "trace --format": ["table", "json", "svg"],
    "trace --cell": ["rnn", "gru", "lstm"],
}
FILES = ["check --recorded", "check --probe", "run", "check", "trace --output", "shapes --weights"]


def offered(shell: str, *commands: str) -> list[str]:
    """What is offered where each of these was typed, all in one fresh process; a space ends the last word."""
    told = [
        {
            "_RNNSPECT_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": f"rnnspect {typed}",
            "COMP_CWORD": str(len(typed.split(" "))),
            "_TYPER_COMPLETE_ARGS": f"rnnspect {typed}",
        }
        for typed in commands
    ]
    ran = subprocess.run(
        [sys.executable, "-c", COMPLETE, json.dumps(told)], capture_output=True, text=True, check=False
    )
    assert ran.stderr == "[]\n"
    return ran.stdout.split("\0")[:-1]


def test_the_arithmetics_are_those_that_there_are() -> None:
    """They are written down once more where nothing loads torch."""
    assert tuple(ARITHMETICS) == completion.ARITHMETICS


def test_sums_of_logarithms_are_completed_with_a_number_of_steps() -> None:
    """Each that is offered is one that a check takes."""
    scans = [name for name in ARITHMETICS if name.endswith("log-scan")]
    assert [name for name in completion.arithmetics() if ":" in name] == [f"{scan}:64" for scan in scans]
    assert all(named(name) for name in completion.arithmetics())


def test_values_are_completed_in_bash() -> None:
    shown = offered("bash", *(f"{words} " for words in OFFERED))
    assert {words: said.split() for words, said in zip(OFFERED, shown, strict=True)} == OFFERED


def test_a_value_that_was_begun_is_completed() -> None:
    (said,) = offered("bash", "check --engine torch-")
    assert said.split() == ["torch-cell", "torch-compile"]
    (said,) = offered("bash", "check --arithmetic log-")
    assert said.split() == ["log-scan", "log-scan:64"]


def test_files_are_left_to_the_shell() -> None:
    """bash completes files where nothing is offered (complete -o default)."""
    shown = offered("bash", *(f"{words} " for words in FILES))
    assert [said.strip() for said in shown] == [""] * len(FILES)


def test_values_are_completed_in_zsh_which_is_told_to_complete_files() -> None:
    values, files = offered("zsh", "convert --to ", "check --recorded ")
    assert re.findall(r'"([^"]*)"', values) == OFFERED["convert --to"]
    assert files.strip() == "_files"


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
