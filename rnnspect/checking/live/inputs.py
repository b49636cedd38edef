"""A model or a single cell, run once on what a test gives it, and watched."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from rnnspect.checking.live.calls import CallVerdict
from rnnspect.checking.live.watch import WatchedCalls, watch_run
from rnnspect.errors import InputError
from rnnspect.network.tensors import from_anything
from rnnspect.network.torch_modules import is_cell


def watch_given(model: nn.Module, x: Any, given: dict[str, Any]) -> tuple[WatchedCalls, CallVerdict]:
    """Every call of a recurrent module while `model` runs on x, and the worst of them.

    x is a tensor or an array, or a tuple of what the model takes. `given` holds what else a test said, by its name: a
    cell takes h0 and c0 as its state, and a model takes nothing. Raises `InputError` for anything else, for an x of
    None, and where no recurrent module was called.
    """
    for name in given:
        if not (is_cell(model) and name in {"h0", "c0"}):
            allowed = "of a Spec, nn.RNN, nn.LSTM or nn.GRU, or rnnspect.watch(model)"
            raise InputError(f"{name} of a {type(model).__name__}", allowed=allowed, where=name)
    if x is None:
        raise InputError("a model without x", allowed="what the model takes", where="x")
    inputs = [_tensor(one, model) for one in (x if isinstance(x, tuple) else (x,))]
    if states := tuple(_tensor(state, model) for state in given.values()):
        inputs.append(states if len(states) > 1 else states[0])
    seen = watch_run(model, *inputs)
    if seen.worst is None:
        allowed = "a model that calls an RNN, LSTM, GRU or cell: rnnspect.watch sees those only"
        raise InputError(f"a {type(model).__name__} that called none", allowed=allowed)
    return seen, seen.worst


def _tensor(value: Any, model: nn.Module) -> Any:
    """Tensors as they are; arrays and lists as tensors in the model's dtype and on its device, those in a tuple too."""
    if value is None or isinstance(value, torch.Tensor | PackedSequence):
        return value
    if isinstance(value, tuple):
        return tuple(_tensor(one, model) for one in value)
    parameter = next(parameter for parameter in model.parameters() if parameter.is_floating_point())
    given = from_anything(value, "x")
    return given.to(parameter.device, parameter.dtype if given.is_floating_point() else None)
