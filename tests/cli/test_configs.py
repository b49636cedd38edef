"""Every file in configs/ is run, and named in docs/describe.md."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

CONFIGS = sorted(Path("configs").glob("*.yaml"))
PAGE = Path("docs/describe.md").read_text()

# How far a correct engine may drift from the equations in these short runs: some rounding units of the dtype.
ALLOWED = {"float64": 1e-14, "float32": 1e-6, "bfloat16": 0.05}


def test_there_are_some_and_not_too_many():
    assert 1 <= len(CONFIGS) <= 10


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_config(rnnspect, config):
    result = rnnspect("trace", config, "--format", "json")
    assert result.status == 0
    assert result.err == ""
    document = json.loads(result.out)
    assert 0 <= document["max_abs_difference"] <= ALLOWED[document["spec"]["dtype"]]
    for command in ("shapes", "run", "trace"):
        assert rnnspect(command, config).status == 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_the_docs_name_it(config):
    assert str(config) in PAGE


def test_by_hand_adds_up(rnnspect):
    document = json.loads(rnnspect("run", "configs/by-hand.yaml", "--format", "json").out)
    assert document["output"] == [[[11.0], [13.0], [16.0], [20.0]]]
