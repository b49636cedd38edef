from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from rnnspect.cells import CELLS
from rnnspect.cli.given import Given, flag, prepared
from rnnspect.cli.options import DIRECTIONS, OUTPUT, choice, command, formats, network
from rnnspect.cli.output import Output, note_what_is_not_finite
from rnnspect.cli.progress import loading, progress_bar

_WHICH = "Which number"


def _quantities() -> list[str]:
    return sorted({name for cell in CELLS.values() for name in cell.quantities})


@dataclass(frozen=True)
class Which:
    """The options that say which number."""

    step: Annotated[int, typer.Option(help="Which step of the input; -1 is the item's last.", rich_help_panel=_WHICH)]
    unit: Annotated[int, typer.Option(help="Which unit.", rich_help_panel=_WHICH)]
    quantity: Annotated[
        str,
        typer.Option(help="h, or a gate or c of the cell.", autocompletion=_quantities, rich_help_panel=_WHICH),
    ] = "h"
    layer: Annotated[int, typer.Option(help="Which layer.", rich_help_panel=_WHICH)] = 0
    direction: Annotated[
        str | None,
        choice(DIRECTIONS, help="Which direction; the first one if not said.", rich_help_panel=_WHICH),
    ] = None
    batch_index: Annotated[int, typer.Option(help="Which item of the batch.", rich_help_panel=_WHICH)] = 0


@command("rnnspect derive --cell lstm --input randn:100 --step 99 --unit 0 --quantity c")
def derive(
    given: Annotated[Given, network()],
    output: Annotated[Output, formats("table", "json", "markdown")],
    which: Which,
    engine: Annotated[
        str | None, typer.Option(help="Whose h stands beside: torch, torch-cell, … or path/to/mine.py:MyLSTM.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every product of a sum, not only the largest.", rich_help_panel=OUTPUT)
    ] = False,
    precision: Annotated[int, typer.Option(min=1, max=17, help="Digits in the table.", rich_help_panel=OUTPUT)] = 9,
) -> None:
    """One number as arithmetic: every sum and product down to the inputs, with the framework's number beside it."""
    described = given.describe()
    described.note(output)
    with loading():
        from rnnspect.network import memory
        from rnnspect.reporting.deriving import derive_prepared, locate
        from rnnspect.views import derive as view
        from rnnspect.views import documents

    made = prepared(described, memory.run_needs, engine)
    at = locate(made, **asdict(which), where=flag)
    note_what_is_not_finite(made.sequence, output)
    with progress_bar("stepping through the cell states", made.sequence.steps, output.quiet) as progress:
        found = derive_prepared(made, at, progress)
    output.emit(
        {
            "table": lambda screen: view.as_text(found, precision, every, screen),
            "json": lambda _screen: documents.as_json(documents.derivation_document(found)),
            "markdown": lambda _screen: view.as_markdown(found, every),
        }
    )
