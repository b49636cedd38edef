"""Identities of a live model's calls: what a second evaluation of the model gives, and what its modules give when they
are run again by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from rnnspect.checking.identities.reruns import NEIGHBOURS, TWICE, USUAL, identities_of, with_another_item
from rnnspect.checking.live.calls import Call, CapturedCall
from rnnspect.checking.live.capture import Unreadable, read, tensors_in
from rnnspect.engines.torch import ModuleEngine
from rnnspect.errors import InputError, listed
from rnnspect.judging.verdict import Identity
from rnnspect.network.tensors import largest, max_abs_difference
from rnnspect.tracing.prepare import Prepared

_STATE = "a state kept between calls: begin each from None, or from zeros"
_EXCHANGED = "batch_first left out: torch.nn takes (step, batch, unit) unless it is said"
_BEFORE = (
    "what the model does before the module: dropout that eval() does not turn off, such as F.dropout without "
    "training=self.training, another random draw, or a state kept between calls"
)


def evaluated_twice(first: Sequence[Call], again: Callable[[], Sequence[Call]]) -> list[tuple[Identity, ...]]:
    """For each call of the first evaluation of a model, whether another one, which `again` makes, has received and
    returned the same bits; none where the call was not kept."""
    try:
        second = again()
    except InputError as error:
        failed = Identity(TWICE, False, f"the second one fails: {listed(map(str, error.problems))}", USUAL[TWICE])
        return [(failed,)] * len(first)
    return [_same(one, two) for one, two in zip_longest(first, second[: len(first)])]


def beside_another(
    first: Sequence[Call], x: Tensor, again: Callable[[Tensor], Sequence[Call]]
) -> list[tuple[Identity, ...]]:
    """For each call of the model, a failed identity where it mixes the items of the batch. `again` evaluates the model
    on x (B, T, I) with another item 0.

    A call that received the other items unchanged, along some axis of its x, must return them unchanged along that
    axis. This needs no knowledge of which axis the model or the module takes for the batch.
    """
    try:
        second = again(with_another_item(x, 0))
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
    one, two = ((kept.given.get("input"), kept.returned) for kept in (first.kept, second.kept))
    pairs = [(one[0], two[0]), (_output(one[1]), _output(two[1]))]
    if not all(isinstance(tensor, Tensor) and tensor.dim() == 3 for pair in pairs for tensor in pair):
        return ()
    (x, changed), (y, returned) = pairs
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


def _output(returned: Any) -> Any:
    return returned[0] if isinstance(returned, tuple) else returned


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
