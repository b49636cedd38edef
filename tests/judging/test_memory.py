"""A check of a long run from mapped files holds a few chunks, however long the run is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.memory import LIMIT, STEPS, measured

needs_status = pytest.mark.skipif(
    "RssAnon" not in (Path("/proc/self/status").read_text() if Path("/proc/self/status").exists() else ""),
    reason="skipped: this system does not say how much anonymous memory a process holds",
)


@needs_status
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_memory_does_not_grow_with_the_run(kind: str) -> None:
    assert measured(kind, 50_000) <= 100


@needs_status
@pytest.mark.campaign
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_ten_million_steps(kind: str) -> None:
    assert measured(kind, STEPS) <= LIMIT
