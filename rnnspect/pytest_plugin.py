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
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Where rnnspect refuses an argument, the traceback leaves out rnnspect's own files; --full-trace shows them."""
    errors = sys.modules.get("rnnspect.errors")
    if call.excinfo is None or errors is None or item.config.getoption("fulltrace"):
        return
    if isinstance(call.excinfo.value, errors.RnnspectError):
        kept = call.excinfo.traceback.filter(lambda entry: _HERE not in Path(entry.path).parents)
        call.excinfo.traceback = kept or call.excinfo.traceback
