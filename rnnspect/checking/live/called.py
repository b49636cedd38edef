"""Turns a call of one module of a live model into a run to trace, derive or report: what the module received and
returned, with the equations on the same numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Seq
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rnnspect.checking.live.calls import Call, CapturedCall
from rnnspect.checking.live.capture import Unreadable, read
from rnnspect.checking.live.runs import run_drawn
from rnnspect.checking.live.watch import WatchedCalls
from rnnspect.engines.interface import GoesBack
from rnnspect.engines.torch import TorchEngine
from rnnspect.errors import InputError, RnnspectError, listed
from rnnspect.files import free_memory
from rnnspect.judging.case import Case
from rnnspect.network import memory, torch_modules
from rnnspect.network.gradients import EngineGradients, Upstream
from rnnspect.network.recording import Recording
from rnnspect.network.sequence import Sequence
from rnnspect.network.spec import Spec
from rnnspect.network.tensors import max_abs_difference
from rnnspect.network.torch_modules import is_model
from rnnspect.tracing.given import GivenInput
from rnnspect.tracing.prepare import Prepared, engine_of, prepare
from rnnspect.weights.readers.interface import matching

MOST_LISTED = 6
"""A note names at most so many other modules, and counts the rest."""


_BETWEEN = "what the model does between its calls, such as detaching a state, is not differentiated"
_AROUND = "what the model does around this layer, such as detach() or torch.no_grad(), is not differentiated"


class AsItRan:
    """The engine of a call that was already made: it gives what the module returned."""

    name = "torch"

    def __init__(self, recording: Recording, back: GoesBack | None, calls: int) -> None:
        """`back` goes back in place of torch's own kernel. `calls` is how many calls of the model's module there
        were."""
        self._recording, self._back, self._calls = recording, back, calls

    def noting(self, *notes: str) -> AsItRan:
        """With notes on the run."""
        return AsItRan(replace(self._recording, notes=(*self._recording.notes, *notes)), self._back, self._calls)

    def run(self, spec: Spec, parameters: Mapping[str, Tensor], sequence: object) -> Recording:
        del spec, parameters, sequence
        return self._recording

    def backward(
        self, spec: Spec, parameters: Mapping[str, Tensor], sequence: Sequence, upstream: Upstream
    ) -> EngineGradients:
        """The gradients of the same kernel on the input of the call. A loss of the whole model is not looked at."""
        back = self._back or self.handed()
        given = back.backward(spec, parameters, sequence, upstream)
        left_out = _BETWEEN if self._calls > 1 else _AROUND
        return replace(given, notes=(*self._recording.notes, *given.notes, left_out))

    def handed(self) -> GoesBack:
        return TorchEngine()


def _going_back(module: Any, sequence: Sequence) -> GoesBack | None:
    """What gives the gradients of the module itself, where it may differ from torch's: it has a class of its own, or
    hooks, which may change gradients. None where it ran in another dtype than its own."""
    dtype = next(module.parameters()).dtype
    if torch_modules.is_as_torch_has_it(module) or dtype != sequence.x.dtype:
        return None
    return engine_of(module)


def names_like(seen: WatchedCalls, name: str | None, where: str) -> dict[str, str]:
    """The modules of a model that `name` chooses, by their names, with their classes: the one of that name, or all that
    match it as a pattern; all where it is None. Raises `FileError` that lists them where there is none."""
    kinds = {call.module: call.kind for call in seen.calls}
    held = {module: f"({kinds.get(module, 'never called')})" for module in seen.modules}
    return matching(held, name, where, "module", lambda kind: kind)


def prepared_call(
    seen: WatchedCalls, module: str | None, option: str, where: str, needs: Callable[[Spec, int, int], int]
) -> tuple[Prepared, str]:
    """The first call of the first module that was called, or of the first that `module` chooses, as a run; and what
    it is, with how another is chosen. `option` is what a message calls the way to choose, `where` the model.

    The calls of a cell are joined, as long as each begins with the state that the one before gave.

    Raises `InputError` where none was called, or nothing can be read of the call.
    """
    chosen = names_like(seen, module, where) if seen.modules else {}
    first = next((call for call in seen.calls if call.module in chosen), None)
    if first is None:
        what = f"the module {module!r} of this model" if module else "the RNN, LSTM or GRU of this model"
        found = f"{what} was never called" if seen.modules else "this model has no RNN, LSTM, GRU or cell"
        raise InputError(found, where=where)
    calls = [call for call in seen.calls if call.module == first.module]
    joined = _joined(calls)
    case = _case(joined[0], where) if len(joined) == 1 else _in_turn([_case(one, where) for one in joined])
    spec, steps, batch = case.spec, case.sequence.steps, case.sequence.batch
    free_memory.require(needs(spec, steps, batch), "this run")
    assert isinstance(first.kept, CapturedCall)  # else there was no case
    ran = AsItRan(_recording(case), _going_back(first.kept.live, case.sequence), len(calls))
    place, dtype = torch.device(spec.device), case.sequence.x.dtype
    # Autocast may have kept the states in float32 beside an x in a half type.
    prepared = Prepared(spec, case.parameters, case.sequence.to(place, dtype), ran).on(place)
    others = [name for name in seen.modules if name != first.module]
    return prepared, _said(first, len(calls), len(joined), others, option)


def prepare_source(
    source: Spec | nn.Module,
    given: GivenInput,
    module: str | None = None,
    engine: str | Callable[..., Any] = "torch",
    needs: Callable[[Spec, int, int], int] = memory.trace_needs,
) -> Prepared:
    """What a trace, a check, a derivation or a report of the library runs: a spec or a module itself, or a call of the
    recurrent module in a model that `module` names; by the engine that is named, or is the user's own. `needs`
    estimates the bytes that the work takes."""
    if is_model(source):
        prepared = prepared_model(source, given, module, needs)
    elif module is not None:
        found = f"module={module!r} is for a model that contains recurrent modules, not for a {type(source).__name__}"
        raise InputError(found, advice="leave module out")
    else:
        prepared = prepare(source, given.x, given.h0, given.c0, lengths=given.lengths, require_memory=needs)
    return prepared.with_engine(engine, "engine")


def prepared_model(
    model: nn.Module, given: GivenInput, module: str | None, needs: Callable[[Spec, int, int], int]
) -> Prepared:
    """A call of one of the modules of a model that runs once on x, as in `prepared_call`; notes of the run say what was
    drawn where x is None, and which module it is. Raises `InputError` for all that is given but x."""
    seen, drawn = run_drawn(model, vars(given))
    prepared, said = prepared_call(seen, module, "module=…", type(model).__name__, needs)
    engine = prepared.engine
    assert isinstance(engine, AsItRan)
    return replace(prepared, engine=engine.noting(said, *([drawn] if drawn else [])))


def _said(first: Call, calls: int, joined: int, others: list[str], option: str) -> str:
    """this is encoder.rnn (LSTM), its first of 3 calls; --module takes another: 'decoder'"""
    said = f"this is {first.module or 'the model itself'} ({first.kind})"
    if joined > 1:
        said += f", its {'first ' if joined < calls else ''}{joined} calls as {joined} steps"
    elif calls > 1:
        said += f", its first of {calls} calls"
    return said + (f"; choose another with {option}: {listed(map(repr, others), MOST_LISTED)}" if others else "")


def _case(call: Call, where: str) -> Case:
    """Raises `InputError` where nothing can be read of the call."""
    try:
        if not isinstance(call.kept, CapturedCall):
            raise Unreadable(call.kept)
        return read(call.kept)
    except Unreadable as error:
        found = f"{call.module or 'the model itself'} ({call.kind}), call {call.index}: {error}"
        raise InputError(found, where=where) from None


def _joined(calls: Seq[Call]) -> list[Call]:
    """The first call; of a cell also those that follow, as long as each begins with what the one before gave."""
    first = calls[0]
    if not isinstance(first.kept, CapturedCall) or not first.kept.is_cell:
        return [first]
    found, kept = [first], first.kept
    for call in calls[1:]:
        after = call.kept
        if not isinstance(after, CapturedCall) or after.parameters is not kept.parameters or call.shape != first.shape:
            break
        if not _same(kept.returned, after.given.get("hx")):
            break
        found.append(call)
        kept = after
    return found


def _same(given: object, taken: object) -> bool:
    ours, theirs = (value if isinstance(value, tuple) else (value,) for value in (given, taken))
    return len(ours) == len(theirs) and all(
        isinstance(a, Tensor) and isinstance(b, Tensor) and torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)
    )


def _in_turn(cases: list[Case]) -> Case:
    """Calls of a cell, one after the other, as the steps of one run."""
    first = cases[0]
    names = first.observation.layers[0, "forward"]
    seen = {name: torch.cat([case.observation.layers[0, "forward"][name] for case in cases]) for name in names}
    return replace(
        first,
        sequence=replace(first.sequence, x=torch.cat([case.sequence.x for case in cases])),
        observation=replace(first.observation, layers={(0, "forward"): seen}),
    )


def _recording(case: Case) -> Recording:
    """What the module returned. It does not return h of the layers below the top one; that is computed by torch's
    layers one by one, if they give the same bits for what it did return."""
    spec, seen, place = case.spec, case.observation, torch.device(case.spec.device)
    tops = [seen.layers[spec.num_layers - 1, direction] for direction in spec.directions]
    output = torch.cat([top["h"] for top in tops], -1).to(place)
    h_n = output[-1:] if seen.h_n is None else seen.h_n.to(place)
    c_n = tops[0]["c"][-1:] if seen.h_n is None and "c" in tops[0] else seen.c_n
    layers = {at: values["h"].to(place) for at, values in seen.layers.items()}
    if spec.num_layers > 1:
        layers = _every_layer(case, output) or layers
    return Recording(seen.engine, output, h_n, None if c_n is None else c_n.to(place), layers, 0.0)


def _every_layer(case: Case, output: Tensor) -> dict[tuple[int, str], Tensor] | None:
    there = Prepared(case.spec, case.parameters, case.sequence, TorchEngine()).on(output.device)
    try:
        ran = there.engine.run(there.spec, there.parameters, there.sequence)
    except (RnnspectError, RuntimeError):
        return None
    theirs = ran.output
    if theirs is None or ran.stack_difference or (theirs.shape, theirs.dtype) != (output.shape, output.dtype):
        return None
    return None if max_abs_difference(theirs, output) else ran.layers
