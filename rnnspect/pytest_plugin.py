"""rnnspect in pytest: the fixture `assert_agrees`, and failures that end at the line of the test.

pytest loads this file wherever rnnspect is installed, so it loads nothing else of rnnspect before a test asks for it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """Where rnnspect refuses an argument, the traceback ends at the test; `pytest --full-trace` shows the rest."""
    if call.excinfo is not None and _is_refusal(call.excinfo):
        for entry in call.excinfo.traceback:
            if _HERE in Path(entry.path).parents:
                entry.frame.f_globals["__tracebackhide__"] = _is_refusal  # which pytest asks for each failure


def _is_refusal(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    errors = sys.modules.get("rnnspect.errors")
    return errors is not None and isinstance(excinfo.value, errors.RnnspectError)
