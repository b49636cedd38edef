"""What all tests share: the devices they run on, and how hypothesis searches."""

from __future__ import annotations

import functools
import gc
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The networks here are tiny: threads would only wait for each other, the more so with one worker a core. BLAS reads
# this as it is loaded, and so does what the tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings

from rnnspect.causes import search
from rnnspect.checking import backward, backward_pieces, backward_results, check
from rnnspect.cli import main
from tests.marks import thin

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def drawn_alike() -> None:
    """Each test draws the same numbers, whatever ran before it in its process."""
    torch.manual_seed(0)


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


@pytest.fixture
def rnnspect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs one command in this process: exit status, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*argv: object) -> Result:
        return Result(main([str(arg) for arg in argv]), *capsys.readouterr())

    return run


CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
FLAGS += " --disable-component-update --disable-sync"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A real browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="skipped: no playwright (the extra browser)")
    if CHROMIUM is None:
        pytest.skip("skipped: no chromium on this machine (CHROMIUM says where it is)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def no_causes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of whether and where a run differs: nobody looks for why, which may take seconds for each. A run of
    which no value is beyond its bound is weighed as always, for it may differ by that."""
    looking = (search, "explain"), (backward, "explain_backward"), (backward_results, "explain_results")
    for module, name in (*looking, (backward_pieces, "explain_backward")):
        monkeypatch.setattr(module, name, functools.partial(_only_if_asked, getattr(module, name)))
    weighed = check.weighed
    monkeypatch.setattr(check, "is_cheap", lambda _assumptions: False)
    monkeypatch.setattr(
        check, "weighed", lambda case, of, told, *_: told if told.verdict == "differ" else weighed(case, of, told)
    )


def _only_if_asked(looked: Callable[..., Any], *given: Any) -> Any:
    """Causes, where a test says for how many seconds to look for them: the last of what is given."""
    *case, seconds = given
    return looked(*case, seconds or 0.0)


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
"""Seconds above which CI's log names a test."""
NEEDS_A_GPU = re.compile(r"this machine has no (accelerator|CUDA device)")
_seconds: dict[str, float] = {}
_passed: list[str] = []


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected and imported stays to the end. To look for garbage in it took a quarter of the time that
    collecting takes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test marked `each_value_once` is thinned. With PASSED_BEFORE, the file that a run with PASSED_TO wrote, what
    passed then is left out: CI runs a test once, in the smallest of its environments that can."""
    thin(items)
    if not (path := os.environ.get("PASSED_BEFORE")):
        return
    passed = set(Path(path).read_text(encoding="utf-8").splitlines())
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in passed])
    items[:] = [item for item in items if item.nodeid not in passed]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if report.when == "call" and report.passed:
        _passed.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With NOTHING_SKIPPED=1, as in CI, a test that is skipped for anything but a GPU is a failure."""
    if skipped_in_vain(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    path = os.environ.get("PASSED_TO")
    if path and not hasattr(session.config, "workerinput"):  # the process that starts workers sees all reports
        Path(path).write_text("\n".join(_passed), encoding="utf-8")


def skipped_in_vain(config: pytest.Config) -> list[str]:
    terminal = config.pluginmanager.get_plugin("terminalreporter")  # which only the process that starts workers has
    if terminal is None or not os.environ.get("NOTHING_SKIPPED"):
        return []
    skipped = terminal.stats.get("skipped", [])
    return [f"{one.nodeid}: {one.longrepr[2]}" for one in skipped if not NEEDS_A_GPU.search(one.longrepr[2])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How the time was spent, in CI's log: no test fails for being slow on somebody's machine."""
    if wrongly := skipped_in_vain(config):
        terminalreporter.section("skipped, and not for want of a GPU")
        terminalreporter.write_line("\n".join(sorted(wrongly)))
    if not os.environ.get("CI"):
        return
    long = sorted(((seconds, name) for name, seconds in _seconds.items() if seconds > LONG), reverse=True)
    terminalreporter.section(f"{len(_seconds)} tests, {sum(_seconds.values()):.0f} s of work")
    terminalreporter.line(f"above {LONG:.0f} s: {len(long) or 'none'}")
    for seconds, name in long:
        terminalreporter.line(f"{seconds:6.1f} s  {name}")
