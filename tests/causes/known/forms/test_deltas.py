"""Wrong decays in chunks of a delta rule, of which the state before a chunk is read and taken off by products of their
own."""

from __future__ import annotations

import pytest

import rnnspect
from rnnspect import Spec, Verdict
from rnnspect.engines.own.loading import load_cell
from tests.causes.delta_chunked import (
    HANDED_ON,
    IN_WHAT_IS_READ,
    NAMED,
    READ_AND_HANDED_ON,
    SHIFTED,
    gated_delta,
)
from tests.marks import sampled

CELL = load_cell("examples/cells/gated_delta.py:gated_delta")
PLANTED = [
    *((mistake, "read") for mistake in IN_WHAT_IS_READ),
    *((mistake, "handed") for mistake in HANDED_ON),
    *((mistake, "read and handed") for mistake in READ_AND_HANDED_ON),
    *((mistake, where) for mistake in SHIFTED for where in ("both", "read", "handed")),
]
PLACES = {"its own read": ("its own", "read alone"), "its own taken off": ("its own", "taken off")}


def checked(mistake: str, where: str = "read", steps: int = 21) -> Verdict:
    spec = Spec(cell=CELL, input_size=3, hidden_size=4, batch_first=True, c0="randn", seed=5)
    return rnnspect.check(spec, f"randn:{steps}", engine=gated_delta(8, mistake, where), arithmetic="log-scan:8")


def test_a_right_one_agrees() -> None:
    assert checked("").agrees


@pytest.mark.slow
@pytest.mark.parametrize(("mistake", "where"), sampled(PLANTED, 20))
def test_each_is_told_first(mistake: str, where: str) -> None:
    found = checked(mistake, where)
    assert found.verdict == "differ"
    first = found.causes[0]
    which, place = PLACES.get(mistake, (mistake, where))
    said = (first.name, first.parameters["which"], first.parameters["in"])
    assert said == (NAMED.get(mistake, "chunk-decay-apart"), which, place)
    assert first.parameters.get("every", 8) == 8
    assert not first.left


@pytest.mark.slow
def test_nonsense_at_edges_has_no_name() -> None:
    """Without its decays a delta rule is known so badly after 16 steps that all followed from it."""
    spec = Spec(cell=CELL, input_size=5, hidden_size=4, batch_first=True, c0="randn", seed=0)
    found = rnnspect.check(spec, "randn:37", engine=gated_delta(16, "nonsense", "handed"), arithmetic="log-scan:16")
    assert found.verdict == "differ"
    assert not found.causes


@pytest.mark.slow
def test_a_state_that_is_never_decayed() -> None:
    """From zeros, where it is as if what steps add were not decayed: the gate of the decay then makes no difference."""
    spec = Spec(cell=CELL, input_size=3, hidden_size=4, batch_first=True, seed=7)
    found = rnnspect.check(spec, "randn:20", engine=gated_delta(32, "added", "both"))
    assert [one.name for one in found.causes] == ["decay-left-out"]
