"""`rnnspect trace --backward`, every gradient by the equations and those of engines beside them, and `rnnspect check
--backward`."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnspect.cli.check_options import CheckOptions
from rnnspect.cli.describing import Described, Given
from rnnspect.cli.output import Output, loading, note_what_is_not_finite, progress_bar, working
from rnnspect.cli.recorded import read_recorded
from rnnspect.cli.running import prepared, with_each
from rnnspect.errors import EngineError
from rnnspect.judging.verdict import Verdict
from rnnspect.views.selection import Selection, check

if TYPE_CHECKING:
    from rnnspect.checking.check import CheckTerms
    from rnnspect.engines.interface import Engine
    from rnnspect.tracing.backward import Manual
    from rnnspect.tracing.gradients import Gradients
    from rnnspect.tracing.prepare import Prepared


def gradients(given: Given, selected: Selection, output: Output, engines: list[str] | None, loss: str) -> None:
    """Computes and shows them. `loss` is what `loss_of` takes."""
    from rnnspect.network import memory

    needs = memory.gradients_document_needs if output.writes("json") else memory.gradients_needs
    made, _ = prepared(given, output, needs, "torch" if engines else None, back=True)
    with loading():
        from rnnspect.network.losses import loss_of
        from rnnspect.tracing.backward import by_hand
        from rnnspect.tracing.gradients import gradient_arrays
        from rnnspect.views.gradients import gradients_document, numbers_or_summary

    check(selected, made.spec, made.sequence.steps, made.sequence.batch)
    note_what_is_not_finite(made.sequence, output)
    asked = loss_of(loss, made.spec, made.sequence, "--loss")
    with progress_bar("computing the gradients", 2 * made.steps_of_layers, output.quiet) as progress:
        manual = by_hand(made, asked, progress)
    found = _with_engines(engines, manual, output)

    def document() -> Any:
        documents = [gradients_document(one) for one in found]
        return documents if len(documents) > 1 else documents[0]

    typed = given.as_typed(made.spec) + ("" if loss == "sum" else f" --loss {shlex.quote(loss)}")
    view = functools.partial(numbers_or_summary, found, selected, typed=typed)
    output.emit(view, lambda: gradient_arrays(*found), document)


def _with_engines(names: list[str] | None, manual: Manual, output: Output) -> list[Gradients]:
    """The gradients beside those of each engine. Of "all" engines, those without gradients are left out with a note,
    too."""
    from rnnspect.engines.interface import GoesBack

    def beside(engine: Engine) -> Gradients:
        if names == ["all"] and not isinstance(engine, GoesBack):
            raise EngineError(f"{engine.name} gives no gradients")
        return _gradients_beside(engine, manual, output)

    if not names:
        return [_gradients_beside(manual.prepared.engine, manual, output, required=False)]
    return with_each(names, beside, output)


def _gradients_beside(engine: Engine, manual: Manual, output: Output, required: bool = True) -> Gradients:
    from rnnspect.tracing.backward import with_engine

    with working(f"running the backward pass of {engine.name}", output.quiet):
        return with_engine(manual, engine, required)


def usual_engine(source: str, described: Described | None, back: bool, output: Output) -> str:
    """The engine of a check where none was named. The nodes of an .onnx model, which run themselves, have no gradients:
    with `back` another engine runs their weights."""
    from rnnspect.weights import readers

    if described is None:
        return "torch"
    if not back:
        return described.engine
    is_onnx = bool(source) and readers.kind_of(Path(source)) == "onnx"
    return described.engine_back(output, "onnxruntime" if is_onnx else None)


def checked(prepared: Prepared, asked: CheckOptions, terms: CheckTerms, recorded: Path | None, draw: bool) -> Verdict:
    """The verdict on the gradients of the prepared engine, or on recorded ones; `draw`: on an input that is drawn."""
    from rnnspect.checking.backward import check_backward, judge_recorded_backward
    from rnnspect.checking.drawn_input import judged_on_drawn
    from rnnspect.judging import rounding
    from rnnspect.network.losses import loss_of

    def judge(prepared: Prepared) -> Verdict:
        loss = loss_of(asked.loss, prepared.spec, prepared.sequence, "--loss") if asked.loss else None
        if recorded is None:
            return check_backward(prepared, loss, terms)
        given, how = read_recorded(str(recorded), rounding.named(asked.recorded_as, "--recorded-as"))
        return judge_recorded_backward(prepared, given, loss, terms, how)

    return judged_on_drawn(prepared, judge) if draw and recorded is None else judge(prepared)
