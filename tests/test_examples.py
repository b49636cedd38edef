"""The examples do what the README says of them."""

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
