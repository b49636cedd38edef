from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from rnnspect.cells import CELLS
from rnnspect.cli.describing import Described
from rnnspect.cli.loading import loading
from rnnspect.cli.options import ENGINES, described, formats, with_groups
from rnnspect.cli.output import Output
from rnnspect.errors import EngineError
from rnnspect.views import documents
from rnnspect.views.selection import Selection, check

if TYPE_CHECKING:
    from rnnspect.network.recording import Recording
    from rnnspect.tracing.prepare import Prepared
    from rnnspect.tracing.trace import Trace
    from rnnspect.views.rendering import Screen

_TABLE = "What the table shows"


def register(app: typer.Typer) -> None:
    app.command(
        "trace",
        epilog="Example:  rnnspect trace --cell lstm --input randn:100 --steps 0:3,99 --quantities f,c,h",
    )(trace)


def _quantities() -> list[str]:
    return sorted({"x", "input_projection", *(name for cell in CELLS.values() for name in cell.quantities)})


def selection(
    steps: Annotated[str | None, typer.Option(help="Steps to show: 0:10,95: or -1.", rich_help_panel=_TABLE)] = None,
    layers: Annotated[str | None, typer.Option(help="Layers to show: 0,2 or 1:.", rich_help_panel=_TABLE)] = None,
    direction: Annotated[
        str | None,
        typer.Option(
            help="One of the directions.",
            metavar="forward|reverse",
            autocompletion=lambda: ["forward", "reverse"],
            rich_help_panel=_TABLE,
        ),
    ] = None,
    units: Annotated[str | None, typer.Option(help="Units to show: 0:8.", rich_help_panel=_TABLE)] = None,
    batch_index: Annotated[int, typer.Option(help="Which item of the batch to show.", rich_help_panel=_TABLE)] = 0,
    quantities: Annotated[
        str | None,
        typer.Option(
            help="Rows to show: i,f,h or x,input_projection.", autocompletion=_quantities, rich_help_panel=_TABLE
        ),
    ] = None,
    precision: Annotated[int, typer.Option(min=1, max=17, help="Decimals.", rich_help_panel=_TABLE)] = 4,
) -> Selection:
    return Selection(steps, layers, direction, units, batch_index, quantities, precision)


@with_groups(described=described, selection=selection, output=formats("table", "json", "svg", arrays=True))
def trace(
    described: Described,
    selection: Selection,
    output: Output,
    engine: Annotated[
        list[str] | None, typer.Option(help=f"Whose h stands beside: {ENGINES}; several, or all that can.")
    ] = None,
) -> None:
    """Every gate of every step from the equations, with the framework's h beside it."""
    described.note(output)
    with loading():
        from rnnspect.cli.notes import note_what_is_not_finite
        from rnnspect.cli.progress import progress_bar
        from rnnspect.engines.shared.onnx_model import by_its_own_node
        from rnnspect.network import memory
        from rnnspect.tracing.prepare import prepare
        from rnnspect.tracing.trace import trace_arrays, trace_recordings
        from rnnspect.views import trace as view

    spec = described.spec
    needs = memory.document_needs if output.format == "json" else memory.trace_needs
    prepared = prepare(spec, where=described.where, require_memory=needs)
    if spec.beyond_torch and spec.weights and isinstance(spec.weights, str):
        prepared = by_its_own_node(prepared)
    sequence = prepared.sequence
    check(selection, spec, sequence.steps, sequence.batch)
    note_what_is_not_finite(sequence, output)
    usual = None if described.engine == "torch" else [described.engine]
    recordings = _recordings(engine or usual, prepared, output)
    steps = sequence.steps * spec.num_layers * spec.num_directions
    with progress_bar("stepping through the equations", steps, output.quiet) as progress:
        traces = trace_recordings(prepared, recordings, progress)

    def table(screen: Screen) -> str:
        return view.as_table(traces, selection, screen)

    shown = {"table": table, "json": lambda _screen: documents.as_json(_documents(traces)), "svg": table}
    output.emit(shown, lambda: trace_arrays(*traces))


def _recordings(names: list[str] | None, prepared: Prepared, output: Output) -> list[Recording]:
    """What each engine gave; of all engines those are left out, with a note, that cannot run this."""
    from rnnspect import engines

    if not names:
        return [prepared.engine.run(prepared.spec, prepared.parameters, prepared.sequence)]
    every = names == ["all"]
    recordings = []
    for name in engines.names() if every else dict.fromkeys(names):
        try:
            engine = engines.find(name, "--engine")
            recordings.append(engine.run(prepared.spec, prepared.parameters, prepared.sequence))
        except EngineError as error:
            if not every:
                raise
            output.note(f"note: {error}")
    return recordings


def _documents(traces: tuple[Trace, ...]) -> dict[str, Any] | list[dict[str, Any]]:
    made = [documents.trace_document(one) for one in traces]
    return made if len(made) > 1 else made[0]
