"""Runs of a live model, watched: once on what a test or a command gives it, and again for the identities of its calls,
as a whole and module by module."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspect.checking.identities.reruns import NEIGHBOURS, TWICE, USUAL, identities_of, with_another_item
from rnnspect.checking.live.calls import Call, CallVerdict, CapturedCall
from rnnspect.checking.live.capture import Unreadable, read, tensors_in
from rnnspect.checking.live.inputs import refusing_no_index
from rnnspect.checking.live.watch import WatchedCalls, watch
from rnnspect.engines.own.loading import evaluating, their_errors
from rnnspect.engines.torch import ModuleEngine
from rnnspect.errors import InputError, listed
from rnnspect.judging.verdict import Identity
from rnnspect.network.tensors import from_anything, largest, max_abs_difference
from rnnspect.network.torch_modules import is_cell
from rnnspect.tracing.prepare import Prepared

_STATE = "a state kept between calls: begin each from None, or from zeros"
_EXCHANGED = "batch_first left out: torch.nn takes (step, batch, unit) unless it is said"
_BEFORE = (
    "what the model does before the module: dropout that eval() does not turn off, such as F.dropout without "
    "training=self.training, another random draw, or a state kept between calls"
)


_running = partial(their_errors, "running the model")


def watch_run(model: nn.Module, *inputs: Any) -> WatchedCalls:
    """Runs the model once on the inputs, watched, in eval mode and without autograd; training modes are put back.

    Raises `InputError` with the line of the model's own code where that raises.
    """
    with evaluating(model), torch.no_grad(), watch(model) as seen, refusing_no_index(model), _running():
        model(*inputs)
    return seen


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


def evaluated_twice(model: nn.Module, x: Tensor, first: Sequence[Call]) -> list[tuple[Identity, ...]]:
    """For each call of a first evaluation of the model on x, whether a second one has received and returned the same
    bits; none where the call was not kept."""
    try:
        second = watch_run(model, x.clone()).calls
    except InputError as error:
        failed = Identity(TWICE, False, f"the second one fails: {listed(map(str, error.problems))}", USUAL[TWICE])
        return [(failed,)] * len(first)
    return [_same(one, two) for one, two in zip_longest(first, second[: len(first)])]


def beside_another(model: nn.Module, x: Tensor, first: Sequence[Call]) -> list[tuple[Identity, ...]]:
    """For each call of a first evaluation of the model on x (B, T, I), a failed identity where it mixes the items of
    the batch: where a second evaluation, on x with another item 0, returns something else for the other items.

    A call that received the other items unchanged, along some axis of its x, must return them unchanged along that
    axis. This needs no knowledge of which axis the model or the module takes for the batch.
    """
    try:
        second = watch_run(model, with_another_item(x, 0)).calls
    except InputError:  # other numbers may be what the model refuses
        return [()] * len(first)
    return [_mixed(one, two) for one, two in zip_longest(first, second[: len(first)])]


def run_again(model: nn.Module, calls: Sequence[Call]) -> list[tuple[Identity, ...]]:
    """For each call the other identities of its nn.RNN, nn.LSTM or nn.GRU, which runs alone on a part of what it
    received. Only the first call of a module has any, and none under autocast or where the call cannot be read."""
    return [_of_module(model.get_submodule(call.module), call) if call.index == 0 else () for call in calls]


def _same(first: Call, second: Call | None) -> tuple[Identity, ...]:
    if isinstance(first.kept, str) or (second is not None and isinstance(second.kept, str)):
        return ()
    if second is None or not isinstance(second.kept, CapturedCall) or second.module != first.module:
        return (Identity(TWICE, False, "the second one does not make this call", USUAL[TWICE]),)
    one, two = first.kept, second.kept
    for name, usual in (("input", _BEFORE), ("hx", _STATE)):
        if said := _apart(one.given.get(name), two.given.get(name)):
            return (Identity(TWICE, False, f"the second one gives the module another {name}, {said}", usual),)
    if said := _apart(one.returned, two.returned):
        return (Identity(TWICE, False, f"the module returns something else the second time, {said}", USUAL[TWICE]),)
    return (Identity(TWICE, True, "the same bits: all that the module received and returned"),)


def _mixed(first: Call, second: Call | None) -> tuple[Identity, ...]:
    if second is None or not isinstance(first.kept, CapturedCall) or not isinstance(second.kept, CapturedCall):
        return ()
    (x, y), (changed, returned) = map(_input_and_output, (first.kept, second.kept))
    if not all(isinstance(tensor, Tensor) and tensor.dim() == 3 for tensor in (x, y, changed, returned)):
        return ()
    if x.shape != changed.shape or y.shape != returned.shape:
        return ()
    axis = next((axis for axis in (0, 1) if _others_are_equal(x, changed, axis)), None)
    if axis is None or _others_are_equal(y, returned, axis):
        return ()
    most = max_abs_difference(_others(y, axis), _others(returned, axis))
    said = f"beside another item 0 of the batch it returns others by up to {most:.2g} apart"
    if axis != (0 if first.kept.spec.batch_first else 1):
        return (Identity(NEIGHBOURS, False, f"{said}: it takes axis {axis}, the batch, for time", _EXCHANGED),)
    return (Identity(NEIGHBOURS, False, said, USUAL[NEIGHBOURS]),)


def _input_and_output(kept: CapturedCall) -> tuple[Any, Any]:
    return kept.given.get("input"), kept.returned[0] if isinstance(kept.returned, tuple) else kept.returned


def _others(values: Tensor, axis: int) -> Tensor:
    return values.narrow(axis, 1, values.shape[axis] - 1)


def _others_are_equal(a: Tensor, b: Tensor, axis: int) -> bool:
    return a.shape[axis] > 1 and not max_abs_difference(_others(a, axis), _others(b, axis))


def _of_module(module: nn.Module, call: Call) -> tuple[Identity, ...]:
    if (
        not isinstance(module, nn.RNNBase)
        or not isinstance(call.kept, CapturedCall)
        or "autocast" in call.kept.engine.precision
    ):
        return ()
    try:
        case = read(call.kept)
    except Unreadable:
        return ()
    place = torch.device(case.spec.device)
    parameters = {name: values.to(place) for name, values in case.parameters.items()}
    prepared = Prepared(case.spec, parameters, case.sequence.to(place), ModuleEngine(module))
    asked = identities_of(prepared, case.declared)
    return tuple(one for one in asked if one.name != TWICE or not one.holds)


def _apart(first: Any, second: Any) -> str | None:
    """How far all tensors in two values are apart; None where they are the same."""
    a, b = list(tensors_in(first)), list(tensors_in(second))
    if [tensor.shape for tensor in a] != [tensor.shape for tensor in b]:
        return "of another shape"
    most = largest([max_abs_difference(*pair) for pair in zip(a, b, strict=True)])
    return f"up to {most:.2g} apart" if most else None
