"""Runs of a live model, watched: once on what a test or a command gives it, and again for the identities of its calls,
as a whole and module by module."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnspect.checking.identities.reruns import NEIGHBOURS, TWICE, USUAL, identities_of, with_another_item
from rnnspect.checking.live.calls import Call, CapturedCall
from rnnspect.checking.live.capture import Unreadable, read, tensors_in
from rnnspect.checking.live.inputs import DrawnInput, drawn_for, inputs_for, moved, refusing_no_index
from rnnspect.checking.live.watch import WatchedCalls, watch
from rnnspect.engines.own.loading import evaluating, their_errors
from rnnspect.engines.torch import ModuleEngine
from rnnspect.errors import InputError, listed
from rnnspect.files import free_memory
from rnnspect.judging.verdict import Identity, Verdict
from rnnspect.network import memory
from rnnspect.network.spec import Spec
from rnnspect.network.tensors import from_anything, largest, max_abs_difference
from rnnspect.network.torch_modules import ONE_RUN, advice_on, in_words, is_cell, specs_of_stacks
from rnnspect.tracing.prepare import Prepared

_STATE = "a state kept between calls: start each call from None or zeros"
_EXCHANGED = "batch_first=True is missing: by default torch.nn expects (step, batch, unit)"
_BEFORE = (
    "what the model does before the module: dropout that eval() does not turn off, such as F.dropout without "
    "training=self.training, another random draw, or a state kept between calls"
)

_NAMED = 8
"""So many modules of a model are named at most."""

_running = partial(their_errors, "running the model")


def watch_run(model: nn.Module, *inputs: Any) -> WatchedCalls:
    """Runs the model once on the inputs, watched, in eval mode and without autograd; training modes are put back.

    Raises `InputError` with the line of the model's own code where that raises.
    """
    with ONE_RUN, evaluating(model), torch.no_grad(), watch(model) as seen, refusing_no_index(model), _running():
        model(*inputs)
    return seen


def run_given(model: nn.Module, x: Any, given: Mapping[str, Any]) -> WatchedCalls:
    """Every call of a recurrent module while `model` runs once on x.

    x is a tensor, an array or a source string such as randint:20:5000, or a tuple of what the model takes. `given`
    holds what else was said, by its name, None where nothing was: a cell takes h0 and c0 as its state, and a model
    takes nothing. Raises `InputError` for anything else, for an x of None, and where no recurrent module was called.
    """
    said = {name: value for name, value in given.items() if value is not None}
    for name in said:
        if not (is_cell(model) and name in {"h0", "c0"}):
            found = f"{name} is for a Spec, nn.RNN, nn.LSTM or nn.GRU, not for a {type(model).__name__}"
            advice = "pass all inputs of the model as a tuple x, or use rnnspect.watch(model) around your own run"
            inside = [place for place, module in model.named_modules() if isinstance(module, nn.RNNBase)]
            if inside:
                advice = f"pass its {' or '.join(inside[:_NAMED])}, with the x that this module takes; or {advice}"
            raise InputError(found, advice=advice, where=name)
    if x is None:
        raise InputError("a model needs an input", advice="pass x, what the model takes", where="x")
    several = isinstance(x, tuple) and not isinstance(x, PackedSequence)
    if isinstance(x, str) and not said:
        return _called(model, run_first(model, inputs_for(model, Spec(input=x)))[1])
    taken = [_tensor(one, model) for one in (x if several else (x,))]
    if states := tuple(_tensor(state, model) for state in said.values()):
        taken.append(states if len(states) > 1 else states[0])
    return _called(model, watch_run(model, *taken))


def run_drawn(model: nn.Module, given: Mapping[str, Any]) -> tuple[WatchedCalls, str]:
    """As `run_given`, but where x is None on an input that is drawn for the first layer of the model; and a line that
    says what that was, empty for a given x."""
    x = given.get("x")
    beside = {name: value for name, value in given.items() if name != "x"}
    drawn = [] if any(value is not None for value in given.values()) else drawn_for(model, None, Spec().seed)
    if not drawn:
        return run_given(model, x, beside), ""
    one, seen = run_first(model, drawn)
    return _called(model, seen), one.said


def run_first(model: nn.Module, inputs: Sequence[DrawnInput]) -> tuple[DrawnInput, WatchedCalls]:
    """The model watched on the first of some inputs that it takes. Raises what it raises on the first of all, and
    `ResourceError` where its stacks would need more memory than is free."""
    failed: InputError | None = None
    stacks = specs_of_stacks(model)
    for one in inputs:
        rows = math.prod(one.x.shape[:-1] if one.x.is_floating_point() and one.x.dim() > 1 else one.x.shape)
        free_memory.require(memory.model_needs(stacks, one.x.nbytes, rows), "running the model", "--input")
        try:
            return one, watch_run(model, one.x.clone())
        except InputError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _called(model: nn.Module, seen: WatchedCalls) -> WatchedCalls:
    if not seen.calls:
        found = f"{type(model).__name__} called no nn.RNN, nn.LSTM, nn.GRU or cell in this run"
        raise InputError(found, advice=advice_without(seen))
    return seen


def advice_without(seen: WatchedCalls) -> str:
    """What to do where a model called no recurrent module of torch.nn."""
    if not seen.unwatched:
        return "rnnspect can only check a model that calls one of these"
    return f"{in_words(seen.unwatched)}: {advice_on(seen.unwatched)}"


def checked(model: nn.Module, given: Mapping[str, Any], explain: float | None) -> Verdict | WatchedCalls:
    """The verdict where one call of a recurrent module was made and could be read; else all calls, judged."""
    seen, said = run_drawn(model, given)
    verdicts = seen.check(explain)
    if len(verdicts) > 1 or verdicts[0].verdict is None:
        return seen
    verdict = verdicts[0].verdict
    return replace(verdict, notes=(*verdict.notes, *filter(None, [said]), *beside_the_calls(seen)))


def beside_the_calls(seen: WatchedCalls) -> Iterator[str]:
    """What the model has beside the modules that it called, in words."""
    if seen.never_called:
        yield f"{listed(seen.never_called, 4)} {'was' if len(seen.never_called) == 1 else 'were'} never called"
    if seen.unwatched:
        yield f"{in_words(seen.unwatched)} and not checked: {advice_on(seen.unwatched)}"


def _tensor(value: Any, model: nn.Module) -> Any:
    """Tensors as they are; arrays and lists as tensors in the model's dtype and on its device, those in a tuple too."""
    if value is None or isinstance(value, torch.Tensor | PackedSequence):
        return value
    if isinstance(value, str):
        return inputs_for(model, Spec(input=value))[0].x
    if isinstance(value, tuple):
        return tuple(_tensor(one, model) for one in value)
    return moved(from_anything(value, "x"), model)


def evaluated_twice(model: nn.Module, x: Tensor, first: Sequence[Call]) -> list[tuple[Identity, ...]]:
    """For each call of a first evaluation of the model on x, whether a second one has received and returned the same
    bits; none where the call was not kept."""
    try:
        second = watch_run(model, x.clone()).calls
    except InputError as error:
        failed = Identity(
            TWICE, False, f"the second evaluation failed: {listed(map(str, error.problems))}", USUAL[TWICE]
        )
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
        return (Identity(TWICE, False, "the second evaluation does not make this call", USUAL[TWICE]),)
    one, two = first.kept, second.kept
    for name, usual in (("input", _BEFORE), ("hx", _STATE)):
        if said := _apart(one.given.get(name), two.given.get(name)):
            return (
                Identity(TWICE, False, f"in the second evaluation the module receives another {name}, {said}", usual),
            )
    if said := _apart(one.returned, two.returned):
        return (
            Identity(TWICE, False, f"in the second evaluation the module returns something else, {said}", USUAL[TWICE]),
        )
    return (Identity(TWICE, True, "bit for bit the same: everything that the module received and returned"),)


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
    said = f"when batch item 0 changes, the other items change by up to {most:.2g}"
    if axis != (0 if first.kept.spec.batch_first else 1):
        return (Identity(NEIGHBOURS, False, f"{said}: it processes axis {axis}, the batch, as time", _EXCHANGED),)
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
    prepared = Prepared(case.spec, case.parameters, case.sequence, ModuleEngine(module))
    asked = identities_of(prepared.on(torch.device(case.spec.device)), case.declared)
    return tuple(one for one in asked if one.name != TWICE or not one.holds)


def _apart(first: Any, second: Any) -> str | None:
    """How far all tensors in two values are apart; None where they are the same."""
    a, b = list(tensors_in(first)), list(tensors_in(second))
    if [tensor.shape for tensor in a] != [tensor.shape for tensor in b]:
        return "with another shape"
    most = largest([max_abs_difference(*pair) for pair in zip(a, b, strict=True)])
    return f"up to {most:.2g} apart" if most else None
