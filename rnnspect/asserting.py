"""A check as an assertion, for test suites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rnnspect.api import check

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.spec import Spec


def assert_agrees(
    source: Spec | nn.RNNBase,
    x: Any = None,
    recorded: Any = None,
    *,
    h0: Any = None,
    c0: Any = None,
    lengths: Any = None,
    arithmetic: str | None = None,
) -> None:
    """Fails, with the report as its message, unless a run is what the equations give.

    The run is that of the module or spec itself; with `recorded` it is that one: the output, what a torch.nn module
    returns, or a mapping such as {"output": y, "h_n": h} (`rnnspect.recorded` has all names and shapes). x, h0, c0 and
    lengths are as `rnnspect.trace` takes them. `arithmetic` is what the run is held to where its dtype does not say:
    tf32, bfloat16-products, float16, …

    Raises `AssertionError` for `differ` and for `cannot tell`; `InputError` for what does not fit together.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    verdict = check(source, x, h0, c0, lengths=lengths, recorded=recorded, arithmetic=arithmetic)
    if not verdict.agrees:
        from rnnspect.views.check import as_table
        from rnnspect.views.rendering import Screen

        raise AssertionError(as_table(verdict, Screen(width=120)))
