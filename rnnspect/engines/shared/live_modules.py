"""Calls of a live module, whose class may be derived from torch.nn's: one that fails, or that returns something else
than torch.nn does, is refused in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspect.engines.interface import REENTRANT, cannot
from rnnspect.engines.shared.layers import Returned, StateTensors
from rnnspect.errors import EngineError, RnnspectError, listed
from rnnspect.network.torch_modules import is_as_torch_has_it, kind_of

_ADVICE = {
    "primitive descriptor": "check the module outside of torch.autocast, or in bfloat16",
    "dtype": "check the module outside of torch.autocast, with all its parameters and x in one dtype",
    "hook": "return as many gradients from a backward hook as it is given, with those of the initial states",
    "use_reentrant=True": REENTRANT,
}
"""By a word of what torch says, what to do about it."""


@contextmanager
def told(engine: str, what: str) -> Iterator[None]:
    """Raises `EngineError` for what torch cannot do with these dtypes, as those of a call inside of torch.autocast, or
    with a hook of somebody's."""
    try:
        yield
    except RuntimeError as error:
        if (then := _known(error)) is None:
            raise
        raise cannot(engine, what, f"torch refuses: {str(error).splitlines()[0]}", then) from error


def _known(error: Exception) -> str | None:
    return next((then for word, then in _ADVICE.items() if word in str(error)), None)


@contextmanager
def their_code(engine: str, module: nn.Module, what: str) -> Iterator[None]:
    """Raises `EngineError` for what the code of a class of somebody's, or a hook, raises; `what` says in words what
    failed. What is torch's own alone raises what torch does."""
    try:
        yield
    except Exception as error:
        as_it_is = is_as_torch_has_it(module) and "forward" not in vars(module)
        if as_it_is or isinstance(error, RnnspectError) or _known(error):
            raise
        first = "".join(f": {line}" for line in str(error).splitlines()[:1])
        raise _refused(engine, module, f"{what}: {type(error).__name__}{first}") from error


GOING_BACK = "its backward pass, or that of a hook, fails"
"""For `their_code`."""


def on_x(x: Tensor | PackedSequence) -> str:
    """That a call with this x failed, in words for `their_code`."""
    shape = "packed" if isinstance(x, PackedSequence) else f"of the shape {tuple(x.shape)}"
    return f"it fails on x {shape} and states like torch.nn's"


def as_returned(engine: str, module: nn.RNNBase, returned: Any, x: Tensor, lengths: tuple[int, ...] | None) -> Returned:
    """The output (T, B, D·P) and final states that a live module returned for x (T, B, I). Raises `EngineError` for
    anything else than torch.nn returns."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        why = f"its forward returns {type(returned).__name__}, where torch.nn returns (output, states)"
        advice = "return both, or check what it gave as a recording: recorded=module(x)"
        raise cannot(engine, "this module", why, advice)
    output, final = returned
    states = final if isinstance(final, tuple) else (final,)
    (steps, batch), directions = x.shape[:2], 1 + module.bidirectional
    if lengths is not None and isinstance(output, PackedSequence):
        counts = tuple(pad_packed_sequence(output)[1].tolist())
        if counts != lengths:
            raise _refused(engine, module, f"it returned the lengths {counts} for those of x, {lengths}")
        output, _ = pad_packed_sequence(output, module.batch_first, total_length=steps)
    first = (batch, steps) if module.batch_first else (steps, batch)
    units = (module.proj_size or module.hidden_size, module.hidden_size)[: 1 + isinstance(module, nn.LSTM)]
    rows = directions * module.num_layers
    wanted: list[tuple[int, ...]] = [(*first, directions * units[0]), *((rows, batch, size) for size in units)]
    _refuse_unlike(engine, module, (output, *states), wanted)
    return output.transpose(0, 1) if module.batch_first else output, states


def states_returned(engine: str, cell: nn.RNNCellBase, returned: Any, before: StateTensors) -> StateTensors:
    """The state that a live cell returned after the state `before`. Raises `EngineError` for anything else than
    torch.nn returns."""
    states = returned if isinstance(returned, tuple) else (returned,)
    _refuse_unlike(engine, cell, states, [tuple(one.shape) for one in before])
    return states


def _refuse_unlike(engine: str, module: nn.Module, given: tuple[Any, ...], wanted: list[tuple[int, ...]]) -> None:
    shapes = [tuple(one.shape) if isinstance(one, torch.Tensor) else type(one).__name__ for one in given]
    if shapes != wanted:
        ours, theirs = (listed(map(str, each)) for each in (wanted, shapes))
        why = f"for this x it returned the shapes {theirs}, where torch.nn.{kind_of(module)} returns {ours}"
        raise _refused(engine, module, why)


def _refused(engine: str, module: nn.Module, why: str) -> EngineError:
    kind = kind_of(module)
    is_torchs = type(module).forward is getattr(nn, kind).forward
    first = f"instead of deriving from nn.{kind}, keep an nn.{kind} in a module of your own and check that"
    record = "check what it gave, in these shapes, as a recording: recorded={'output': …, 'h_n': …}"
    return cannot(engine, "this module", why, f"{'check it without its hooks' if is_torchs else first}; or {record}")
