from __future__ import annotations

from typing import Annotated

import typer

from rnnspect.cli import completion
from rnnspect.cli.options import command, formats
from rnnspect.cli.output import Output
from rnnspect.errors import InputError


@command("rnnspect layouts onnx keras")
def layouts(
    output: Annotated[Output, formats("table", "json")],
    chosen: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME OTHER",
            help="One framework; or two, to see how to get from the first to the second",
            autocompletion=completion.layouts,
            show_default=False,
        ),
    ] = None,
) -> None:
    """How frameworks pack the same parameters: gate order, axes, biases."""
    from rnnspect.views import layouts as view
    from rnnspect.weights import layouts as known

    if chosen and len(chosen) > 2:
        raise InputError(f"{len(chosen)} names", allowed="none, one or two", where="layouts")
    if chosen:
        found = [known.find(name, "layouts") for name in chosen]
    else:
        added, broken = known.of_packages()
        found = [*known.every(), *added]
        for name, error in broken.items():
            output.note(f"note: layout {name} of an installed package is left out: {error}")
    between = len(chosen or ()) == 2

    if between:
        parts = view.side_by_side(*found)
    elif chosen:
        parts = view.details(found[0])
    else:
        parts = view.overview(found)
    output.emit(lambda _width: parts, document=lambda: view.document(found, between))
