"""The examples do what the README and docs/ say of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rnnspect.cli import main

if TYPE_CHECKING:
    import pytest


def test_the_readme_s_own_step_is_a_gru_that_resets_before_the_product(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--engine", "examples/mine.py:step", "--format", "json"]
    assert main(["check", "configs/gru.yaml", *own]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["first"]["layer"], found["first"]["step"]) == (0, 0)


def test_a_gru_that_keeps_its_state_agrees_once_and_not_twice(capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--engine", "examples/kept.py:Kept", "--format", "json"]
    assert main(["check", "--cell", "gru", "--input", "randn:6", *own]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in found["identities"] if not one["holds"]] == ["two evaluations"]
