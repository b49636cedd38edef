from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

from rich.console import RenderableType

from rnnspect.cli import live
from rnnspect.cli.describing import Given
from rnnspect.cli.options import command, formats, network
from rnnspect.cli.output import Output
from rnnspect.cli.running import is_live
from rnnspect.errors import RnnspectError

if TYPE_CHECKING:
    from rnnspect.network.parameters import Shapes


@command("rnnspect shapes --cell lstm --num-layers 2 --bidirectional")
def shapes(given: Annotated[Given, network()], output: Annotated[Output, formats("table", "json", "markdown")]) -> None:
    """Every parameter: name, shape, gate rows, count, bytes; and the shapes that come out. A file with several
    recurrent modules shows each; a live model, path/to/model.py:build, also the tree of its modules."""
    from rnnspect.views import documents
    from rnnspect.views import shapes as view

    if is_live(given.path):
        model = live.shapes(str(given.path), given, output)
        output.emit(
            lambda _width: view.model_parts(model),
            json=lambda: documents.as_json(documents.model_document(model)),
            markdown=lambda: view.model_as_markdown(model),
        )
        return
    found = _found(given, output)
    several = len(found) > 1

    def table(_width: int) -> Iterable[RenderableType]:
        return [part for name, one in found.items() for part in view.parts(one, name if several else "")]

    def json() -> str:
        made = [documents.shapes_document(one) | ({"name": name} if several else {}) for name, one in found.items()]
        return documents.as_json(made if several else made[0])

    output.emit(table, json=json, markdown=lambda: "\n".join(map(view.as_markdown, found.values())))


def _found(given: Given, output: Output) -> dict[str, Shapes]:
    """The shapes of each recurrent module by its name. Of several, those that no spec describes are left out, with a
    note that says why."""
    from rnnspect.network.parameters import shapes_of

    every = given.describe_every()
    found: dict[str, Shapes] = {}
    for name, one in every.items():
        try:
            described = one.made()
        except RnnspectError as error:
            if len(every) == 1:
                raise
            output.note(f"note: left out: {error}")
            refused = error
            continue
        for note in described.notes:
            output.note(note if len(every) == 1 else note.replace(f"{given.path}:{name} ", f"{given.path} "))
        found[name] = shapes_of(described.spec)
    if not found:
        raise refused
    return found
