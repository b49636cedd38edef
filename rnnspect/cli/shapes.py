from __future__ import annotations

from typing import TYPE_CHECKING

from rnnspect.cli.describing import Described
from rnnspect.cli.options import described, formats, with_groups
from rnnspect.cli.output import Output
from rnnspect.views import documents

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    app.command("shapes", epilog="Example:  rnnspect shapes --cell lstm --num-layers 2 --bidirectional")(shapes)


@with_groups(described=described, output=formats("table", "json", "markdown"))
def shapes(described: Described, output: Output) -> None:
    """Every parameter: name, shape, gate rows, count, bytes; and the shapes that come out."""
    from rnnspect.network.parameters import shapes_of
    from rnnspect.views import shapes as view

    found = shapes_of(described.spec)
    shown = {
        "table": lambda screen: view.as_table(found, screen),
        "json": lambda _screen: documents.as_json(documents.shapes_document(found)),
        "markdown": lambda _screen: view.as_markdown(found),
    }
    described.note(output)
    output.emit(shown)
