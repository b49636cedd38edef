from __future__ import annotations

from typing import Annotated

from rnnspect.cli.describing import Given
from rnnspect.cli.options import command, formats, network
from rnnspect.cli.output import Output


@command("rnnspect shapes --cell lstm --num-layers 2 --bidirectional")
def shapes(given: Annotated[Given, network()], output: Annotated[Output, formats("table", "json", "markdown")]) -> None:
    """Every parameter: name, shape, gate rows, count, bytes; and the shapes that come out."""
    from rnnspect.network.parameters import shapes_of
    from rnnspect.views import documents
    from rnnspect.views import shapes as view

    found = shapes_of(given.describe(output).spec)
    output.emit(
        lambda _width: view.parts(found),
        json=lambda: documents.as_json(documents.shapes_document(found)),
        markdown=lambda: view.as_markdown(found),
    )
