"""rnnspect in pytest: the fixture `assert_agrees`, and failures that end at the line of the test.

pytest loads this file wherever rnnspect is installed, so it loads nothing else of rnnspect before a test asks for it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def assert_agrees() -> Callable[..., None]:
    """`rnnspect.assert_agrees`: fails unless a run of an RNN, LSTM or GRU is what its equations give.

    assert_agrees(module, x) checks the module itself, assert_agrees(module, x, output) what another one gave.
    """
    import rnnspect

    return rnnspect.assert_agrees


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Where rnnspect refuses an argument, the traceback ends at the test, and of what made it refuse only the code of
    others is shown; `pytest --full-trace` shows the rest."""
    if call.excinfo is None or not _is_refusal(call.excinfo):
        return
    frames = _frames(call.excinfo.value)
    first = next((at for at, frame in enumerate(frames) if _is_ours(frame)), len(frames))
    _hide(frames[first:])  # what is under ours, too: contextlib, where a context manager of ours raised it
    frames = _frames(call.excinfo.value.__cause__)
    ours = [frame for frame in frames if _is_ours(frame)]
    _hide(ours if len(ours) < len(frames) else [])


def _frames(error: BaseException | None) -> list[FrameType]:
    return [frame for frame, _ in walk_tb(error.__traceback__ if error else None)]


def _is_ours(frame: FrameType) -> bool:
    return _HERE in Path(frame.f_code.co_filename).parents


def _hide(frames: list[FrameType]) -> None:
    """Each by a variable of its own, which pytest looks for: the module may be anybody's."""
    for frame in frames:
        frame.f_locals["__tracebackhide__"] = True


def _is_refusal(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    errors = sys.modules.get("rnnspect.errors")
    return errors is not None and isinstance(excinfo.value, errors.RnnspectError)
