"""What all tests share: the devices they run on, and how hypothesis searches."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

from rnnspect.causes import search

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

# The networks here are tiny: threads would only wait for each other, the more so with one worker a core.
torch.set_num_threads(1)


@pytest.fixture
def no_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of whether and where a run differs: nobody looks for why, which may take seconds for each."""
    looked = search.explain
    monkeypatch.setattr(search, "explain", lambda case, judged, seconds=None: looked(case, judged, seconds or 0.0))


@pytest.fixture(params=["cpu", "accelerator"], scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """The name of each device: the CPU, and this machine's accelerator whatever it is called."""
    if request.param == "cpu":
        return "cpu"
    if not torch.accelerator.is_available():
        pytest.skip("skipped: this machine has no accelerator")
    found = torch.accelerator.current_accelerator()
    assert found is not None
    return found.type


LONG = 20.0
"""Seconds that a test of the README's suite may take; what takes longer is marked `slow`."""
_seconds: dict[str, float] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How the time was spent, in CI's log: no test fails for being slow on somebody's machine."""
    if not os.environ.get("CI"):
        return
    long = sorted(((seconds, name) for name, seconds in _seconds.items() if seconds > LONG), reverse=True)
    terminalreporter.section(f"{len(_seconds)} tests, {sum(_seconds.values()):.0f} s of work")
    terminalreporter.line(f"above the budget of {LONG:.0f} s for a test: {len(long) or 'none'}")
    for seconds, name in long:
        terminalreporter.line(f"{seconds:6.1f} s  {name}")
