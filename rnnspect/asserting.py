"""A check as an assertion, for test suites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from rnnspect.api import check, has_recurrent
from rnnspect.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from rnnspect.judging.verdict import Verdict
    from rnnspect.network.spec import Spec


def assert_agrees(
    source: Spec | nn.Module,
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
    returns, or a mapping such as {"output": y, "h_n": h} (`rnnspect.checking.recording` has all names and shapes). x,
    h0, c0 and lengths are as `rnnspect.trace` takes them. `arithmetic` is what the run is held to where its dtype does
    not say: tf32, bfloat16-products, float16, …

    Any other model, or a single cell, runs on x once under `rnnspect.watch`, in eval mode, and each call of each
    recurrent module in it must agree; x is then a tensor or an array, or a tuple of what the model takes. A cell takes
    h0 and c0 as its state.

    Raises `AssertionError` for `differ` and for `cannot tell`; `InputError` for what does not fit together.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    if _is_model(source):
        _assert_watched(source, x, recorded, h0, c0, lengths, arithmetic)
        return
    itself: Any = source
    verdict = check(itself, x, h0, c0, lengths=lengths, recorded=recorded, arithmetic=arithmetic)
    if not verdict.agrees:
        raise AssertionError(_report(verdict))


def _assert_watched(
    model: nn.Module, x: Any, recorded: Any, h0: Any, c0: Any, lengths: Any, arithmetic: str | None
) -> None:
    __tracebackhide__ = True
    from rnnspect.checking.live.watch import watch_run
    from rnnspect.network.torch_modules import is_cell

    cell = is_cell(model)
    given = {"recorded": recorded, "lengths": lengths, "arithmetic": arithmetic}
    given |= {} if cell else {"h0": h0, "c0": c0}
    for name, value in given.items():
        if value is not None:
            found = f"{name} of a {type(model).__name__}"
            raise InputError(
                found, allowed="of a Spec, nn.RNN, nn.LSTM or nn.GRU, or rnnspect.watch(model)", where=name
            )
    if x is None:
        raise InputError("a model without x", allowed="what the model takes", where="x")
    inputs = [_taken(one, model) for one in (x if isinstance(x, tuple) else (x,))]
    states = tuple(_taken(one, model) for one in (h0, c0) if one is not None)
    if states:
        inputs.append(states if len(states) > 1 else states[0])
    seen = watch_run(model, *inputs)
    worst = seen.worst
    if worst is None:
        allowed = "a model that calls an RNN, LSTM, GRU or cell: rnnspect.watch sees those only"
        raise InputError(f"a {type(model).__name__} that called none", allowed=allowed)
    if seen.verdict != "agree":
        raise AssertionError("\n".join([str(seen), *([_report(worst.verdict)] if worst.verdict else [])]))


def _is_model(source: object) -> TypeGuard[nn.Module]:
    """A module with other modules in it, or a cell. A Spec is told without torch."""
    from rnnspect.network.spec import Spec

    if isinstance(source, Spec):
        return False
    from torch import nn

    from rnnspect.network.torch_modules import is_stack

    return isinstance(source, nn.Module) and not is_stack(source) and has_recurrent(source)


def _taken(value: Any, model: nn.Module) -> Any:
    """What a model takes: tensors as they are, arrays and lists as tensors in its dtype and on its device; the same of
    what a tuple holds."""
    import torch
    from torch.nn.utils.rnn import PackedSequence

    from rnnspect.network.tensors import from_anything

    if value is None or isinstance(value, torch.Tensor | PackedSequence):
        return value
    if isinstance(value, tuple):
        return tuple(_taken(one, model) for one in value)
    parameter = next(parameter for parameter in model.parameters() if parameter.is_floating_point())
    given = from_anything(value, "x")
    return given.to(parameter.device, parameter.dtype if given.is_floating_point() else None)


def _report(verdict: Verdict) -> str:
    from rnnspect.views.check import as_table
    from rnnspect.views.rendering import Screen

    return as_table(verdict, Screen(width=120))
