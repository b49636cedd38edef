"""A check of gradients: whether what an engine gives going back is what the equations give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rnnspect.arithmetic.unroll import output_of, unroll
from rnnspect.causes.backward.search import explain_backward
from rnnspect.causes.search.notes import without_search
from rnnspect.checking.backward_pieces import CheckInPieces, piece_back
from rnnspect.checking.backward_results import (
    FEW,
    are_gates_right,
    how_far_apart,
    judged_recorded,
    judged_results,
    lacking,
    of_given,
    of_own_windows,
    of_results,
    with_causes,
)
from rnnspect.checking.backward_zeros import note_of_all_zero
from rnnspect.checking.check import AS_USUAL, CheckTerms, judge_recorded, judge_recording
from rnnspect.checking.dropped import with_dropout
from rnnspect.checking.exposed import layer_alone, seen_layers
from rnnspect.checking.framework_gradients import PREFIX
from rnnspect.checking.half_types import if_half_back
from rnnspect.checking.identities.backwards import twice_back
from rnnspect.checking.recorded_gradients import RecordedGradients, recorded_gradients
from rnnspect.checking.recording import UNSAID, HowRecorded
from rnnspect.checking.unseen_weights import with_unseen
from rnnspect.checking.upstream import loss_drawn, said_of, upstream_of
from rnnspect.engines.interface import Holding, backward_of
from rnnspect.engines.own.engine import OwnEngine
from rnnspect.errors import EngineError, SequenceError, listed
from rnnspect.judging.backward.case import BackwardCase
from rnnspect.judging.backward.many_steps import of_many_steps, results_of_many_steps
from rnnspect.judging.backward.results import ResultsCase
from rnnspect.judging.backward.stack import BackwardJudged, InseparableStepsError, judge_backward
from rnnspect.judging.backward.words import backward_verdict
from rnnspect.judging.declared import ARITHMETICS, declared_by
from rnnspect.judging.rounding import EXACT
from rnnspect.judging.verdict import Verdict
from rnnspect.network.device import plain_defaults
from rnnspect.network.gradients import Upstream, input_name, input_names
from rnnspect.network.losses import Loss, drawn_with
from rnnspect.network.recording import ArrayName
from rnnspect.network.tensors import max_abs_difference
from rnnspect.tracing.prepare import Prepared

_ALIKE = 1e-3
"""Two gradients of the output are those of the same loss if they differ by no more than this, relative to the largest
number."""


def check_backward(prepared: Prepared, loss: Loss | None = None, terms: CheckTerms = AS_USUAL) -> Verdict:
    """The verdict on the prepared engine's values and gradients: its values are checked first, where it can run
    forwards alone; where those differ, that is the verdict.

    Raises `EngineError` for an engine that has no gradients, and what the engine raises.
    """
    engine = backward_of(prepared.engine)
    if (count := piece_back(prepared)) is not None:
        return _of_pieces(CheckInPieces(prepared, engine, loss, count, terms), loss)
    forwards = _forwards(prepared, terms)
    if forwards is not None and forwards.verdict == "differ":
        return _not_reached(forwards)
    found = judge_gradients(prepared, loss, terms)
    if forwards is not None and forwards.verdict == "cannot tell" and found.agrees:
        return forwards
    if isinstance(engine, OwnEngine):
        found = replace(found, identities=(*found.identities, twice_back(prepared)))
    return with_unseen(found, prepared.sequence)


def judge_gradients(prepared: Prepared, loss: Loss | Upstream | None = None, terms: CheckTerms = AS_USUAL) -> Verdict:
    """The verdict on the gradients that the prepared engine gives for the loss, or for these gradients of what the
    network returns; without one dL/d output is drawn.

    Every layer shows its gradients of every gate at every step (`seen_layers`); and the pass as a whole is judged by
    its results, where it is another one. Where they differ, known mistakes of going back are looked for.

    Raises what the engine raises.
    """
    engine, spec, sequence = backward_of(prepared.engine), prepared.spec, prepared.sequence
    inputs, output = _inputs(prepared, isinstance(loss, Loss) and loss.needs_output)
    with plain_defaults():
        upstream = upstream_of(prepared, loss, output)
    whole = engine.backward(spec, prepared.parameters, sequence, upstream)
    if loss is None:
        upstream = upstream.without(whole.unused)
    drawn = "" if loss else loss_drawn(upstream)
    said = () if isinstance(loss, Upstream) else (said_of(loss, drawn),)
    showing = engine.handed() if isinstance(engine, Holding) else engine
    layers, alone = seen_layers(showing, prepared, upstream, inputs, isinstance(engine, OwnEngine))
    held_to, plain = terms.declared or declared_by(whole.engine), prepared.on(torch.device("cpu"))
    with plain_defaults():
        case = BackwardCase(spec, plain.parameters, plain.sequence, whole.engine, layers, held_to)
        results = ResultsCase(spec, plain.parameters, plain.sequence, upstream.each(Tensor.cpu), whole, held_to)
        case, results = case.under_autocast(), results.under_autocast()
        try:
            judged = judge_backward(case, progress=lambda steps: terms.progress(None, steps)) if layers else None
        except InseparableStepsError:
            judged = None
        if judged is None:
            found = judged_results(results, terms)
            return replace(found, notes=(*whole.notes, *found.notes, alone, *said), drawn=drawn)
        found = backward_verdict(case, judged)
        if found.verdict == "differ":
            other = of_many_steps(case)
            other = of_results(results, judged, terms) if other is None else other
            found = _explained(found, case, judged, results, terms) if other is None else other
            unexplained = found.verdict == "differ" and not found.causes and not found.reason
            if unexplained and (reason := if_half_back(case, terms.progress)):
                found = replace(found, reason=reason, notes=without_search(found.notes))
        apart = how_far_apart(whole, case)
        if found.verdict == "differ":
            apart = ""
        elif apart and (isinstance(engine, Holding | OwnEngine) or whole.inputs or sequence.steps <= FEW):
            results, dropped = with_dropout(results)
            as_a_whole = judged_results(results, terms)
            many = results_of_many_steps(case, results) if as_a_whole.verdict == "differ" else None
            as_a_whole = as_a_whole if many is None else many
            if as_a_whole.verdict == "differ" or (found.agrees and (dropped or many is not None)):
                found = replace(as_a_whole, notes=(*as_a_whole.notes, *dropped))
            apart = ""
    zeros = note_of_all_zero(whole) if found.verdict == "differ" and not found.causes else None
    every = dict.fromkeys((*whole.notes, *found.notes, zeros, apart, *said))
    return replace(found, notes=tuple(filter(None, every)), drawn=drawn)


def _explained(
    found: Verdict, case: BackwardCase, judged: BackwardJudged, results: ResultsCase, terms: CheckTerms
) -> Verdict:
    given = None if are_gates_right(judged) else of_given(found, judged, results, terms.explain)
    if given is not None:  # its first wrong gradient is another one
        return given
    with terms.progress.searching(found):
        why = explain_backward(case, judged, terms.explain)
        given = of_given(found, judged, results, terms.explain) if are_gates_right(judged) and not why.causes else None
        if given is None and not why.causes:
            why = of_own_windows(results, terms.explain) or lacking(results, why)
    return with_causes(found, why) if given is None else given


def _of_pieces(pieces: CheckInPieces, loss: Loss | None) -> Verdict:
    forwards = pieces.forwards()
    if forwards.verdict == "differ":
        return _not_reached(forwards)
    found = pieces.backwards()
    if forwards.verdict == "cannot tell" and found.agrees:
        return forwards
    drawn = "" if loss else drawn_with(f"{name}_n" for name in pieces.prepared.spec.cell_type.states)
    found = replace(found, notes=(*found.notes, said_of(loss, drawn)), drawn=drawn)
    return with_unseen(found, pieces.prepared.sequence)


def judge_recorded_backward(
    prepared: Prepared, recorded: Any, loss: Loss | None = None, terms: CheckTerms = AS_USUAL, how: HowRecorded = UNSAID
) -> Verdict:
    """The verdict on recorded gradients (`recorded_gradients` says by which names), and before that on the output that
    stands beside them, if there is one. Without `loss` grad.output has to be among them.

    Raises `SequenceError` for what does not fit the run.
    """
    spec, sequence, where = prepared.spec, prepared.sequence, how.where
    if not isinstance(recorded, Mapping):
        found, allowed = "a recording of one array has no gradients", "an archive of grad.output, grad.x, grad.h0, …"
        raise SequenceError(found, allowed=allowed, where=where(None))
    recorded = {name: values for name, values in recorded.items() if not _is_ours(str(name))}
    read = recorded_gradients(spec, recorded, sequence, prepared.parameters, how)
    upstream, ignored = read.upstream, tuple[str, ...]()
    if loss is not None:
        output = read.given.output if read.given.output is not None else _inputs(prepared)[1]
        upstream = loss.of(output, sequence)[1]
        ignored = _another(read.upstream, upstream)
    if upstream is None:
        found = "the recording has no gradient of the output"
        alone = "; if the file has it, pass the file without :name" if len(recorded) == 1 else ""
        raise SequenceError(found, advice=f"record it as grad.output, or pass --loss{alone}", where=where(None))
    held_to = terms.declared or ARITHMETICS[spec.dtype]
    given, notes = read.given, (*ignored, *read.given.notes)
    if given.output is not None and (rounded := _rounded_input(read)):
        given = replace(given, output=None)
        notes = (*notes, f"the recorded output was not checked: {rounded} was recorded rounded")
    case = ResultsCase(spec, prepared.parameters, sequence, upstream, given, held_to)
    with plain_defaults():
        case, dropped = with_dropout(case, where, read.kept)
    notes = (*notes, *dropped)
    if given.output is not None:
        shown = {name: values for name, values in recorded.items() if not str(name).startswith(PREFIX)}
        forwards = _output_of(prepared, read, shown, replace(terms, explain=None), how)
        if forwards.verdict == "differ":
            return _not_reached(replace(forwards, notes=(*notes, *forwards.notes)))
    if read.of_output.rounded:  # its numbers are not those that the engine went on with
        case = replace(case, given=replace(case.given, output=None))
    with plain_defaults():
        answer = judged_recorded(case, read, loss is None, terms)
    if answer.verdict == "differ" and spec.dropout and spec.num_layers > 1 and not given.inputs:
        received = listed(input_names(spec))
        notes = (
            *notes,
            f"dropout = {spec.dropout:g} was assumed to be off; if it was active, record {received} as well",
        )
    return with_unseen(replace(answer, notes=(*notes, *answer.notes)), sequence)


def _another(recorded: Upstream | None, of_loss: Upstream) -> tuple[str, ...]:
    """A note for a recording that has the gradient of another loss than the one that was named."""
    if recorded is None:
        return ()
    apart, size = max_abs_difference(recorded.output, of_loss.output), float(of_loss.output.abs().max())
    note = "grad.output of the recording is not that of the loss, and was not used; leave the loss out to use it"
    return (note,) if apart > _ALIKE * size else ()


def _rounded_input(read: RecordedGradients) -> str | None:
    """The name of the top layer's input, where that was recorded rounded."""
    if not read.given.inputs:
        return None
    top = max(read.given.inputs)
    error = read.kept.get(input_name(top), EXACT).error(read.given.inputs[top])
    return input_name(top) if float(error.max()) > 0 else None


def _output_of(
    prepared: Prepared, read: RecordedGradients, shown: Mapping[str, Any], terms: CheckTerms, how: HowRecorded
) -> Verdict:
    """The verdict on the recorded output. Where the recording has the input of each layer, only the top layer is
    judged, as dropout may have acted below it."""
    if not read.given.inputs:
        return judge_recorded(prepared, shown, terms, how).verdict
    top = prepared.spec.num_layers - 1
    own = {name: values for name, values in shown.items() if name.removeprefix("engine.") == "output"}
    alone = layer_alone(prepared, top, read.given.inputs[top])
    found = judge_recorded(alone, own, terms, how).verdict
    if found.first is not None:
        found = replace(found, first=replace(found.first, layer=top), pattern=None, wrong=0)
    return replace(found, notes=(*found.notes, f"layer {top} was checked alone, on {input_name(top)}"))


def _is_ours(name: str) -> bool:
    """Whether this is a number of the equations in the file of a trace."""
    parsed = ArrayName.parse(name)
    return parsed.whose == "manual" or (parsed.place is not None and parsed.is_gradient)


def _not_reached(forwards: Verdict) -> Verdict:
    return replace(forwards, notes=(*forwards.notes, "the gradients were not checked: the values differ already"))


def _forwards(prepared: Prepared, terms: CheckTerms) -> Verdict | None:
    """The verdict on the values; None for code that only goes back."""
    try:
        recording = prepared.run()
    except EngineError:
        return None
    return judge_recording(prepared, recording, terms).verdict


def _inputs(prepared: Prepared, output: bool = True) -> tuple[list[Tensor], Tensor]:
    """The x of each layer and the output of the network by the equations, in the network's dtype. For a network of one
    layer nothing is computed where the output is not needed; it is zero then."""
    spec, sequence = prepared.spec, prepared.sequence
    if spec.num_layers == 1 and not output:
        shape = (sequence.steps, sequence.batch, spec.output_width)
        return [sequence.x], torch.zeros((), dtype=sequence.x.dtype, device=sequence.x.device).expand(shape)
    found: dict[int, list[Tensor]] = {}
    with torch.no_grad(), plain_defaults():
        for one in unroll(spec, prepared.parameters, sequence):
            found.setdefault(one.layer, []).append(one.quantities["h"])
        outputs = [output_of(parts, sequence) for parts in found.values()]
    return [sequence.x, *outputs[:-1]], outputs[-1]
