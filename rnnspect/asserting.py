"""A check as an assertion, for test suites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.spec import Spec
    from rnnspect.verdict import Verdict


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
    verdict = _checked(source, x, recorded, h0, c0, lengths, arithmetic)
    if not verdict.agrees:
        from rnnspect.views.check import as_table
        from rnnspect.views.rendering import Screen

        raise AssertionError(as_table(verdict, Screen(width=120)))


def _checked(
    source: Spec | nn.RNNBase, x: Any, recorded: Any, h0: Any, c0: Any, lengths: Any, arithmetic: str | None
) -> Verdict:
    from rnnspect.checking import check_observation, check_prepared
    from rnnspect.declared import ARITHMETICS, named
    from rnnspect.preparing import prepare
    from rnnspect.recorded import observation_of

    declared = None if arithmetic is None else named(arithmetic, "arithmetic")
    prepared = prepare(source, x, h0, c0, lengths=lengths)
    if recorded is None:
        return check_prepared(prepared, declared)
    spec, sequence = prepared.spec, prepared.sequence
    observation = observation_of(spec, recorded, sequence.steps, sequence.batch, sequence.batched)
    held_to = declared or ARITHMETICS[spec.dtype]
    return check_observation(spec, prepared.parameters, sequence, observation, held_to)
