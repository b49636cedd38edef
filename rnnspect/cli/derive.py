from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from rnnspect.cells import CELLS
from rnnspect.cli.describing import Described
from rnnspect.cli.loading import loading
from rnnspect.cli.options import described, formats, with_groups
from rnnspect.cli.output import Output
from rnnspect.views import documents

_WHICH = "Which number"


def register(app: typer.Typer) -> None:
    app.command(
        "derive", epilog="Example:  rnnspect derive --cell lstm --input randn:100 --step 99 --unit 0 --quantity c"
    )(derive)


def _quantities() -> list[str]:
    return sorted({name for cell in CELLS.values() for name in cell.quantities})


@with_groups(described=described, output=formats("table", "json", "markdown"))
def derive(
    described: Described,
    output: Output,
    step: Annotated[int, typer.Option(help="Which step of the input; -1 is the item's last.", rich_help_panel=_WHICH)],
    unit: Annotated[int, typer.Option(help="Which unit.", rich_help_panel=_WHICH)],
    quantity: Annotated[
        str,
        typer.Option(help="h, or a gate or c of the cell.", autocompletion=_quantities, rich_help_panel=_WHICH),
    ] = "h",
    layer: Annotated[int, typer.Option(help="Which layer.", rich_help_panel=_WHICH)] = 0,
    direction: Annotated[
        str | None,
        typer.Option(
            help="Which direction; the first one if not said.",
            metavar="forward|reverse",
            autocompletion=lambda: ["forward", "reverse"],
            rich_help_panel=_WHICH,
        ),
    ] = None,
    batch_index: Annotated[int, typer.Option(help="Which item of the batch.", rich_help_panel=_WHICH)] = 0,
    engine: Annotated[
        str | None, typer.Option(help="Whose h stands beside: torch, torch-cell, … or path/to/mine.py:MyLSTM.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every product of a sum, not only the largest.", rich_help_panel="Output")
    ] = False,
    precision: Annotated[int, typer.Option(min=1, max=17, help="Digits in the table.", rich_help_panel="Output")] = 9,
) -> None:
    """One number as arithmetic: every sum and product down to the inputs, with the framework's number beside it."""
    described.note(output)
    with loading():
        from rnnspect import engines
        from rnnspect.cli.notes import note_what_is_not_finite
        from rnnspect.cli.progress import progress_bar
        from rnnspect.engines.shared.onnx_model import by_its_own_node
        from rnnspect.network import memory
        from rnnspect.reporting.derivation import At
        from rnnspect.reporting.deriving import derive_prepared, locate
        from rnnspect.tracing.prepare import prepare
        from rnnspect.views import derive as view

    spec = described.spec
    prepared = prepare(spec, where=described.where, require_memory=memory.run_needs)
    asked = At(layer=layer, direction=direction or "", step=step, batch=batch_index, unit=unit, quantity=quantity)
    at = locate(prepared, asked, _flag)
    if spec.beyond_torch and isinstance(spec.weights, str):
        prepared = by_its_own_node(prepared)
    if (name := engine or described.engine) != "torch":
        prepared = replace(prepared, engine=engines.find(name, "--engine"))
    note_what_is_not_finite(prepared.sequence, output)
    with progress_bar("stepping through the cell states", prepared.sequence.steps, output.quiet) as progress:
        found = derive_prepared(prepared, at, progress)
    output.emit(
        {
            "table": lambda screen: view.as_text(found, precision, every, screen),
            "json": lambda _screen: documents.as_json(documents.derivation_document(found)),
            "markdown": lambda _screen: view.as_markdown(found, every),
        }
    )


def _flag(argument: str) -> str:
    return "--" + argument.replace("_", "-")
