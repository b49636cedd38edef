"""A wrong state before a chunk in what its steps read alone, or in what it hands on alone; in all chunks or in one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

import rnnspect
from rnnspect import Spec, Verdict
from tests.causes.carried import TERMS, cell_of
from tests.causes.parted import STATES, parted

NAMED = {
    "all but the last chunk": "chunk-state-lost",
    "initial": "chunk-state-lost",
    "doubled": "chunk-state-doubled",
    "left out": "chunk-decay-apart",
    "twice": "chunk-decay-apart",
}
DRAWN: dict[str, Any] = {"h0": "randn", "c0": "randn"}
CONSTANT = ("retnet", "lru")
"""Cells whose decays are the same at each step: one that is left out may be any."""
EVERY, PROMPT = [6, 12, 18, 24], [13, *range(14, 27)]
"""Where chunks end: every six steps, or after a prompt, behind which each step is one."""
IN_TURN = [(cell, n % 2) for n, cell in enumerate(TERMS)]
"""Each cell, and in which of two ways it is run."""
KEYS: list[dict[str, Any]] = [{}, {"batch": 3, "dtype": "float64"}]


def checked(
    cell: str, mistake: str, where: str, made_in: Collection[int], ends: list[int] = EVERY, **keys: Any
) -> Verdict:
    given = {"input_size": 3, "hidden_size": 6, "input": "randn:27", **keys}
    if not cell_of(cell).has_cell_state:
        given.pop("c0", None)
    return rnnspect.check(Spec(cell=cell_of(cell), **given), engine=parted(cell, ends, mistake, where, made_in))


def told(found: Verdict, cell: str, mistake: str, where: str) -> dict[str, Any]:
    """What is said of the mistake, which comes first; of a constant decay among the first."""
    assert found.verdict == "differ"
    said = [(one.name, one.parameters.get("which"), one.parameters.get("in")) for one in found.causes]
    wanted = NAMED[mistake], mistake, where
    constant = cell in CONSTANT and NAMED[mistake] == "chunk-decay-apart"
    assert said[0][0] == NAMED[mistake]
    assert wanted in said
    cause = found.causes[said.index(wanted)]
    assert constant or not cause.left
    return cause.parameters


@pytest.mark.each_value_once
@pytest.mark.parametrize("mistake", STATES)
@pytest.mark.parametrize(("cell", "way"), IN_TURN)
def test_what_all_chunks_hand_on(cell: str, mistake: str, way: int) -> None:
    said = told(checked(cell, mistake, "handed", range(5), **DRAWN, **KEYS[way]), cell, mistake, "handed")
    if mistake != "initial":  # in the first chunk that is the right one
        assert (said["every"], said["step"]) == (6, 6)


@pytest.mark.each_value_once
@pytest.mark.parametrize("mistake", ["all but the last chunk", "doubled"])
@pytest.mark.parametrize(("cell", "way"), IN_TURN)
def test_what_all_chunks_read(cell: str, mistake: str, way: int) -> None:
    """But the first. Zeros that are read are told as zeros that each chunk begins with: in h they are the same."""
    found = checked(cell, mistake, "read", range(1, 5), **DRAWN, **KEYS[way])
    assert found.causes[0].name == NAMED[mistake]
    if mistake == "doubled":
        assert told(found, cell, mistake, "read")["step"] == 6


@pytest.mark.each_value_once
@pytest.mark.parametrize("where", ["read", "handed"])
@pytest.mark.parametrize("mistake", STATES)
@pytest.mark.parametrize(("cell", "way"), IN_TURN)
def test_one_chunk(cell: str, mistake: str, where: str, way: int) -> None:
    """The second: of a prompt and single steps the step after the prompt."""
    ends = (EVERY, PROMPT)[way]
    said = told(checked(cell, mistake, where, (1,), ends, **DRAWN), cell, mistake, where)
    assert (said["once"], said["step"]) == (True, ends[0])


@pytest.mark.each_value_once
@pytest.mark.parametrize("mistake", ["all but the last chunk", "doubled", "left out", "twice"])
@pytest.mark.parametrize("cell", TERMS)
def test_the_initial_state_in_what_the_first_chunk_reads(cell: str, mistake: str) -> None:
    assert told(checked(cell, mistake, "read", (0,), **DRAWN), cell, mistake, "read")["step"] == 0


@pytest.mark.each_value_once
@pytest.mark.parametrize("mistake", ["all but the last chunk", "doubled"])
@pytest.mark.parametrize("cell", TERMS)
def test_every_chunk_reads_it_from_the_first_on(cell: str, mistake: str) -> None:
    found = checked(cell, mistake, "read", range(5), **DRAWN)
    assert found.causes[0].name == NAMED[mistake]
