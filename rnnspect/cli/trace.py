from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from rnnspect.cli import completion
from rnnspect.cli.backward import gradients
from rnnspect.cli.describing import Given
from rnnspect.cli.options import DIRECTIONS, ENGINES, LOSS, QUANTITIES, choice, command, formats, network, shown
from rnnspect.cli.output import Output, loading, note_what_is_not_finite, progress_bar
from rnnspect.cli.running import prepared, with_each
from rnnspect.errors import InputError
from rnnspect.network.quantities import PROJECTIONS
from rnnspect.network.recording import Recording
from rnnspect.views.selection import Selection, check

if TYPE_CHECKING:
    from rnnspect.tracing.prepare import Prepared

_ROWS = sorted(["x", *PROJECTIONS, *QUANTITIES])


@dataclass(frozen=True)
class Selected(Selection):
    """The options that say what the table shows."""

    steps: Annotated[str | None, shown(metavar="LIST", help="Steps to show: 7 or 0:10,95: or -1")] = None
    layers: Annotated[str | None, shown(metavar="LIST", help="Layers to show: 0,2 or 1:")] = None
    direction: Annotated[str | None, shown(help="Direction to show", **choice(DIRECTIONS))] = None
    units: Annotated[str | None, shown(metavar="LIST", help="Units to show: 0:8")] = None
    batch_index: Annotated[int, shown(help="Batch item to show")] = 0
    quantities: Annotated[
        str | None,
        shown(help="Rows to show: i,f,h or x,hidden_projection", **(choice((), _ROWS) | {"metavar": "LIST"})),
    ] = None
    precision: Annotated[int | None, shown(min=1, max=17, help="Decimals (default 4)")] = None


@command("rnnspect trace --cell lstm --input randn:100 --steps 0:3,99")
def trace(
    given: Annotated[Given, network()],
    selected: Selected,
    output: Annotated[Output, formats("table", "json", "svg", arrays=True)],
    engine: Annotated[
        list[str] | None,
        shown(
            help=f"Engine to compare with: {ENGINES}; several, or all",
            metavar="ENGINE",
            autocompletion=completion.engines_and_all,
        ),
    ] = None,
    backward: Annotated[bool, shown("--backward", help="Show the gradients, from the last step to the first")] = False,
    loss: Annotated[str | None, shown(**LOSS)] = None,
) -> None:
    """Every gate of every step, with the framework's h beside it.

    Above 16 units or 12 steps a summary; --steps or --units show the numbers."""
    from rnnspect.network import memory

    if backward:
        gradients(given, selected, output, engine, loss or "sum")
        return
    if loss is not None:
        raise InputError("a loss is for gradients", advice="add --backward", where="--loss")
    needs = memory.document_needs if output.writes("json") else memory.trace_needs
    made, _ = prepared(given, output, needs, "torch" if engine else None)
    with loading():
        from rnnspect.tracing.running import trace_recordings
        from rnnspect.tracing.trace import trace_arrays
        from rnnspect.views import documents, summary

    check(selected, made.spec, made.sequence.steps, made.sequence.batch)
    note_what_is_not_finite(made.sequence, output)
    if not engine:
        recordings = [_ran(made, output)]
    else:
        recordings = with_each(engine, lambda one: _ran(replace(made, engine=one), output), output)
    with progress_bar("computing the equations", made.steps_of_layers, output.quiet) as progress:
        traces = trace_recordings(made, recordings, progress)

    def document() -> Any:
        found = [documents.trace_document(one) for one in traces]
        return found if len(found) > 1 else found[0]

    view = functools.partial(summary.numbers_or_summary, traces, selected, typed=given.as_typed(made.spec))
    output.emit(view, lambda: trace_arrays(*traces), document)


def _ran(made: Prepared, output: Output) -> Recording:
    with progress_bar(f"running {made.engine.name}", made.steps_of_layers, output.quiet) as advance:
        return made.run(advance)
