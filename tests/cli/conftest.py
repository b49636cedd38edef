from __future__ import annotations

from dataclasses import dataclass

import pytest

from rnnspect.cli import main


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


@pytest.fixture
def rnnspect(capsys, monkeypatch):
    """Runs one command in this process: exit status, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*argv: object) -> Result:
        status = main([str(arg) for arg in argv])
        return Result(status, *capsys.readouterr())

    return run
