from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Annotated

import typer

from rnnspect.cli import completion
from rnnspect.cli.describing import Given
from rnnspect.cli.options import DIRECTIONS, ENGINES, QUANTITIES, choice, command, formats, in_output, network
from rnnspect.cli.output import Output, loading, note_what_is_not_finite, progress_bar
from rnnspect.cli.running import prepared
from rnnspect.cli.values import flag

_which = functools.partial(typer.Option, rich_help_panel="Which number")


@dataclass(frozen=True)
class Which:
    """The options that say which number."""

    step: Annotated[int, _which(help="Step; -1 is the last")]
    unit: Annotated[int, _which(help="Unit")]
    quantity: Annotated[
        str, _which(help="h, c or a gate of the cell: f or forget", **(choice((), QUANTITIES) | {"metavar": "NAME"}))
    ] = "h"
    layer: Annotated[int, _which(help="Layer (default 0)")] = 0
    direction: Annotated[str | None, _which(help="Direction; default the first", **choice(DIRECTIONS))] = None
    batch_index: Annotated[int, _which(help="Which item of the batch (default 0)")] = 0


@command("rnnspect derive --cell lstm --input randn:100 --step 99 --unit 0")
def derive(
    given: Annotated[Given, network()],
    output: Annotated[Output, formats("table", "json", "markdown")],
    which: Which,
    engine: Annotated[
        str | None,
        _which(help=f"Engine to compare with: {ENGINES}", metavar="ENGINE", autocompletion=completion.engines),
    ] = None,
    every: Annotated[bool, in_output("--all", help="Every product of a sum, not only the largest")] = False,
    precision: Annotated[int, in_output(min=1, max=17, help="Digits in the table")] = 9,
) -> None:
    """One number as arithmetic, down to the inputs."""
    from rnnspect.network import memory

    made, _ = prepared(given, output, memory.run_needs, engine)
    with loading():
        from rnnspect.reporting.data import At
        from rnnspect.reporting.deriving import derive_prepared, locate
        from rnnspect.views import derive as view
        from rnnspect.views import documents

    asked = At(
        layer=which.layer,
        direction=which.direction or "",
        step=which.step,
        batch=which.batch_index,
        unit=which.unit,
        quantity=which.quantity,
    )
    at = locate(made, asked, flag)
    note_what_is_not_finite(made.sequence, output)
    with progress_bar("stepping through the cell states", made.sequence.steps, output.quiet) as progress:
        found = derive_prepared(made, at, progress)
    output.emit(
        lambda _width: view.parts(found, precision, every),
        json=lambda: documents.as_json(documents.derivation_document(found)),
        markdown=lambda: view.as_markdown(found, every),
    )
